/* Playing the syncer, for the tests of what peers tell and are told: changes as it posts them, and
 * looks into the journal as it reads it. Include after cmocka.h. */
#pragma once

#include "base/err.h"
#include "keeper_world.h"

enum { ROWS_MAX = 256 };

/* --- playing the syncer ----------------------------------------------------------------------- */

static inline struct change grey_at(const struct world_tuple *tuple, int64_t at_secs)
{
	return (struct change){
	        .kind = CHANGE_PEER_GREY,
	        .has_addr = true,
	        .addr = world_addr(tuple->addr),
	        .record = {.changed_at = {at_secs}},
	        .is_peers = true,
	        .text = {.helo = span_of_str(tuple->helo),
	                 .sender = span_of_str(tuple->sender),
	                 .recipient = span_of_str(tuple->recipient)},
	};
}

/* 0 or ERR_BUSY. */
static inline int tell(struct world *world, const struct world_tuple *tuple, int64_t at_secs)
{
	struct change grey = grey_at(tuple, at_secs);
	struct keeper_answer answer = world_change(world, 1, &grey, 7);
	assert_int_equal(answer.kind, KEEPER_ANSWER_CHANGED);
	assert_int_equal(answer.cookie, 7);
	return answer.ret;
}

static inline unsigned n_rows(struct world *world, enum record_kind kind, enum change_origin origin)
{
	struct journal_change changes[ROWS_MAX];
	unsigned n_found = 0;
	int n = store_journal_read(world->reader, 0, changes, ROWS_MAX);
	assert_in_range(n, 0, ROWS_MAX - 1);
	for (int i = 0; i < n; i++) {
		n_found += changes[i].kind == kind && changes[i].origin == origin;
	}
	return n_found;
}

/* Nothing that peers would be told. */
static inline bool is_silent(struct world *world)
{
	struct journal_change changes[ROWS_MAX];
	int n = store_journal_read(world->reader, 0, changes, ROWS_MAX);
	assert_in_range(n, 0, ROWS_MAX - 1);
	for (int i = 0; i < n; i++) {
		if (changes[i].origin != ORIGIN_SILENT) {
			return false;
		}
	}
	return true;
}

static inline struct grey_record tuple_of(struct world *world, const struct world_tuple *tuple)
{
	struct grey_record record = {.bcount = 0};
	assert_true(world_find(world, tuple, &record));
	return record;
}

static inline void assert_same(const struct grey_record *a, const struct grey_record *b)
{
	assert_int_equal(a->first.secs, b->first.secs);
	assert_int_equal(a->pass.secs, b->pass.secs);
	assert_int_equal(a->expire.secs, b->expire.secs);
	assert_int_equal(a->changed_at.secs, b->changed_at.secs);
	assert_int_equal(a->last.secs, b->last.secs);
	assert_int_equal(a->bcount, b->bcount);
	assert_int_equal(a->pcount, b->pcount);
}

static inline void wait_for_next_second(void)
{
	int64_t now = world_now_secs();
	while (world_now_secs() == now) {
		world_sleep_ms(5);
	}
}

static inline bool is_readable(int fd)
{
	uint64_t n = 0;
	return read(fd, &n, sizeof n) == sizeof n;
}
