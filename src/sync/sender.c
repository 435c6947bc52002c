/* One packet to all targets. What the kernel does not take is lost, as datagrams may be. */
#include "sync/sender.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/log.h"

enum { ROOM_WAIT_MS = 100, LOG_EVERY_MS = 60 * MS_PER_SEC };

static int send_once(const struct sync_sender *sender, const struct wire_packet *packet,
                     uint32_t addr_be)
{
	struct sockaddr_in to = {
	        .sin_family = AF_INET,
	        .sin_addr.s_addr = addr_be,
	        .sin_port = htons(sender->setup->port),
	};
	ssize_t n = sendto(sender->socket, packet->bytes, packet->len, MSG_NOSIGNAL,
	                   (const struct sockaddr *)&to, sizeof to);
	return n < 0 ? -errno : 0;
}

/* The socket's buffer empties at the network's speed: a burst waits for that. */
static int send_to(struct sync_sender *sender, const struct wire_packet *packet, uint32_t addr_be)
{
	int ret = send_once(sender, packet, addr_be);
	if (ret == -EAGAIN && !sender->is_full) {
		struct pollfd wait = {.fd = sender->socket, .events = POLLOUT};
		(void)poll(&wait, 1, ROOM_WAIT_MS);
		ret = send_once(sender, packet, addr_be);
	}
	if (ret == 0 || ret == -EAGAIN) {
		sender->is_full = ret != 0; /* other failures say nothing of room */
	}
	return ret;
}

static void count(struct sync_sender *sender, int ret, const char *name, uint32_t addr_be)
{
	sender->n_datagrams++;
	if (ret == 0) {
		return;
	}
	sender->n_failures++;
	struct mono now = clock_mono(); /* the sender's own limit, on a path that is rarely taken */
	if (sender->n_logged > 0 && mono_diff_ms(now, sender->logged_at) < LOG_EVERY_MS) {
		return;
	}
	char addr[INET_ADDRSTRLEN];
	log_warning("sync: sending to %s (%s): %s; datagrams lost since the last such line: %llu",
	            name, inet_ntop(AF_INET, &addr_be, addr, sizeof addr), err_text(ret),
	            (unsigned long long)(sender->n_failures - sender->n_logged));
	sender->n_logged = sender->n_failures;
	sender->logged_at = now;
}

void sync_send(struct sync_sender *sender, struct wire_packet *packet, bool *failed)
{
	const struct sync_setup *setup = sender->setup;
	wire_finish(packet, sender->counter++, &setup->key);
	for (size_t i = 0; i < setup->n_peers; i++) {
		int ret = send_to(sender, packet, setup->peers[i].addr_be);
		count(sender, ret, setup->peers[i].name, setup->peers[i].addr_be);
		if (failed) {
			failed[i] = ret != 0;
		}
	}
	if (setup->has_group) {
		count(sender, send_to(sender, packet, SYNC_GROUP_BE), "the group", SYNC_GROUP_BE);
	}
}
