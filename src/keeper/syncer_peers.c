/* What passed between this host and each other: figures under the syncer's lock, and what the log
 * says of peers. Those of the configuration have places from the start, and the multicast group has
 * one; others get one as they come. A flood of forged sources fills the table, not the log and not
 * the memory, and does not keep out who has the key. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "keeper/syncer_impl.h"

static_assert(CONF_SYNC_PEERS_MAX + 1 <= SYNCER_PEERS_MAX, "the configured ones have places");

/* --- block types ------------------------------------------------------------------------------ */

static const uint8_t types[] = {
        WIRE_GREY,           WIRE_WHITE,  WIRE_TRAPPED, WIRE_DELETE_WHITE,
        WIRE_DELETE_TRAPPED, WIRE_GREY6,  WIRE_WHITE6,  WIRE_TRAPPED6,
        WIRE_DELETE,         WIRE_MANUAL, WIRE_PROMOTE,
};
static_assert(ARRAY_LEN(types) < SYNCER_TYPES_MAX, "a place is left for none of them");

size_t syncer_type_index(uint8_t type)
{
	size_t i = 0;
	while (i < ARRAY_LEN(types) && types[i] != type) {
		i++;
	}
	return i;
}

uint8_t syncer_type_at(size_t index)
{
	return index < ARRAY_LEN(types) ? types[index] : 0;
}

/* --- places ----------------------------------------------------------------------------------- */

static void set_place(struct syncer *syncer, size_t peer, uint32_t addr_be, const char *name)
{
	struct syncer_peer_figures *figures = &syncer->figures.peers[peer];
	syncer->addrs_be[peer] = addr_be;
	syncer->marks[peer] = (struct syncer_marks){.dropped = 0};
	(void)pthread_mutex_lock(&syncer->lock);
	*figures = (struct syncer_peer_figures){.addr_be = addr_be};
	(void)snprintf(figures->name, sizeof figures->name, "%s", name);
	syncer->figures.n_peers = syncer->n_peers;
	(void)pthread_mutex_unlock(&syncer->lock);
}

static size_t find_place(const struct syncer *syncer, uint32_t addr_be)
{
	for (size_t i = 0; i < syncer->n_peers; i++) {
		if (syncer->addrs_be[i] == addr_be) {
			return i;
		}
	}
	return SYNCER_NO_PEER;
}

static size_t add_place(struct syncer *syncer, uint32_t addr_be, const char *name)
{
	size_t peer = syncer->n_peers++;
	set_place(syncer, peer, addr_be, name);
	return peer;
}

void syncer_peers_init(struct syncer *syncer)
{
	const struct sync_setup *setup = syncer->env.setup;
	syncer->figures.is_sending = syncer->is_sending;
	syncer->figures.is_receiving = syncer->is_receiving;
	syncer->figures.is_empty_key = setup->key.is_empty;
	for (size_t i = 0; i < setup->n_peers; i++) {
		size_t place = find_place(syncer, setup->peers[i].addr_be); /* named twice */
		syncer->places[i] =
		        place != SYNCER_NO_PEER
		                ? place
		                : add_place(syncer, setup->peers[i].addr_be, setup->peers[i].name);
	}
	syncer->group = SYNCER_NO_PEER;
	if (setup->has_group) {
		syncer->group = add_place(syncer, SYNC_GROUP_BE, "multicast group");
	}
}

/* The thread alone writes figures, so it reads them without the lock. */
static bool is_passer_by(const struct syncer_peer_figures *figures)
{
	return figures->name[0] == '\0' && figures->last_contact_secs == 0;
}

static size_t take_place(struct syncer *syncer, uint32_t addr_be)
{
	for (size_t i = 0; i < syncer->n_peers; i++) {
		if (is_passer_by(&syncer->figures.peers[i])) {
			set_place(syncer, i, addr_be, "");
			return i;
		}
	}
	return SYNCER_NO_PEER;
}

size_t syncer_peer_of(struct syncer *syncer, uint32_t addr_be, bool has_key)
{
	size_t peer = find_place(syncer, addr_be);
	if (peer != SYNCER_NO_PEER) {
		return peer;
	}
	if (syncer->n_peers < SYNCER_PEERS_MAX) {
		return add_place(syncer, addr_be, "");
	}
	return has_key ? take_place(syncer, addr_be) : SYNCER_NO_PEER;
}

/* --- counting --------------------------------------------------------------------------------- */

void syncer_count(struct syncer *syncer, uint64_t *figure)
{
	(void)pthread_mutex_lock(&syncer->lock);
	(*figure)++;
	(void)pthread_mutex_unlock(&syncer->lock);
}

/* A key that fits makes a later one that does not worth a line again; where both come from one
 * address by turns (sources can be forged), not for each of them. */
static void forget_key_mark(struct syncer_marks *marks)
{
	const uint32_t bit = 1U << WIRE_DROP_MAC;
	if ((marks->dropped & bit) != 0 && clock_mono().ns >= marks->log_key_at.ns) {
		marks->dropped &= ~bit;
	}
}

