/* LMDB without mired, for perf/tuples: it fills a store with tuples faster than the keeper could,
 * and is the baseline: the same transactions as the keeper's (a tuple, its expiry row, its row of
 * the journal, the oldest row of a full journal gone) with nothing around them.
 *
 * usage: tuples_lmdb fill DIRECTORY TUPLES           an empty store; one tuple expires a second,
 *                                                    beginning in ten days, in no order of address
 *        tuples_lmdb loop DIRECTORY TUPLES GROUP     new tuples, so many a commit; no store of
 *                                                    mired afterwards */
#include <errno.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "store/store.h"
#include "tuples.h"

enum { ROWS_A_COMMIT = 2000, LATER_PASS = 3, HEAD_BYTES = 45, VALUE_BYTES = 140 };

enum db { TUPLE, EXPIRY, JOURNAL, N_DBS };
static const char *const names[N_DBS] = {"tuple", "expiry", "journal"};

struct loader {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi[N_DBS];
	uint8_t hash_key[RECORD_HASH_KEY_BYTES];
	uint64_t n_tuples;
	uint64_t n_puts; /* of the open transaction */
};

static void must(int rc)
{
	if (rc != 0) {
		(void)fprintf(stderr, "tuples_lmdb: %s\n", mdb_strerror(rc));
		exit(1);
	}
}

static void begin(struct loader *loader)
{
	must(mdb_txn_begin(loader->env, NULL, 0, &loader->txn));
	loader->n_puts = 0;
}

static void put(struct loader *loader, enum db db, const struct record_key *key,
                const struct record_value *value, unsigned flags)
{
	MDB_val at = {key->len, (void *)(uintptr_t)key->bytes};
	MDB_val data = {value ? value->len : 0, (void *)(uintptr_t)(value ? value->bytes : NULL)};
	must(mdb_put(loader->txn, loader->dbi[db], &at, &data, flags));
	if (++loader->n_puts == ROWS_A_COMMIT) {
		must(mdb_txn_commit(loader->txn));
		begin(loader);
	}
}

static void open_env(struct loader *loader, const char *dir)
{
	must(mdb_env_create(&loader->env));
	must(mdb_env_set_mapsize(loader->env, TUPLES_MAP_BYTES));
	must(mdb_env_set_maxdbs(loader->env, 16));
	must(mdb_env_open(loader->env, dir, MDB_NOTLS | MDB_NORDAHEAD, 0600));
	begin(loader);
	for (int db = 0; db < N_DBS; db++) {
		must(mdb_dbi_open(loader->txn, names[db], MDB_CREATE, &loader->dbi[db]));
	}
}

static void close_env(struct loader *loader)
{
	must(mdb_txn_commit(loader->txn));
	mdb_env_close(loader->env);
}

/* --- filling ---------------------------------------------------------------------------------- */

/* The tuple that stands at this place in the order of addresses, and its end. */
static struct tuple_key nth_key(const struct loader *loader, uint64_t place,
                                struct tuples_text *text, struct wall *expire)
{
	/* an odd step runs through a power of two: neighbours end far from each other */
	uint64_t turn = place * UINT64_C(0x9e3779b1) % TUPLES_TURN;
	*expire = (struct wall){tuples_first_end().secs + (int64_t)turn};
	struct addr addr = tuples_stored_addr((uint32_t)place, loader->n_tuples);
	tuples_text_of(text, (uint32_t)place);
	return record_tuple_key(loader->hash_key, &addr, &text->spans);
}

/* Every third one later, so that pages are as full as those of a store that grew: they split. */
static void fill_tuples(struct loader *loader, bool is_later)
{
	for (uint64_t place = 0; place < loader->n_tuples; place++) {
		struct tuples_text text;
		struct wall expire;
		struct record_value value;
		if ((place % LATER_PASS == 0) != is_later) {
			continue;
		}
		struct tuple_key tuple = nth_key(loader, place, &text, &expire);
		struct record_key key = record_grey_key(&tuple);
		struct grey_record record = {.first = clock_wall(),
		                             .pass = expire,
		                             .expire = expire,
		                             .changed_at = clock_wall(),
		                             .last = clock_wall(),
		                             .bcount = 1};
		record_encode((struct span){key.bytes, key.len}, RECORD_GREY, &record, &text.spans,
		              &value);
		put(loader, TUPLE, &key, &value, is_later ? 0 : MDB_APPEND);
	}
}

struct end {
	struct wall expire;
	uint32_t place;
};

static int compare_ends(const void *a, const void *b)
{
	const struct end *x = a;
	const struct end *y = b;
	return (x->expire.secs > y->expire.secs) - (x->expire.secs < y->expire.secs);
}

/* In the order of time, as they come in life. */
static void fill_expiry(struct loader *loader)
{
	struct end *ends = calloc(loader->n_tuples, sizeof *ends);
	struct tuples_text text;
	must(ends ? 0 : ENOMEM);
	for (uint64_t place = 0; place < loader->n_tuples; place++) {
		ends[place].place = (uint32_t)place;
		(void)nth_key(loader, place, &text, &ends[place].expire);
	}
	qsort(ends, loader->n_tuples, sizeof *ends, compare_ends);
	for (uint64_t i = 0; i < loader->n_tuples; i++) {
		struct wall expire;
		struct tuple_key tuple = nth_key(loader, ends[i].place, &text, &expire);
		struct record_key key = record_grey_key(&tuple);
		struct record_key row = record_expiry_key(expire, RECORD_GREY, &key);
		put(loader, EXPIRY, &row, NULL, MDB_APPEND);
	}
	free(ends);
}

