/* The feeder: one thread that carries committed changes from the store's journal to the firewall
 * role, with its own cursor. A new role, a lost table or a journal that no longer reaches back
 * means a full copy in slices; between them goes everything that was committed since the first
 * one was read (idempotent). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/counters.h"
#include "base/mailbox.h"
#include "conf/conf.h"
#include "keeper/latency.h"
#include "policy/cidr.h"
#include "priv/msg.h"
#include "store/store.h"

struct feeder;

struct feeder_env {
	const struct conf *conf;
	struct store *store;
	int wake; /* eventfd: something was committed or is in reasserts; borrowed */
	struct mailbox *reasserts;
	/* the keeper's time of life (struct keeper_env); NULL: the wall clock */
	const _Atomic int64_t *life_now_secs;
	_Atomic int64_t *committed_ns; /* the keeper's (struct keeper_env); NULL: it does not say */
};

MUST_USE int feeder_start(struct feeder **out, const struct feeder_env *env);
void feeder_stop(struct feeder *feeder);
/* A new channel to the firewall role; owned by the feeder from now on. Any thread. */
void feeder_set_channel(struct feeder *feeder, int fd);

struct feeder_figures {
	bool is_connected;
	uint64_t done_seq;
	struct msg_figures firewall;
	struct latency_figures delay; /* from a commit until its elements are in the kernel */
	double delay_p50_ms, delay_p99_ms;
};
void feeder_figures_get(struct feeder *feeder, struct feeder_figures *out);
const struct counters *feeder_counters(const struct feeder *feeder);
/* The networks of the kernel's `spamd` sets from now on (disjoint, both families); taken over,
 * malloc'ed. Replaces what was there as one; a new firewall role gets the last ones again. Any
 * thread. */
void feeder_set_ranges(struct feeder *feeder, struct addr_range *ranges, size_t n);
