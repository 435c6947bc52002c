/* Who is synchronised with whom: spamd's -y and -Y in all their forms, made into one socket and a
 * list of targets, once, before privileges are dropped.
 *
 *   -Y NAME       a name or address with an IPv4 address: a peer that gets each datagram
 *   -Y IF[:TTL]   anything else: an interface; datagrams go to the multicast group there, too
 *   -y A.B.C.D    receive at this address
 *   -y IF[:TTL]   join the group at this interface, receive at any address
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/span.h"
#include "conf/conf.h"
#include "sync/key.h"

enum { SYNC_SETUP_WHY_MAX = 512, SYNC_NAME_MAX = 128 };

/* 224.0.1.240 (spamd) */
#define SYNC_GROUP_BE htonl(0xE00001F0u)

struct sync_peer {
	uint32_t addr_be;
	char name[SYNC_NAME_MAX]; /* as configured, for status and messages */
};

/* Without a key nothing is sent or taken: then there is no setup at all. */
struct sync_setup {
	struct sync_key key;
	struct sync_peer peers[CONF_SYNC_PEERS_MAX];
	size_t n_peers;
	bool has_group;        /* send to the multicast group, too */
	uint32_t interface_be; /* its address: own datagrams come back from it; 0: no multicast */
	bool must_receive;     /* -y was given */
	uint16_t port;         /* host order */
};

/* True when the configuration asks for synchronisation at all. */
bool sync_is_wanted(const struct conf *conf);
/* Resolves names (blocking), reads the key, opens and configures the socket: bound, joined,
 * IP_MULTICAST_IF and TTL set, non-blocking. *socket is the caller's. ERR_NOT_FOUND: there is no
 * key file (why says how to make one) and sync-insecure is off; nothing was opened. Other codes
 * with why: a key file that is refused (key.h), a name that is neither a host nor an interface
 * (-ENODEV), an interface without IPv4 address (-EADDRNOTAVAIL), a bad TTL (ERR_RANGE), interfaces
 * of -y and -Y that differ (ERR_SYNTAX, "multicast interface does not match"), a port that is taken
 * (-EADDRINUSE). is_sender: mired-logd's use, which never receives: conf's -y counts for nothing.
 * The same address given twice is one peer; of several interfaces the last counts. */
MUST_USE int sync_setup_open(const struct conf *conf, bool is_sender, struct sync_setup *out,
                             int *socket, char why[static SYNC_SETUP_WHY_MAX]);

/* As text and back, to hand it to a role (setup_text.c). Pure. ERR_TOO_LONG, ERR_SYNTAX. */
enum { SYNC_SETUP_TEXT_MAX = 8192 };
MUST_USE int sync_setup_print(const struct sync_setup *setup,
                              char text[static SYNC_SETUP_TEXT_MAX]);
MUST_USE int sync_setup_parse(struct span text, struct sync_setup *out);
