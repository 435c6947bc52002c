/* Every event an administrator may ask about: one row is the name in status JSON and metrics and
 * the line of help. Each thread has its own struct; writes are relaxed, sums are a moment's view.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

// clang-format off
#define COUNTERS(X) \
	/* connections */ \
	X(accepted,             "connections accepted") \
	X(over_limit,           "connections closed at once: max-connections reached") \
	X(ring_full,            "connections closed at once: a worker's descriptor table was full") \
	X(accept_errors,        "accepts that failed for another reason") \
	X(closed,               "connections that ended") \
	X(class_grey,           "connections of hosts neither white nor listed") \
	X(class_white,          "connections of whitelisted hosts that reached mired") \
	X(class_listed,         "connections of hosts on a list and not trapped") \
	X(class_trapped,        "connections of hosts trapped before") \
	X(listed_unstuttered,   "listed or trapped connections not stuttered: max-listed reached") \
	X(read_timeouts,        "connections ended: no command within the read timeout") \
	X(write_timeouts,       "connections ended: no byte could be sent within the write timeout") \
	X(peer_closed,          "connections the client closed or reset") \
	X(tarpit_seconds,       "seconds that listed and trapped connections were held, in all") \
	X(bytes_stuttered,      "bytes sent one at a time") \
	X(bytes_sent,           "bytes sent in all") \
	X(bytes_received,       "bytes received") \
	X(stale_completions,    "kernel completions for a connection that was gone") \
	X(no_text_memory,       "connections closed: pool of dialogue texts exhausted") \
	/* dialogue */ \
	X(commands,             "SMTP commands answered") \
	X(bad_commands,         "unrecognised SMTP commands") \
	X(long_lines,           "lines longer than the bound") \
	X(deferred,             "mails deferred with 451") \
	X(trap_hits,            "RCPTs to spamtraps or in domains that are not allowed") \
	X(deferred_unstored,    "deferrals finished before their tuples were stored (store-wait)") \
	/* keeper */ \
	X(tuples_new,           "tuples stored for the first time") \
	X(burst_tuples,         "new tuples of a burst, stored without their places at first") \
	X(tuples_early,         "known tuples retried before passtime") \
	X(tuples_passed,        "tuples that qualified") \
	X(hosts_promoted,       "hosts whitelisted by a retry") \
	X(hosts_reasserted,     "whitelisted hosts that reached mired and were sent to the kernel again") \
	X(hosts_trapped,        "hosts trapped by their mail") \
	X(changes,              "changes from outside the dialogue carried out") \
	X(sync_applied,         "changes that peers told of carried out") \
	X(sync_stale,           "changes that peers told of and that changed nothing here") \
	X(tuples_no_helo,       "RCPTs without HELO: no tuple is made") \
	X(events_delayed,       "events that waited because a ring to the keeper was full") \
	X(expired_tuples,       "tuples deleted at the end of their life") \
	X(expired_hosts,        "hosts deleted at the end of their life") \
	X(clock_jumps,          "jumps of the wall clock noticed") \
	/* store */ \
	X(commits,              "commits to the store") \
	X(commit_failures,      "commits that failed and are tried again") \
	X(commits_slow,         "commits slower than 250 ms") \
	X(store_bad_records,    "stored records whose checksum was wrong (treated as absent)") \
	X(cache_evictions,      "cache entries evicted to make room") \
	/* firewall feed */ \
	X(fw_changes_sent,      "changes sent to the firewall role") \
	X(fw_fills,             "complete fills of the kernel sets") \
	X(fw_feed_behind,       "times the feed fell behind the journal and filled again") \
	/* lists */ \
	X(lists_loaded,         "lists put in force") \
	X(lists_refused,        "lists refused: what was in force before stayed so") \
	X(hosts_delisted,       "whitelisted hosts that lost their entry because they are on a list") \
	/* synchronisation */ \
	X(sync_sent,            "datagrams sent to peers") \
	X(sync_received,        "datagrams of peers that were sound") \
	X(sync_dropped,         "datagrams of peers dropped, whole or from a faulty block on") \
	X(sync_refused,         "blocks of peers refused although their datagram was sound") \
	/* control socket */ \
	X(ctl_requests,         "control requests answered") \
	X(ctl_refused,          "control requests refused for lack of rights") \
	X(ctl_bad_requests,     "control requests that were not understood") \
	X(connections_passed,   "connections the kernel let through, as mired-logd reported them") \
	X(seen_dropped,         "reports of seen hosts dropped: the way to the store was full") \
	X(cfg_sessions,         "sessions on the spamd-cfg port") \
	X(cfg_refused,          "spamd-cfg connections refused for their port, and sessions refused") \
	/* log */ \
	X(log_dropped,          "log lines dropped because the log did not take them") \
	X(log_suppressed,       "log lines not written because of log-rate")
// clang-format on

#define COUNTER_MEMBER(name, help) COUNTER_##name,
enum counter { COUNTERS(COUNTER_MEMBER) COUNTER_COUNT };
#undef COUNTER_MEMBER

struct counters {
	_Atomic uint64_t value[COUNTER_COUNT];
} CACHE_ALIGNED;

/* Owner thread only. A plain load and store: nobody else writes. */
static inline void counters_add(struct counters *counters, enum counter which, uint64_t n)
{
	_Atomic uint64_t *value = &counters->value[which];
	atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n,
	                      memory_order_relaxed);
}

static inline uint64_t counters_get(const struct counters *counters, enum counter which)
{
	return atomic_load_explicit(&counters->value[which], memory_order_relaxed);
}

/* Name and one-line description from the table above. */
const char *counter_name(enum counter which);
const char *counter_help(enum counter which);
