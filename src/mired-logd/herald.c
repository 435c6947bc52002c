/* A spamd takes one block a datagram, and only another mired understands WHITE6: these gather in
 * one packet until it is full or the batch is over. */
#include "mired-logd/herald.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "sync/sender.h"
#include "sync/wire.h"

struct herald {
	const struct conf *conf;
	struct sync_setup setup;
	struct sync_sender sender;
	struct wire_packet plain;
	struct wire_packet own;
	size_t n_own; /* blocks in it */
};

int herald_open(struct herald **out, const struct conf *conf, char *const *targets,
                size_t n_targets, char why[static SYNC_SETUP_WHY_MAX])
{
	struct conf with_targets = *conf;
	struct herald *herald = calloc(1, sizeof *herald);
	if (!herald) {
		(void)snprintf(why, SYNC_SETUP_WHY_MAX, "%s", err_text(-ENOMEM));
		return -ENOMEM;
	}
	with_targets.n_sync_peers = n_targets;
	for (size_t i = 0; i < n_targets; i++) {
		with_targets.sync_peers[i] = targets[i];
	}
	herald->conf = conf;
	herald->sender = (struct sync_sender){.setup = &herald->setup, .socket = -1};
	int ret = sync_setup_open(&with_targets, true, &herald->setup, &herald->sender.socket, why);
	if (ret) {
		herald->sender.socket = -1;
		herald_close(herald);
		return ret;
	}
	*out = herald;
	return 0;
}

void herald_close(struct herald *herald)
{
	if (!herald) {
		return;
	}
	if (herald->sender.socket >= 0) {
		(void)close(herald->sender.socket);
	}
	free(herald);
}

/* A block of this size fits any packet, so there is no other way to fail. */
static void send_plain(struct herald *herald, const struct wire_block *block)
{
	wire_begin(&herald->plain);
	if (wire_add(&herald->plain, block) == 0) {
		sync_send(&herald->sender, &herald->plain, NULL);
	}
}

static void flush_own(struct herald *herald)
{
	if (herald->n_own > 0) {
		sync_send(&herald->sender, &herald->own, NULL);
	}
	wire_begin(&herald->own);
	herald->n_own = 0;
}

static void add_own(struct herald *herald, const struct wire_block *block)
{
	int ret = wire_add(&herald->own, block);
	if (ret == ERR_FULL) {
		flush_own(herald);
		ret = wire_add(&herald->own, block);
	}
	herald->n_own += ret == 0;
}

static void tell_one(struct herald *herald, const struct wire_block *block)
{
	if (wire_is_own(block->type)) {
		add_own(herald, block);
	} else {
		send_plain(herald, block);
	}
}

void herald_tell(struct herald *herald, const struct sighting *seen, size_t n, struct wall now,
                 int64_t life_secs)
{
	struct wire_block block = {.at = now, .expire = {now.secs + life_secs}};
	flush_own(herald);
	for (size_t i = 0; i < n; i++) {
		block.addr = addr_group(&seen[i].addr, herald->conf->ipv6_prefix);
		block.type = addr_is_v4(&block.addr) ? WIRE_WHITE : WIRE_WHITE6;
		tell_one(herald, &block);
	}
	flush_own(herald);
}

struct herald_figures herald_figures_get(const struct herald *herald)
{
	return (struct herald_figures){.n_datagrams = herald->sender.n_datagrams,
	                               .n_failures = herald->sender.n_failures};
}