void syncer_peer_contact(struct syncer *syncer, size_t peer)
{
	counters_add(&syncer->counters, COUNTER_sync_received, 1);
	forget_key_mark(&syncer->marks[peer]);
	if (peer == SYNCER_NO_PEER) {
		return;
	}
	(void)pthread_mutex_lock(&syncer->lock);
	syncer->figures.peers[peer].last_contact_secs = clock_wall().secs;
	(void)pthread_mutex_unlock(&syncer->lock);
}

void syncer_peer_took(struct syncer *syncer, size_t peer, uint8_t type)
{
	if (peer != SYNCER_NO_PEER) {
		syncer_count(syncer, &syncer->figures.peers[peer].in[syncer_type_index(type)]);
	}
}

void syncer_peers_sent(struct syncer *syncer, const uint32_t blocks[static SYNCER_TYPES_MAX],
                       const bool *failed, bool has_group_failed)
{
	const struct sync_setup *setup = syncer->env.setup;
	size_t n_targets = setup->n_peers + setup->has_group;
	(void)pthread_mutex_lock(&syncer->lock);
	for (size_t i = 0; i < n_targets; i++) {
		bool is_group = i == setup->n_peers;
		size_t place = is_group ? syncer->group : syncer->places[i];
		struct syncer_peer_figures *figures = &syncer->figures.peers[place];
		bool has_failed = is_group ? has_group_failed : failed[i];
		figures->out_failures += has_failed;
		for (size_t t = 0; !has_failed && t < SYNCER_TYPES_MAX; t++) {
			figures->out[t] += blocks[t];
		}
	}
	(void)pthread_mutex_unlock(&syncer->lock);
}

/* --- drops and refusals ----------------------------------------------------------------------- */

static const char *const refusal_texts[SYNCER_REFUSED_COUNT] = {
        [SYNCER_REFUSED_SKEW] =
                "its time is too far from this host's: is one of the clocks wrong (sync-skew)?",
        [SYNCER_REFUSED_FULL] = "the store did not take it in time",
        [SYNCER_REFUSED_KIND] = "it is about something that it cannot mean",
};

/* True the first time. */
static bool mark(uint32_t *marks, unsigned reason)
{
	uint32_t bit = 1U << reason;
	bool is_new = (*marks & bit) == 0;
	*marks |= bit;
	return is_new;
}

static const char *peer_text(size_t peer, uint32_t addr_be, char buf[static INET_ADDRSTRLEN])
{
	const char *text = inet_ntop(AF_INET, &addr_be, buf, INET_ADDRSTRLEN);
	return text && peer != SYNCER_NO_PEER ? text : "others";
}

static void log_drop(size_t peer, uint32_t addr_be, enum wire_drop reason)
{
	char buf[INET_ADDRSTRLEN];
	const char *text = peer_text(peer, addr_be, buf);
	if (reason == WIRE_DROP_MAC) {
		log_error("sync: datagrams of %s are dropped, their signature is wrong: most "
		          "likely its key file is not the same as here; said once until one fits, "
		          "and once a minute at most",
		          text);
	} else {
		log_warning("sync: a datagram of %s was dropped, whole or in part: %s; further "
		            "ones are only counted",
		            text, wire_drop_name(reason));
	}
}

void syncer_peer_dropped(struct syncer *syncer, size_t peer, uint32_t addr_be,
                         enum wire_drop reason)
{
	counters_add(&syncer->counters, COUNTER_sync_dropped, 1);
	syncer_count(syncer, peer == SYNCER_NO_PEER ? &syncer->figures.n_strangers_dropped
	                                            : &syncer->figures.peers[peer].dropped[reason]);
	if (!mark(&syncer->marks[peer].dropped, (unsigned)reason)) {
		return;
	}
	if (reason == WIRE_DROP_MAC) {
		syncer->marks[peer].log_key_at = mono_add_ms(clock_mono(), SYNCER_LOG_AGAIN_MS);
	}
	log_drop(peer, addr_be, reason);
}

void syncer_peer_refused(struct syncer *syncer, size_t peer, uint32_t addr_be,
                         enum syncer_refusal reason)
{
	char buf[INET_ADDRSTRLEN];
	counters_add(&syncer->counters, COUNTER_sync_refused, 1);
	if (peer != SYNCER_NO_PEER) {
		syncer_count(syncer, &syncer->figures.peers[peer].refused[reason]);
	}
	if (mark(&syncer->marks[peer].refused, (unsigned)reason)) {
		log_warning("sync: what %s tells was refused: %s; further ones are only counted",
		            peer_text(peer, addr_be, buf), refusal_texts[reason]);
	}
}

/* --- figures ---------------------------------------------------------------------------------- */

void syncer_publish_cursor(struct syncer *syncer)
{
	uint64_t last = store_journal_last(syncer->reader);
	uint64_t cursor = syncer->out.cursor;
	(void)pthread_mutex_lock(&syncer->lock);
	syncer->figures.cursor = cursor;
	syncer->figures.n_behind = last > cursor ? last - cursor : 0;
	(void)pthread_mutex_unlock(&syncer->lock);
}

void syncer_figures_get(struct syncer *syncer, struct syncer_figures *out)
{
	(void)pthread_mutex_lock(&syncer->lock);
	*out = syncer->figures;
	(void)pthread_mutex_unlock(&syncer->lock);
}
