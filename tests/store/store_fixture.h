/* What the tests of the store share: a directory of their own, and rows made from a number. Include
 * after cmocka.h. */
#pragma once

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "store/store.h"

enum { FIXTURE_PATH_MAX = 256, FIXTURE_T0 = 1000000, FIXTURE_LIFE = 14400 };

#define FIXTURE_MAP_BYTES (UINT64_C(256) << 20)

struct fixture {
	char dir[FIXTURE_PATH_MAX];
	char why[STORE_WHY_MAX];
};

static inline struct store_conf fixture_conf(const struct fixture *f)
{
	return (struct store_conf){.dir = f->dir,
	                           .map_bytes = FIXTURE_MAP_BYTES,
	                           .journal_max = 1000000,
	                           .readers_max = 32,
	                           .create = true};
}

static inline int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	if (!f) {
		return -1;
	}
	const char *base = getenv("TMPDIR");
	(void)snprintf(f->dir, sizeof f->dir, "%s/mired-store-XXXXXX", base ? base : "/tmp");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static inline void fixture_path(const struct fixture *f, const char *name,
                                char out[static FIXTURE_PATH_MAX + 64])
{
	(void)snprintf(out, FIXTURE_PATH_MAX + 64, "%s/%.60s", f->dir, name);
}

static inline void fixture_remove(const struct fixture *f, const char *name)
{
	char path[FIXTURE_PATH_MAX + 64];
	fixture_path(f, name, path);
	(void)unlink(path);
}

static inline int fixture_teardown(void **state)
{
	static const char *const names[] = {"data.mdb", "lock.mdb",   "writer.lock", "installed",
	                                    "acked",    "mired.conf", "data.backup", "list.out"};
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		fixture_remove(f, names[i]);
	}
	int ret = rmdir(f->dir);
	free(f);
	return ret;
}

static inline struct store *fixture_open(struct fixture *f)
{
	struct store_conf conf = fixture_conf(f);
	struct store *store = NULL;
	int ret = store_open(&store, &conf, f->why);
	if (ret) {
		print_error("store_open: %s: %s\n", err_text(ret), f->why);
	}
	assert_int_equal(ret, 0);
	return store;
}

static inline struct store_reader *fixture_reader(struct store *store)
{
	struct store_reader *reader = NULL;
	assert_int_equal(store_reader_open(store, &reader), 0);
	return reader;
}

/* --- rows that follow from a number ----------------------------------------------------------- */

static inline struct addr row_addr(uint32_t n)
{
	return addr_from_v4_be(__builtin_bswap32(0x0a000000U + n * 2654435761U % 0xffffffU));
}

static inline struct grey_record row_record(uint32_t n)
{
	return (struct grey_record){.first = {FIXTURE_T0 + n},
	                            .pass = {FIXTURE_T0 + n + FIXTURE_LIFE},
	                            .expire = {FIXTURE_T0 + n + FIXTURE_LIFE},
	                            .changed_at = {FIXTURE_T0 + n},
	                            .bcount = n + 1};
}

struct row {
	char text[96];
	struct tuple_text spans;
	struct tuple_key key;
	struct grey_record record;
};

static inline void row_fill(struct row *row, const struct store *store, uint32_t n)
{
	int len = snprintf(row->text, sizeof row->text, "<sender-%u@example.org>", n);
	struct addr addr = row_addr(n);
	row->spans = (struct tuple_text){.helo = span_of_str("client.example"),
	                                 .sender = span_of(row->text, (size_t)len),
	                                 .recipient = span_of_str("<rcpt@example.net>")};
	row->key = record_tuple_key(store_hash_key(store), &addr, &row->spans);
	row->record = row_record(n);
}

static inline void row_put(struct store_txn *txn, uint32_t n)
{
	struct row row;
	row_fill(&row, txn->store, n);
	store_put_tuple(txn, &row.key, &row.record, &row.spans);
}

/* Tuples first..last in one commit. */
static inline int rows_commit(struct store *store, uint32_t first, uint32_t last)
{
	struct store_txn txn;
	store_begin(store, &txn, (struct wall){FIXTURE_T0 + last});
	for (uint32_t n = first; n <= last; n++) {
		row_put(&txn, n);
	}
	return store_commit(&txn);
}

static inline bool row_is_stored(struct store_txn *txn, uint32_t n)
{
	struct row row;
	struct grey_record found;
	row_fill(&row, txn->store, n);
	return store_get_tuple(txn, &row.key, &found) && found.bcount == row.record.bcount &&
	       found.expire.secs == row.record.expire.secs;
}

/* Walks everything; the count of rows, or a negative code. */
static inline int64_t rows_walk(struct store_reader *reader, uint64_t *n_bad)
{
	struct store_walk *walk = store_walk_new(reader, STORE_WALK_ALL, NULL, NULL);
	const struct store_row *rows = NULL;
	int64_t n_rows = 0;
	int n = 0;
	while ((n = store_walk_next(walk, &rows, n_bad)) > 0) {
		n_rows += n;
	}
	store_walk_free(walk);
	return n < 0 ? n : n_rows;
}
