/* Messages between the roles: one SOCK_SEQPACKET datagram each, a type, a fixed body, and for some
 * a descriptor (SCM_RIGHTS). Encoder and decoder are mirror images; the decoder checks every field
 * again and refuses short messages and left-over bytes. Pure except msg_send and msg_recv. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "policy/cidr.h"

enum { MSG_BYTES_MAX = 8192, MSG_ELEMENTS_MAX = 200, MSG_RANGES_MAX = 200, MSG_TEXT_MAX = 512 };

enum msg_type {
	/* supervisor -> role */
	MSG_CONF = 1, /* descriptor: memfd with the configuration (conf_print's text); also later */
	MSG_LISTENER, /* descriptor: listening socket; worker, is_v6, is_low_priority */
	MSG_CONTROL,  /* descriptor: listening control socket */
	MSG_PEER,     /* descriptor: channel to the other role; a later one replaces it */
	MSG_START,    /* everything has been passed */
	MSG_STOP,     /* clean stop: the firewall role removes its table unless keep-rules says
	               * yes; then exit with 0. EOF without it leaves the table, because another
	               * role or supervisor will come */
	/* role -> supervisor */
	MSG_READY, /* serving */
	MSG_FATAL, /* text: why this role cannot run; the supervisor logs it */
	/* engine -> firewall */
	MSG_FILL_BEGIN, /* a complete copy follows */
	MSG_FILL,       /* elements of it */
	MSG_FILL_END,   /* seq: apply it; changes after seq follow */
	MSG_CHANGES,    /* seq and elements, in order */
	/* firewall -> engine */
	MSG_NEED_FILL, /* send a complete copy (start, or table lost) */
	MSG_DONE,      /* seq is in the kernel; figures */
	/* supervisor -> role, also while it runs: memfd with the content of a file */
	MSG_NOSPAMD, /* to the firewall */
	MSG_DOMAINS, /* to the engine: allowed domains */
	MSG_CFG,     /* to the engine: descriptor of the listening spamd-cfg socket */
	/* engine -> supervisor */
	MSG_RELOAD, /* seq: read configuration and files again, changed or not, and answer */
	/* engine -> firewall: networks of the spamd sets */
	MSG_RANGES_BEGIN,
	MSG_RANGES,
	MSG_RANGES_END, /* apply them as one */
	/* supervisor -> engine: with whom it is kept in step; both or none */
	MSG_SYNC,        /* descriptor: memfd with sync_setup_print's text */
	MSG_SYNC_SOCKET, /* descriptor: the UDP socket */
	/* supervisor -> engine */
	MSG_STATE,    /* memfd: what the status says of the configuration, a JSON object */
	MSG_RELOADED, /* seq of a MSG_RELOAD; memfd: its answer, a JSON object */
	/* supervisor -> firewall, while it runs: memfd with the text of other rules */
	MSG_RULES,
	MSG_TYPE_END
};

struct msg_element {
	struct addr addr;
	uint32_t timeout_secs; /* > 0 unless deleted: to the kernel 0 would mean for ever */
	uint8_t set;           /* enum fw_set's numbers: 0 white, 1 greytrap */
	bool is_deleted;
};

struct msg_figures {
	uint64_t transactions, failures, elements_added, elements_deleted, restores;
	bool has_refresh, has_destroy,
	        is_complete; /* complete: table, sets, elements and chains stand */
	/* of the role's process, which nobody else may look at; some seconds old. All 0: unknown */
	uint64_t cpu_ms, resident_bytes, open_files;
};

struct msg {
	enum msg_type type;
	uint64_t seq;               /* FILL_END, CHANGES, DONE, RELOAD, RELOADED */
	uint32_t worker;            /* LISTENER */
	bool is_v6;                 /* LISTENER */
	bool is_low_priority;       /* LISTENER */
	struct msg_figures figures; /* DONE */
	uint16_t n_elements;        /* FILL, CHANGES: at most MSG_ELEMENTS_MAX */
	struct msg_element elements[MSG_ELEMENTS_MAX];
	uint16_t n_ranges; /* RANGES: at most MSG_RANGES_MAX */
	struct addr_range ranges[MSG_RANGES_MAX];
	char text[MSG_TEXT_MAX]; /* FATAL, NUL-terminated */
	int fd;                  /* -1, or the descriptor (receiver owns it) */
};

/* Bytes of the encoded message. */
MUST_USE int msg_encode(const struct msg *msg, uint8_t out[static MSG_BYTES_MAX], size_t *len);
/* *out is written whole or not at all. ERR_SYNTAX, ERR_TRUNCATED, ERR_RANGE, ERR_VERSION. */
MUST_USE int msg_decode(const uint8_t *bytes, size_t len, struct msg *out);

/* Sends msg and msg->fd (if >= 0; it stays the caller's). -EAGAIN when a non-blocking socket is
 * full. */
MUST_USE int msg_send(int socket, const struct msg *msg);
/* ERR_CLOSED at EOF; -EAGAIN. A descriptor arrives close-on-exec. */
MUST_USE int msg_recv(int socket, struct msg *out);
