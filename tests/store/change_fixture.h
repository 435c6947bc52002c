/* Changes carried out on a store of a test's own, and what is in there then, as lines. Include
 * after cmocka.h. */
#pragma once

#include "store/change.h"
#include "store_fixture.h"

enum { NOW = FIXTURE_T0 };

static const struct change_conf change_conf = {
        .whiteexp_secs = INT64_C(36) * 86400, .trapexp_secs = 86400, .ipv6_prefix = 64};

static inline struct change parsed(const char *line)
{
	static uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	assert_int_equal(change_parse(span_of_str(line), buf, &change, why), 0);
	return change;
}

static inline struct change_effect apply_change(struct store *store, const struct change *change,
                                                int64_t at)
{
	struct change_effect effect;
	struct store_txn txn;
	struct wall now = {at};
	store_begin(store, &txn, now);
	change_apply(&txn, &change_conf, now, change, &effect);
	assert_true(txn.n_changes <= effect.n_writes); /* a tombstone over nothing is no news */
	assert_int_equal(txn.origin, ORIGIN_SILENT);
	assert_int_equal(store_commit(&txn), 0);
	return effect;
}

static inline struct change_effect apply_at(struct store *store, const char *line, int64_t at)
{
	struct change change = parsed(line);
	return apply_change(store, &change, at);
}

static inline struct change_effect apply(struct store *store, const char *line)
{
	return apply_at(store, line, NOW);
}

typedef int print_row(const struct store_row *row, FILE *out);

/* These rows of the store as lines, in the walk's order. */
static inline const char *list_by(struct store *store, unsigned parts, print_row *print)
{
	static char text[4096];
	struct store_reader *reader = fixture_reader(store);
	struct store_walk *walk = store_walk_new(reader, parts, NULL, NULL);
	const struct store_row *rows = NULL;
	FILE *out = fmemopen(text, sizeof text, "w");
	int n = 0;
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		for (int i = 0; i < n; i++) {
			assert_int_equal(print(&rows[i], out), 0);
		}
	}
	assert_int_equal(n, 0);
	(void)fputc('\0', out);
	assert_int_equal(fclose(out), 0);
	store_walk_free(walk);
	store_reader_close(reader);
	return text;
}

static inline const char *listing(struct store *store)
{
	return list_by(store, STORE_WALK_ALL, dump_print);
}

static inline const char *merge_listing(struct store *store)
{
	return list_by(store, STORE_WALK_ALL | STORE_WALK_DELETED, dump_print_merge);
}

/* The journal as letters: kind, put or deleted, origin. */
static inline const char *journal(struct store *store, uint64_t after)
{
	static const char kinds[] = " WTGS";
	static const char origins[ORIGIN_COUNT] = {'.', 'a', 'p', 't', 'm'};
	static char text[64];
	struct journal_change changes[16];
	struct store_reader *reader = fixture_reader(store);
	int n = store_journal_read(reader, after, changes, ARRAY_LEN(changes));
	size_t len = 0;
	assert_in_range(n, 0, ARRAY_LEN(changes));
	for (int i = 0; i < n; i++) {
		text[len++] = kinds[changes[i].kind];
		text[len++] = changes[i].is_deleted ? '-' : '+';
		text[len++] = origins[changes[i].origin];
		text[len++] = ' ';
	}
	text[len] = '\0';
	store_reader_close(reader);
	return text;
}

#define CHANGE_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