/* Full, as it is in a store of that size. */
static void fill_journal(struct loader *loader)
{
	struct journal_change change = {.kind = RECORD_GREY, .at = clock_wall()};
	uint64_t n = loader->n_tuples < TUPLES_JOURNAL_MAX ? loader->n_tuples : TUPLES_JOURNAL_MAX;
	for (change.seq = 1; change.seq <= n; change.seq++) {
		struct record_key key = record_seq_key(change.seq);
		struct record_value value;
		record_change_encode(&change, &value);
		put(loader, JOURNAL, &key, &value, MDB_APPEND);
	}
}

static int fill(const char *dir, uint64_t n_tuples)
{
	struct loader loader = {.n_tuples = n_tuples};
	struct store *store = tuples_open_store(dir);
	memcpy(loader.hash_key, store_hash_key(store), sizeof loader.hash_key);
	store_close(store);
	open_env(&loader, dir);
	fill_tuples(&loader, false);
	fill_tuples(&loader, true);
	fill_expiry(&loader);
	fill_journal(&loader);
	close_env(&loader);
	return 0;
}

/* --- the baseline ----------------------------------------------------------------------------- */

static void trim(struct loader *loader, uint64_t n)
{
	MDB_stat stats;
	MDB_cursor *cursor = NULL;
	must(mdb_stat(loader->txn, loader->dbi[JOURNAL], &stats));
	must(mdb_cursor_open(loader->txn, loader->dbi[JOURNAL], &cursor));
	for (uint64_t i = 0; i < n && stats.ms_entries > TUPLES_JOURNAL_MAX + i; i++) {
		MDB_val at;
		MDB_val data;
		must(mdb_cursor_get(cursor, &at, &data, MDB_FIRST));
		must(mdb_cursor_del(cursor, 0));
	}
	mdb_cursor_close(cursor);
}

static int compare_rows(const void *a, const void *b)
{
	const struct record_key *x = a;
	const struct record_key *y = b;
	return memcmp(x->bytes, y->bytes, x->len);
}

/* One group: the same rows in the same order as the keeper's commit. */
static void commit_group(struct loader *loader, uint64_t first, uint32_t n, uint64_t *seq)
{
	static struct record_key expiry[ROWS_A_COMMIT];
	struct record_value value = {.len = HEAD_BYTES + VALUE_BYTES};
	struct record_value change = {.len = 55};
	struct record_value nothing = {.len = 0};
	begin(loader);
	loader->n_puts = 1; /* never as many as would commit */
	for (uint32_t i = 0; i < n; i++) {
		struct tuple_key tuple = {.addr = tuples_new_addr((uint32_t)(first + i))};
		memcpy(tuple.hash, &(uint64_t){(first + i) * UINT64_C(0x9e3779b97f4a7c15)}, 8);
		struct record_key key = record_grey_key(&tuple);
		struct record_key row = record_seq_key(++*seq);
		put(loader, TUPLE, &key, &value, 0);
		put(loader, JOURNAL, &row, &change, MDB_APPEND);
		loader->n_puts = 1;
		expiry[i] = record_expiry_key(clock_wall(), RECORD_GREY, &key);
	}
	qsort(expiry, n, sizeof expiry[0], compare_rows);
	for (uint32_t i = 0; i < n; i++) {
		put(loader, EXPIRY, &expiry[i], &nothing, 0);
		loader->n_puts = 1;
	}
	trim(loader, n);
	must(mdb_txn_commit(loader->txn));
}

static double cpu_secs(void)
{
	struct rusage usage;
	(void)getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Behind every row of the store, and of the loops before. */
static uint64_t last_seq(struct loader *loader)
{
	MDB_cursor *cursor = NULL;
	MDB_val at;
	MDB_val data;
	uint64_t seq = 0;
	must(mdb_cursor_open(loader->txn, loader->dbi[JOURNAL], &cursor));
	if (mdb_cursor_get(cursor, &at, &data, MDB_LAST) == 0) {
		must(record_seq_key_decode((struct span){at.mv_data, at.mv_size}, &seq));
	}
	mdb_cursor_close(cursor);
	return seq;
}

static int loop(const char *dir, uint64_t n_tuples, uint32_t group)
{
	struct loader loader = {.n_tuples = n_tuples};
	open_env(&loader, dir);
	uint64_t seq = last_seq(&loader);
	uint64_t first = TUPLES_OF_LOOP + seq;
	must(mdb_txn_commit(loader.txn));
	double cpu = cpu_secs();
	struct mono begun = clock_mono();
	for (uint64_t n = 0; n < n_tuples; n += group) {
		commit_group(&loader, first + n, group, &seq);
	}
	double secs = (double)(clock_mono().ns - begun.ns) / (double)NS_PER_SEC;
	(void)printf("{\"secs\": %.6f, \"cpu_secs\": %.6f}\n", secs, cpu_secs() - cpu);
	mdb_env_close(loader.env);
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 3 ? strtoull(argv[3], NULL, 10) : 0;
	uint32_t group = argc > 4 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	if (argc == 4 && strcmp(argv[1], "fill") == 0 && n > 0 && n < TUPLES_TURN) {
		return fill(argv[2], n);
	}
	if (argc == 5 && strcmp(argv[1], "loop") == 0 && n > 0 && group > 0 &&
	    group <= ROWS_A_COMMIT) {
		return loop(argv[2], n, group);
	}
	(void)fprintf(stderr, "usage: tuples_lmdb fill DIRECTORY TUPLES | loop DIRECTORY TUPLES "
	                      "GROUP\n");
	return 2;
}
