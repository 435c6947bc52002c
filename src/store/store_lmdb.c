/* Opening and closing the environment, its meta record, and LMDB's errors in our words. A damaged,
 * missing or foreign store is refused with a message; nothing here overwrites one.
 * The directory around it is store_files.c. */
#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "store/lmdb_door.h"

/* EIO with less than this free is a full disk (measured: LMDB reports a short write as EIO). */
#define LOW_DISK_BYTES (UINT64_C(1) << 20)
/* LMDB does not write pages that a transaction took from the end of the file and gave back, so its
 * file may be shorter than the last page number says. The writer keeps a hole of this size behind
 * the last page, larger than any transaction of ours: then "too short" always means "cut". */
#define MARGIN_BYTES (UINT64_C(64) << 20)

static const char *const db_names[DB_COUNT] = {"meta",    "host", "tuple", "expiry",
                                               "journal", "trap", "intake"};

const char *door_db_name(enum store_db db)
{
	return db_names[db];
}

void door_explain(char why[static STORE_WHY_MAX], const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(why, STORE_WHY_MAX, format, args);
	va_end(args);
}

static bool is_disk_low(const char *dir)
{
	struct statvfs fs;
	return statvfs(dir, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < LOW_DISK_BYTES;
}

int door_error(const struct store *store, int rc)
{
	switch (rc) {
	case 0:
		return 0;
	case MDB_NOTFOUND:
		return ERR_NOT_FOUND;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case MDB_DBS_FULL:
	case ENOSPC:
	case EDQUOT:
		return ERR_FULL;
	case EIO:
		return is_disk_low(store->dir) ? ERR_FULL : -EIO;
	case MDB_PANIC:
		return ERR_PANIC;
	case MDB_INVALID:
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INCOMPATIBLE:
	case MDB_BAD_VALSIZE:
	case MDB_KEYEXIST:    /* an append that would not be the last */
	case MDB_CURSOR_FULL: /* a tree without an end: pages that lead to themselves */
	case MDB_PAGE_FULL:
	case MDB_BAD_TXN: /* it met damage before */
		return ERR_CORRUPT;
	case MDB_VERSION_MISMATCH:
		return ERR_VERSION;
	case MDB_READERS_FULL:
		return ERR_BUSY;
	default:
		return rc > 0 ? -rc : -EIO;
	}
}

void door_bad_record(struct store *store, const char *db, struct span key)
{
	uint64_t n = atomic_fetch_add_explicit(&store->n_bad, 1, memory_order_relaxed) + 1;
	if ((n & (n - 1)) == 0) {
		char text[4 * RECORD_EXPIRY_KEY_MAX + 1];
		log_error("store %s: damaged record in %s, key %s: treated as absent (%llu so far)",
		          store->dir, db, span_escape(key, text, sizeof text),
		          (unsigned long long)n);
	}
}

/* --- environment ------------------------------------------------------------------------------ */

int door_env_open(MDB_env **out, const char *dir, uint64_t map_bytes, unsigned readers_max,
                  unsigned extra_flags)
{
	MDB_env *env = NULL;
	int rc = mdb_env_create(&env);
	if (rc) {
		return rc;
	}
	/* No NOSYNC, NOMETASYNC, WRITEMAP, ever: measured to lose the store, the last commit, or
	 * the process on a full disk. NOTLS: readers belong to objects, not to threads. */
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | extra_flags;
	if ((rc = mdb_env_set_mapsize(env, map_bytes)) == 0 &&
	    (rc = mdb_env_set_maxdbs(env, DOOR_DBS_MAX)) == 0 &&
	    (rc = mdb_env_set_maxreaders(env, readers_max ? readers_max : 126)) == 0 &&
	    (rc = mdb_env_open(env, dir, flags, DOOR_MODE)) == 0) {
		*out = env;
		return 0;
	}
	mdb_env_close(env);
	return rc;
}

/* The data file's length and the length its meta page asks for. */
static int file_lengths(MDB_env *env, uint64_t *has, uint64_t *needs)
{
	MDB_envinfo info;
	MDB_stat stats;
	mdb_filehandle_t fd;
	struct stat st;
	int rc = 0;
	if ((rc = mdb_env_info(env, &info)) || (rc = mdb_env_stat(env, &stats)) ||
	    (rc = mdb_env_get_fd(env, &fd))) {
		return rc;
	}
	if (fstat(fd, &st)) {
		return errno;
	}
	*has = (uint64_t)st.st_size;
	*needs = ((uint64_t)info.me_last_pgno + 1) * stats.ms_psize;
	return 0;
}

int door_check_size(MDB_env *env, char why[static STORE_WHY_MAX])
{
	uint64_t has = 0;
	uint64_t needs = 0;
	int rc = file_lengths(env, &has, &needs);
	if (rc) {
		door_explain(why, "its length cannot be read: %s", mdb_strerror(rc));
		return rc > 0 ? -rc : -EIO;
	}
	if (has < needs) {
		door_explain(why, "the data file was cut short: %llu bytes, its pages need %llu",
		             (unsigned long long)has, (unsigned long long)needs);
		return ERR_CORRUPT;
	}
	return 0;
}

void door_keep_margin(MDB_env *env)
{
	uint64_t has = 0;
	uint64_t needs = 0;
	mdb_filehandle_t fd;
	if (file_lengths(env, &has, &needs) || has >= needs + MARGIN_BYTES / 2 ||
	    mdb_env_get_fd(env, &fd)) {
		return;
	}
	/* A hole costs no disk. If it cannot be made, the next commit tries again. */
	(void)!ftruncate(fd, (off_t)(needs + MARGIN_BYTES));
}

int door_open_dbs(MDB_txn *txn, MDB_dbi dbi[static DB_COUNT], unsigned flags)
{
	int rc = 0;
	for (int db = 0; db < DB_COUNT && rc == 0; db++) {
		rc = mdb_dbi_open(txn, db_names[db], flags, &dbi[db]);
	}
	return rc;
}

/* --- meta record ------------------------------------------------------------------------------ */

static int meta_put(struct store *store, MDB_txn *txn)
{
	struct record_value value;
	record_meta_encode(&store->meta, &value);
	MDB_val key = door_val(record_meta_key.ptr, record_meta_key.len);
	MDB_val data = door_val(value.bytes, value.len);
	return mdb_put(txn, store->dbi[DB_META], &key, &data, 0);
}

int door_mark(struct store *store, MDB_txn *txn, bool is_clean)
{
	store->meta.is_clean = is_clean;
	return meta_put(store, txn);
}

static int meta_read(struct store *store, MDB_txn *txn, char why[static STORE_WHY_MAX])
{
	MDB_val key = door_val(record_meta_key.ptr, record_meta_key.len);
	MDB_val data;
	int rc = mdb_get(txn, store->dbi[DB_META], &key, &data);
	int ret = rc ? ERR_CORRUPT : record_meta_decode(door_span(&data), &store->meta);
	if (ret == ERR_VERSION) {
		door_explain(why,
		             "%s/" DOOR_DATA_FILE
		             " was written by a version of mired with other rows, and was left as "
		             "it is: `miredb export FILE` of that version, move " DOOR_DATA_FILE
		             " and " DOOR_MARKER_FILE " away, start this one, `miredb import FILE`",
		             store->dir);
		return ERR_VERSION;
	}
	if (ret) {
		(void)snprintf(
		        why, STORE_WHY_MAX,
		        "%s/" DOOR_DATA_FILE
		        " has no sound meta record: damaged, or not a store of mired. It was "
		        "left as it is: put back a backup",
		        store->dir);
		return ERR_CORRUPT;
	}
	store->was_clean = store->meta.is_clean;
	store->is_marked_open = !store->was_clean;
	return 0;
}

static void newest_read(struct store *store, MDB_txn *txn)
{
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	struct journal_change change;
	if (mdb_cursor_open(txn, store->dbi[DB_JOURNAL], &cursor)) {
		return;
	}
	if (mdb_cursor_get(cursor, &key, &data, MDB_LAST) == 0 &&
	    record_change_decode(door_span(&key), door_span(&data), &change) == 0) {
		store->newest = change.at;
	}
	mdb_cursor_close(cursor);
}

/* --- open and close --------------------------------------------------------------------------- */

/* A new environment, or one whose making was interrupted before its first commit. */
static int create_content(struct store *store)
{
	MDB_txn *txn = NULL;
	int rc = mdb_txn_begin(store->env, NULL, 0, &txn);
	if (rc) {
		return rc;
	}
	store->meta = (struct store_meta){.created = clock_wall()};
	randombytes_buf(store->meta.hash_key, sizeof store->meta.hash_key);
	store->was_clean = true;
	rc = door_open_dbs(txn, store->dbi, MDB_CREATE);
	rc = rc ? rc : door_mark(store, txn, true);
	if (rc) {
		mdb_txn_abort(txn);
		return rc;
	}
	return mdb_txn_commit(txn);
}

/* The meta record first: a store with other rows may lack a database, and is no damaged one. */
static int read_dbs(struct store *store, MDB_txn *txn, char why[static STORE_WHY_MAX])
{
	int rc = mdb_dbi_open(txn, db_names[DB_META], 0, &store->dbi[DB_META]);
	int ret = rc ? 0 : meta_read(store, txn, why);
	if (ret) {
		return ret;
	}
	rc = rc ? rc : door_open_dbs(txn, store->dbi, 0);
	if (rc) {
		(void)snprintf(
		        why, STORE_WHY_MAX,
		        "%s/" DOOR_DATA_FILE
		        " lacks a database (%s): damaged, or not a store of mired. It was left "
		        "as it is: put back a backup",
		        store->dir, mdb_strerror(rc));
	}
	return rc == MDB_NOTFOUND ? ERR_CORRUPT : door_error(store, rc);
}

static int read_content(struct store *store, char why[static STORE_WHY_MAX])
{
	MDB_txn *txn = NULL;
	int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
	if (rc) {
		door_explain(why, "%s: %s", store->dir, mdb_strerror(rc));
		return door_error(store, rc);
	}
	int ret = read_dbs(store, txn, why);
	if (ret) {
		mdb_txn_abort(txn);
		return ret;
	}
	newest_read(store, txn);
	ret = store->read_only ? 0 : intake_load(store, txn);
	if (ret) {
		door_explain(
		        why, "%s: tuples that wait for their places: %s. It was left as it is%s",
		        store->dir, err_text(ret), ret == ERR_CORRUPT ? ": put back a backup" : "");
		mdb_txn_abort(txn);
		return ret;
	}
	return door_error(store, mdb_txn_commit(txn)); /* keeps the handles */
}

/* True for an environment that never had a first commit. */
static bool is_blank(MDB_env *env)
{
	MDB_stat stats;
	return mdb_env_stat(env, &stats) == 0 && stats.ms_entries == 0;
}

static int open_env(struct store *store, const struct store_conf *conf,
                    char why[static STORE_WHY_MAX])
{
	int rc = door_env_open(&store->env, conf->dir, conf->map_bytes, conf->readers_max,
	                       conf->read_only ? MDB_RDONLY : 0U);
	if (rc) {
		door_explain(why, "%s: the store cannot be opened: %s. It was left as it is%s",
		             conf->dir, mdb_strerror(rc),
		             door_error(store, rc) == ERR_CORRUPT ? ": put back a backup" : "");
		return door_error(store, rc);
	}
	char reason[STORE_WHY_MAX];
	int ret = door_check_size(store->env, reason);
	if (ret) {
		door_explain(why,
		             "%s/" DOOR_DATA_FILE
		             ": %.200s. It was left as it is: put back a backup",
		             conf->dir, reason);
	}
	return ret;
}

static int open_content(struct store *store, const struct store_conf *conf, bool is_new,
                        char why[static STORE_WHY_MAX])
{
	bool is_unfinished = !door_has_marker(conf->dir) && is_blank(store->env);
	if (!conf->read_only && conf->create && (is_new || is_unfinished)) {
		int rc = create_content(store);
		if (rc) {
			door_explain(why, "%s: the store cannot be made: %s", conf->dir,
			             mdb_strerror(rc));
			return door_error(store, rc);
		}
	} else {
		int ret = read_content(store, why);
		if (ret) {
			return ret;
		}
	}
	if (conf->read_only) {
		return 0;
	}
	door_keep_margin(store->env);
	return door_has_marker(conf->dir) ? 0 : door_write_marker(conf->dir, why);
}

static void release(struct store *store)
{
	if (store->env) {
		mdb_env_close(store->env);
	}
	if (store->lock_fd >= 0) {
		(void)close(store->lock_fd);
	}
	intake_fini(&store->intake);
	free(store->pending);
	free(store->dir);
	free(store);
}

static struct store *store_alloc(const struct store_conf *conf)
{
	struct store *store = calloc(1, sizeof *store);
	if (!store) {
		return NULL;
	}
	store->lock_fd = -1;
	store->read_only = conf->read_only;
	store->journal_max = conf->journal_max ? conf->journal_max : 1;
	store->dir = strdup(conf->dir);
	store->pending = conf->read_only ? NULL : calloc(PENDING_MAX, sizeof *store->pending);
	if (!store->dir || (!store->pending && !conf->read_only)) {
		release(store);
		return NULL;
	}
	return store;
}

int store_open(struct store **out, const struct store_conf *conf, char why[static STORE_WHY_MAX])
{
	bool is_new = false;
	why[0] = '\0';
	if (sodium_init() < 0) {
		door_explain(why, "no source of random numbers");
		return -EIO;
	}
	struct store *store = store_alloc(conf);
	if (!store) {
		door_explain(why, "out of memory");
		return -ENOMEM;
	}
	int ret = door_check_dir(conf, why);
	if (ret == 0 && !conf->read_only) {
		ret = door_lock_writer(store, why);
	}
	if (ret == 0) {
		ret = door_check_data_file(conf, &is_new, why);
	}
	if (ret == 0) {
		ret = open_env(store, conf, why);
	}
	if (ret == 0) {
		ret = open_content(store, conf, is_new, why);
	}
	if (ret) {
		release(store);
		return ret;
	}
	*out = store;
	return 0;
}

void store_close(struct store *store)
{
	if (!store) {
		return;
	}
	MDB_txn *txn = NULL;
	if (!store->read_only && !store->is_panicked && store->is_marked_open &&
	    mdb_txn_begin(store->env, NULL, 0, &txn) == 0) {
		int rc = door_mark(store, txn, true);
		if (rc) {
			mdb_txn_abort(txn);
		} else {
			rc = mdb_txn_commit(txn);
		}
		if (rc) {
			log_warning("store %s: not marked as closed in order: %s", store->dir,
			            mdb_strerror(rc));
		}
	}
	release(store);
}

bool store_was_clean(const struct store *store)
{
	return store->was_clean;
}

const uint8_t *store_hash_key(const struct store *store)
{
	return store->meta.hash_key;
}

struct wall store_newest(const struct store *store)
{
	return store->newest;
}
