/* The world of one keeper, for the tests of this folder: a real store in a temporary directory,
 * caches, mailboxes that the test plays the workers with. Include after cmocka.h. */
#pragma once

#include <ftw.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "keeper/keeper.h"
#include "keeper/knowledge.h"
#include "lists/ranges.h"

enum { WORLD_PORTS = 2, WORLD_WAIT_MS = 10000 };

struct world {
	char dir[64];
	struct conf conf; /* may be changed before world_start */
	struct store *store;
	struct store_reader *reader;
	struct cache *hosts;
	struct cache *tuples;
	struct keeper_port ports[WORLD_PORTS];
	struct mailbox *reasserts;
	int wake_feeder;
	int wake_syncer;
	bool is_sync_sending; /* may be changed before world_start */
	bool has_syncer;      /* likewise: the last port is a syncer's */
	struct knowledge knowledge;
	int wake_of_ports;              /* eventfd or -1; may be changed before world_start */
	uint32_t low_priority_grace_ms; /* may be changed before world_start */
	struct events *attempts;        /* may be set before world_start; the test's */
	struct events *turns;           /* likewise */
	struct keeper *keeper;
};

static inline int world_unlink(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void world_remove_dir(const char *dir)
{
	assert_int_equal(nftw(dir, world_unlink, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void world_sleep_ms(int ms)
{
	(void)poll(NULL, 0, ms);
}

static inline int64_t world_now_secs(void)
{
	return clock_wall().secs;
}

static inline void world_open_store(struct world *world)
{
	struct store_conf conf = {.dir = world->dir,
	                          .map_bytes = world->conf.map_bytes,
	                          .journal_max = world->conf.journal_max,
	                          .readers_max = 16,
	                          .create = true};
	char why[STORE_WHY_MAX] = "";
	int ret = store_open(&world->store, &conf, why);
	if (ret != 0) {
		fail_msg("%s", why);
	}
	assert_int_equal(store_reader_open(world->store, &world->reader), 0);
}

static inline void world_close_store(struct world *world)
{
	store_reader_close(world->reader);
	store_close(world->store);
}

static inline void world_init(struct world *world)
{
	*world = (struct world){
	        .dir = "/tmp/mired-test-XXXXXX",
	        .wake_of_ports = -1,
	        .conf = {.passtime_secs = 1500,
	                 .greyexp_secs = 14400,
	                 .whiteexp_secs = 36 * 86400,
	                 .trapexp_secs = 86400,
	                 .ipv6_prefix = 64,
	                 .store_retry_ms = 50,
	                 .map_bytes = 64 << 20,
	                 .commit_max = 256,
	                 .commit_wait_ms = 20,
	                 .journal_max = 10000,
	                 .sweep_ms = 50,
	                 .host_cache_slots = 4096,
	                 .tuple_cache_slots = 4096},
	};
	assert_non_null(mkdtemp(world->dir));
	world_open_store(world);
}

static inline void world_start(struct world *world)
{
	world->hosts = cache_new(world->conf.host_cache_slots);
	world->tuples = cache_new(world->conf.tuple_cache_slots);
	world->reasserts = mailbox_new(1 << 16);
	world->wake_feeder = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	world->wake_syncer = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	world->knowledge.traps = trapset_new(store_hash_key(world->store));
	for (int i = 0; i < WORLD_PORTS; i++) {
		world->ports[i].requests = mailbox_new(KEEPER_MAILBOX_BYTES);
		world->ports[i].answers = mailbox_new(KEEPER_ANSWER_BYTES);
		world->ports[i].wake = world->wake_of_ports;
	}
	if (world->has_syncer) {
		world->ports[WORLD_PORTS - 1].wake = world->wake_syncer;
	}
	struct keeper_env env = {.conf = &world->conf,
	                         .store = world->store,
	                         .hosts = world->hosts,
	                         .tuples = world->tuples,
	                         .knowledge = &world->knowledge,
	                         .low_priority_grace_ms = world->low_priority_grace_ms,
	                         .ports = world->ports,
	                         .n_ports = WORLD_PORTS,
	                         .wake_feeder = world->wake_feeder,
	                         .wake_syncer = world->wake_syncer,
	                         .is_sync_sending = world->is_sync_sending,
	                         .attempts = world->attempts,
	                         .turns = world->turns,
	                         .reasserts = world->reasserts};
	assert_int_equal(keeper_start(&world->keeper, &env), 0);
}

static inline void world_stop(struct world *world)
{
	keeper_stop(world->keeper);
	world->keeper = NULL;
	for (int i = 0; i < WORLD_PORTS; i++) {
		mailbox_free(world->ports[i].requests);
		mailbox_free(world->ports[i].answers);
	}
	trapset_free(world->knowledge.traps);
	mailbox_free(world->reasserts);
	cache_free(world->hosts);
	cache_free(world->tuples);
	(void)close(world->wake_feeder);
	(void)close(world->wake_syncer);
}

static inline void world_fini(struct world *world)
{
	if (world->keeper) {
		world_stop(world);
	}
	world_close_store(world);
	world_remove_dir(world->dir);
}

/* --- playing a worker ------------------------------------------------------------------------- */

static inline struct addr world_addr(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

struct world_tuple {
	const char *addr;
	const char *helo;
	const char *sender;
	const char *recipient;
	uint16_t flags; /* enum keeper_flag */
};

/* Posts without waking the keeper. False when the mailbox is full. */
static inline bool world_post(struct world *world, int port, enum keeper_request_kind kind,
                              uint32_t slot, const struct world_tuple *tuple)
{
	const char *strings[3] = {tuple->helo, tuple->sender, tuple->recipient};
	size_t lens[3];
	size_t total = 0;
	for (int i = 0; i < 3; i++) {
		lens[i] = strings[i] ? strlen(strings[i]) : 0;
		total += lens[i];
	}
	struct keeper_request *request =
	        mailbox_reserve(world->ports[port].requests, sizeof *request + total);
	if (!request) {
		return false;
	}
	struct addr addr = world_addr(tuple->addr);
	*request = (struct keeper_request){.kind = (uint32_t)kind,
	                                   .conn = {.slot = slot, .generation = slot ^ 7},
	                                   .addr = addr_group(&addr, world->conf.ipv6_prefix),
	                                   .peer = addr,
	                                   .flags = tuple->flags,
	                                   .helo_len = (uint16_t)lens[0],
	                                   .sender_len = (uint16_t)lens[1],
	                                   .recipient_len = (uint16_t)lens[2]};
	uint8_t *at = request->strings;
	for (int i = 0; i < 3; i++) {
		if (lens[i] > 0) {
			memcpy(at, strings[i], lens[i]);
		}
		at += lens[i];
	}
	mailbox_post(world->ports[port].requests);
	return true;
}

/* False when nothing came in time. */
static inline bool world_answer_within(struct world *world, int port, int wait_ms,
                                       struct keeper_answer *out)
{
	struct mono deadline = mono_add_ms(clock_mono(), wait_ms);
	size_t len = 0;
	const void *answer = mailbox_peek(world->ports[port].answers, &len);
	while (!answer && clock_mono().ns < deadline.ns) {
		world_sleep_ms(1);
		answer = mailbox_peek(world->ports[port].answers, &len);
	}
	if (!answer) {
		return false;
	}
	assert_int_equal(len, sizeof *out);
	memcpy(out, answer, sizeof *out);
	mailbox_release(world->ports[port].answers);
	return true;
}

static inline struct keeper_answer world_answer(struct world *world, int port)
{
	struct keeper_answer answer;
	assert_true(world_answer_within(world, port, WORLD_WAIT_MS, &answer));
	return answer;
}

/* One request and its answer. */
static inline struct keeper_answer world_ask_on(struct world *world, int port,
                                                enum keeper_request_kind kind,
                                                const struct world_tuple *tuple)
{
	assert_true(world_post(world, port, kind, 1, tuple));
	keeper_wake(world->keeper);
	return world_answer(world, port);
}

static inline struct keeper_answer world_ask(struct world *world, enum keeper_request_kind kind,
                                             const struct world_tuple *tuple)
{
	return world_ask_on(world, 0, kind, tuple);
}

/* One change and its answer. */
static inline struct keeper_answer world_change(struct world *world, int port,
                                                const struct change *change, uint64_t cookie)
{
	assert_true(keeper_post_change(&world->ports[port], change, cookie));
	keeper_wake(world->keeper);
	return world_answer(world, port);
}

/* What a worker would find, without asking the keeper: its two look-ups. False: it would ask. */
static inline bool world_cached(const struct world *world, const char *text, enum cache_kind *kind)
{
	struct addr peer = world_addr(text);
	struct addr group = addr_group(&peer, world->conf.ipv6_prefix);
	struct cache_key key = {{0}};
	struct cache_entry entry;
	memcpy(key.bytes, peer.bytes, sizeof peer.bytes);
	if (!addr_equal(&peer, &group) && cache_get(world->hosts, &key, &entry) &&
	    entry.expire_secs > world_now_secs() && entry.kind == CACHE_TRAPPED) {
		*kind = CACHE_TRAPPED;
		return true;
	}
	memcpy(key.bytes, group.bytes, sizeof group.bytes);
	bool is_there =
	        cache_get(world->hosts, &key, &entry) && entry.expire_secs > world_now_secs();
	*kind = is_there ? (enum cache_kind)entry.kind : CACHE_NONE;
	return is_there;
}

/* Whether a worker would find this spamtrap. */
static inline bool world_has_trap(const struct world *world, const char *address)
{
	qsbr_register();
	bool has = trapset_has(world->knowledge.traps, span_of_str(address));
	qsbr_unregister();
	return has;
}

static inline uint64_t world_count(const struct world *world, enum counter which)
{
	return counters_get(keeper_counters(world->keeper), which);
}

/* False when the counter does not get there in time. */
static inline bool world_reaches(struct world *world, enum counter which, uint64_t at_least)
{
	for (int i = 0; i < WORLD_WAIT_MS; i++) {
		if (world_count(world, which) >= at_least) {
			return true;
		}
		world_sleep_ms(1);
	}
	return false;
}

static inline bool world_is_degraded(struct world *world)
{
	struct keeper_figures figures;
	keeper_figures_get(world->keeper, &figures);
	return figures.is_degraded;
}

/* --- looking into the store ------------------------------------------------------------------- */

static inline struct tuple_key world_key(const struct world *world, const struct world_tuple *tuple)
{
	struct addr addr = world_addr(tuple->addr);
	addr = addr_group(&addr, world->conf.ipv6_prefix);
	struct tuple_text text = {.helo = span_of_str(tuple->helo),
	                          .sender = span_of_str(tuple->sender),
	                          .recipient = span_of_str(tuple->recipient)};
	return record_tuple_key(store_hash_key(world->store), &addr, &text);
}

/* The stored tuple, found by a walk; false when it is not there. */
static inline bool world_find(struct world *world, const struct world_tuple *tuple,
                              struct grey_record *out)
{
	struct tuple_key key = world_key(world, tuple);
	struct store_walk *walk = store_walk_new(world->reader, STORE_WALK_TUPLES, NULL, NULL);
	const struct store_row *rows = NULL;
	bool is_found = false;
	int n = 0;
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		for (int i = 0; i < n; i++) {
			if (memcmp(&rows[i].key, &key, sizeof key) == 0) {
				*out = rows[i].record;
				is_found = true;
			}
		}
	}
	assert_int_equal(n, 0);
	store_walk_free(walk);
	return is_found;
}

static inline bool world_host(struct world *world, const char *text, enum record_kind kind,
                              struct grey_record *out)
{
	struct addr addr = world_addr(text);
	if (kind != RECORD_TRAPPED) {
		addr = addr_group(&addr, world->conf.ipv6_prefix);
	}
	int ret = store_reader_host(world->reader, &addr, kind, out);
	assert_true(ret >= 0);
	return ret > 0;
}

/* Writes a tuple first seen age_secs ago, before the keeper runs. */
static inline void world_seed_tuple(struct world *world, const struct world_tuple *tuple,
                                    int64_t age_secs)
{
	struct store_txn txn;
	struct tuple_key key = world_key(world, tuple);
	int64_t now = world_now_secs();
	int64_t end = now - age_secs + world->conf.greyexp_secs;
	struct grey_record record = {.first = {now - age_secs},
	                             .pass = {end},
	                             .expire = {end},
	                             .changed_at = {now - age_secs},
	                             .last = {now - age_secs},
	                             .bcount = 1};
	struct tuple_text text = {.helo = span_of_str(tuple->helo),
	                          .sender = span_of_str(tuple->sender),
	                          .recipient = span_of_str(tuple->recipient)};
	store_begin(world->store, &txn, clock_wall());
	store_put_tuple(&txn, &key, &record, &text);
	assert_int_equal(store_commit(&txn), 0);
}

static inline void world_seed_host(struct world *world, const char *text, enum record_kind kind,
                                   int64_t left_secs)
{
	struct store_txn txn;
	struct addr addr = world_addr(text);
	int64_t now = world_now_secs();
	struct grey_record record = {.first = {now - 10},
	                             .pass = {now - 10},
	                             .expire = {now + left_secs},
	                             .changed_at = {now - 10},
	                             .bcount = 1};
	if (kind != RECORD_TRAPPED) {
		addr = addr_group(&addr, world->conf.ipv6_prefix);
	}
	store_begin(world->store, &txn, clock_wall());
	store_put_host(&txn, &addr, kind, &record);
	assert_int_equal(store_commit(&txn), 0);
}

/* --- lists ------------------------------------------------------------------------------------ */

/* One list with one address; instead of none. */
static inline void world_list(struct world *world, const char *addr)
{
	struct list_table *table = NULL;
	struct list_ranges *ranges = NULL;
	struct cidr cidr = {.addr = world_addr(addr), .bits = 128};
	assert_int_equal(list_ranges_new(&cidr, 1, &ranges), 0);
	struct list_source source = {.tag = SPAN("test"), .text = SPAN("text"), .ranges = ranges};
	assert_int_equal(list_table_build(&source, 1, &table), 0);
	list_ranges_free(ranges);
	(void)qsbr_exchange(&world->knowledge.lists, table);
}

/* While the keeper is idle or stopped. */
static inline void world_unlist(struct world *world)
{
	list_table_free(qsbr_exchange(&world->knowledge.lists, NULL));
}

/* --- a test's world ----------------------------------------------------------------------------
 */

static const struct world_tuple letter = {"192.0.2.7", "mail.example", "a@example.org",
                                          "b@example.net", 0};

static inline int world_setup(void **state)
{
	struct world *world = malloc(sizeof *world);
	assert_non_null(world);
	world_init(world);
	*state = world;
	return 0;
}

static inline int world_teardown(void **state)
{
	world_fini(*state);
	free(*state);
	return 0;
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)
