/* The check of a whole store. It runs in a child process, because reading a damaged page may crash
 * LMDB or send it in circles: both are findings here. The child sends a zero byte now and then as
 * its sign of life, and before it ends the text of what it found.
 *
 * Checked, in one snapshot: file length; meta record; LMDB's list of free pages; in each database
 * keys ascending, as many rows as LMDB counts, every row decoding with a good checksum; each host
 * and tuple has its expiry row, and each expiry row the record that expires then. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "store/lmdb_door.h"

enum {
	CHILD_FD = 3,
	/* two random reads a row, 15 ms each on a cold rotating disk: a sign every 8 s at worst */
	ROWS_PER_SIGN = 256,
	CHECK_READERS = 126, /* as LMDB's default; only the first opener's word counts */
};

/* How the child ends. */
enum { FOUND_NOTHING, FOUND_DAMAGE, FOUND_TROUBLE };

/* --- in the child ----------------------------------------------------------------------------- */

struct check {
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi[DB_COUNT];
	uint64_t n_rows;
	char why[STORE_WHY_MAX];
};

PRINTF(2, 3) static bool finding(struct check *check, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(check->why, sizeof check->why, format, args);
	va_end(args);
	return false;
}

static void sign_of_life(struct check *check)
{
	if (++check->n_rows % ROWS_PER_SIGN == 0) {
		(void)!write(CHILD_FD, "", 1);
	}
}

static bool get(struct check *check, enum store_db db, const struct record_key *row, MDB_val *data)
{
	MDB_val key = door_key(row);
	return mdb_get(check->txn, check->dbi[db], &key, data) == 0;
}

static bool check_meta_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	struct store_meta meta;
	struct record_counts counts;
	uint64_t seq = 0;
	if (span_equal(door_span(key), record_meta_key)) {
		int ret = record_meta_decode(door_span(data), &meta);
		return ret == ERR_VERSION
		               ? finding(check, "written by a version of mired with other rows")
		               : ret == 0;
	}
	if (span_equal(door_span(key), record_counts_key)) {
		return record_counts_decode(door_span(data), &counts) == 0;
	}
	return record_cursor_decode(door_span(key), door_span(data), &seq) == 0;
}

static bool check_record(struct check *check, enum record_kind kind, const MDB_val *key,
                         const MDB_val *data)
{
	struct grey_record record;
	MDB_val empty;
	if (record_decode(door_span(key), door_span(data), kind, &record, NULL)) {
		return false;
	}
	struct record_key row = {.len = key->mv_size};
	memcpy(row.bytes, key->mv_data, row.len);
	struct record_key expiry = record_expiry_key(record.expire, kind, &row);
	return get(check, DB_EXPIRY, &expiry, &empty) ||
	       finding(check, "a %s lacks its expiry row", kind == RECORD_GREY ? "tuple" : "host");
}

static bool check_host_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	struct addr addr;
	enum record_kind kind = RECORD_WHITE;
	return record_host_key_decode(door_span(key), &addr, &kind) == 0 &&
	       check_record(check, kind, key, data);
}

static bool check_tuple_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	struct tuple_key tuple;
	return record_grey_key_decode(door_span(key), &tuple) == 0 &&
	       check_record(check, RECORD_GREY, key, data);
}

static bool check_intake_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	uint64_t seq = 0;
	struct tuple_key tuple;
	struct grey_record record;
	struct span row;
	struct span value;
	MDB_val place;
	if (record_seq_key_decode(door_span(key), &seq) ||
	    door_intake_split(data, &tuple, &row, &value) ||
	    record_decode(row, value, RECORD_GREY, &record, NULL) || record.is_deleted) {
		return false;
	}
	struct record_key grey = record_grey_key(&tuple);
	return !get(check, DB_TUPLE, &grey, &place) ||
	       finding(check, "a tuple that waits for its place has one");
}

static bool check_expiry_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	struct wall expire;
	enum record_kind kind = RECORD_GREY;
	struct record_key row;
	struct grey_record record;
	MDB_val value;
	if (data->mv_size != 0 || record_expiry_key_decode(door_span(key), &expire, &kind, &row)) {
		return false;
	}
	bool is_match = get(check, kind == RECORD_GREY ? DB_TUPLE : DB_HOST, &row, &value) &&
	                record_decode(span_of(row.bytes, row.len), door_span(&value), kind, &record,
	                              NULL) == 0 &&
	                record.expire.secs == expire.secs;
	return is_match || finding(check, "an expiry row names no record that expires then");
}

static bool check_journal_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	(void)check;
	struct journal_change change;
	return record_change_decode(door_span(key), door_span(data), &change) == 0;
}

static bool check_trap_row(struct check *check, const MDB_val *key, const MDB_val *data)
{
	(void)check;
	uint8_t hash[RECORD_HASH_BYTES];
	struct grey_record record;
	return record_trap_key_decode(door_span(key), hash) == 0 &&
	       record_decode(door_span(key), door_span(data), RECORD_TRAP_ADDRESS, &record, NULL) ==
	               0;
}

typedef bool check_row(struct check *check, const MDB_val *key, const MDB_val *data);
static check_row *const row_checks[DB_COUNT] = {
        [DB_META] = check_meta_row,       [DB_HOST] = check_host_row,
        [DB_TUPLE] = check_tuple_row,     [DB_EXPIRY] = check_expiry_row,
        [DB_JOURNAL] = check_journal_row, [DB_TRAP] = check_trap_row,
        [DB_INTAKE] = check_intake_row,
};

static bool is_ascending(const struct record_key *last, const MDB_val *key)
{
	size_t n = last->len < key->mv_size ? last->len : key->mv_size;
	int order = memcmp(last->bytes, key->mv_data, n);
	return last->len == 0 || order < 0 || (order == 0 && last->len < key->mv_size);
}

/* One row; *last becomes its key. */
static bool check_one(struct check *check, enum store_db db, struct record_key *last,
                      const MDB_val *key, const MDB_val *data)
{
	const char *name = door_db_name(db);
	sign_of_life(check);
	if (key->mv_size == 0 || key->mv_size > sizeof last->bytes) {
		return finding(check, "database %s: a key of %zu bytes", name, key->mv_size);
	}
	if (!is_ascending(last, key)) {
		return finding(check, "database %s: keys out of order", name);
	}
	last->len = key->mv_size;
	memcpy(last->bytes, key->mv_data, last->len);
	if (row_checks[db](check, key, data)) {
		return true;
	}
	char reason[STORE_WHY_MAX];
	char text[4 * RECORD_EXPIRY_KEY_MAX + 1];
	(void)snprintf(reason, sizeof reason, "%s",
	               check->why[0] ? check->why : "checksum or shape is wrong");
	return finding(check, "database %s, key %s: %.200s", name,
	               span_escape(door_span(key), text, sizeof text), reason);
}

/* Bounded by LMDB's own count: a tree that leads in circles ends here. */
static bool check_rows(struct check *check, enum store_db db, MDB_cursor *cursor, size_t n_expected)
{
	struct record_key last = {.len = 0};
	MDB_val key;
	MDB_val data;
	size_t n = 0;
	int rc = 0;
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
		if (n++ >= n_expected || !check_one(check, db, &last, &key, &data)) {
			break;
		}
	}
	if (check->why[0]) {
		return false;
	}
	if (rc != MDB_NOTFOUND && rc != 0) {
		return finding(check, "database %s: %s", door_db_name(db), mdb_strerror(rc));
	}
	return n == n_expected || finding(check, "database %s: %zu rows, %zu expected",
	                                  door_db_name(db), n, n_expected);
}

static bool check_db(struct check *check, enum store_db db)
{
	MDB_stat stats;
	MDB_cursor *cursor = NULL;
	int rc = mdb_stat(check->txn, check->dbi[db], &stats);
	rc = rc ? rc : mdb_cursor_open(check->txn, check->dbi[db], &cursor);
	if (rc) {
		return finding(check, "database %s: %s", door_db_name(db), mdb_strerror(rc));
	}
	bool is_sound = check_rows(check, db, cursor, stats.ms_entries);
	mdb_cursor_close(cursor);
	return is_sound;
}

/* One row of LMDB's free list: a count and so many page numbers, descending. A writer that trusted
 * a wrong one would overwrite what is in use. */
static bool check_free_row(const MDB_val *data, size_t n_pages)
{
	size_t count = 0;
	size_t last = n_pages;
	if (data->mv_size < sizeof count) {
		return false;
	}
	memcpy(&count, data->mv_data, sizeof count);
	if (count > data->mv_size / sizeof count - 1) {
		return false;
	}
	for (size_t i = 1; i <= count; i++) {
		size_t page = 0;
		memcpy(&page, (const uint8_t *)data->mv_data + i * sizeof page, sizeof page);
		if (page >= last || page < 2) { /* two meta pages */
			return false;
		}
		last = page;
	}
	return true;
}

/* Database 0, bounded as check_rows is. */
static bool check_free_list(struct check *check)
{
	MDB_envinfo info;
	MDB_stat stats;
	MDB_cursor *cursor = NULL;
	MDB_val key;
	MDB_val data;
	size_t n = 0;
	int rc = mdb_env_info(check->env, &info);
	rc = rc ? rc : mdb_stat(check->txn, 0, &stats);
	rc = rc ? rc : mdb_cursor_open(check->txn, 0, &cursor);
	if (rc) {
		return finding(check, "free list: %s", mdb_strerror(rc));
	}
	while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0 && n < stats.ms_entries &&
	       key.mv_size == sizeof(size_t) && check_free_row(&data, info.me_last_pgno + 1)) {
		sign_of_life(check);
		n++;
	}
	mdb_cursor_close(cursor);
	return (rc == MDB_NOTFOUND && n == stats.ms_entries) ||
	       finding(check, "free list: row %zu of %zu is wrong", n + 1, stats.ms_entries);
}

static int check_dbs(struct check *check)
{
	int rc = door_open_dbs(check->txn, check->dbi, 0);
	if (rc) {
		(void)finding(check, "not all databases are there: %s", mdb_strerror(rc));
		return FOUND_DAMAGE;
	}
	if (!check_free_list(check)) {
		return FOUND_DAMAGE;
	}
	for (enum store_db db = 0; db < DB_COUNT; db++) {
		if (!check_db(check, db)) {
			return FOUND_DAMAGE;
		}
	}
	return FOUND_NOTHING;
}

static int check_content(struct check *check)
{
	int rc = mdb_txn_begin(check->env, NULL, MDB_RDONLY, &check->txn);
	if (rc) {
		(void)finding(check, "no snapshot: %s", mdb_strerror(rc));
		return FOUND_TROUBLE;
	}
	int found = check_dbs(check);
	mdb_txn_abort(check->txn);
	return found;
}

/* In good health it leaves no reader behind, which would keep pages from being used again. */
static int check_env(struct check *check, const char *dir, uint64_t map_bytes)
{
	int rc = door_env_open(&check->env, dir, map_bytes, CHECK_READERS, MDB_RDONLY);
	if (rc) {
		(void)finding(check, "it cannot be opened: %s", mdb_strerror(rc));
		return rc > 0 ? FOUND_TROUBLE : FOUND_DAMAGE;
	}
	int found = door_check_size(check->env, check->why) ? FOUND_DAMAGE : check_content(check);
	mdb_env_close(check->env);
	return found;
}

/* Nothing of the parent's is used here but memory: its locks and files are let go of. */
static _Noreturn void child_main(int fd, const char *dir, uint64_t map_bytes)
{
	static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	static const int stop_signals[] = {SIGTSTP, SIGTTIN, SIGTTOU};
	for (size_t i = 0; i < ARRAY_LEN(crash_signals); i++) {
		(void)signal(crash_signals[i], SIG_DFL);
	}
	/* ^Z is for the parent: stopped here, the snapshot would make the store grow */
	for (size_t i = 0; i < ARRAY_LEN(stop_signals); i++) {
		(void)signal(stop_signals[i], SIG_IGN);
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	/* LMDB's assertions write to stderr: a crash here is a finding, not a message */
	int null = open("/dev/null", O_RDWR);
	(void)dup2(null, STDERR_FILENO);
	(void)dup2(fd, CHILD_FD);
	(void)close_range(CHILD_FD + 1, ~0U, 0);
	struct check check = {.n_rows = 0};
	int found = check_env(&check, dir, map_bytes);
	(void)!write(CHILD_FD, check.why, strlen(check.why));
	_exit(found);
}

/* --- in the parent ---------------------------------------------------------------------------- */

/* Appends what fits. */
static void add_text(char why[static STORE_WHY_MAX], size_t *len, const char *text, ssize_t n)
{
	for (ssize_t i = 0; i < n; i++) {
		if (text[i] != '\0' && *len + 1 < STORE_WHY_MAX) {
			why[(*len)++] = text[i];
			why[*len] = '\0';
		}
	}
}

/* Reads until the child closes its end. False: it gave no sign of life for stall_ms. */
static bool listen_to_child(int fd, int stall_ms, char why[static STORE_WHY_MAX])
{
	size_t len = 0;
	char buf[256];
	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		int ready = poll(&poll_fd, 1, stall_ms);
		if (ready < 0 && errno == EINTR) {
			continue;
		}
		ssize_t n = ready > 0 ? read(fd, buf, sizeof buf) : -1;
		if (n <= 0) {
			return n == 0;
		}
		add_text(why, &len, buf, n);
	}
}

static int wait_for_child(pid_t pid)
{
	int status = 0;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	return status;
}

static int verdict_of(int status, char why[static STORE_WHY_MAX])
{
	if (WIFSIGNALED(status)) {
		door_explain(why, "reading it crashed (signal %d): pages are damaged",
		             WTERMSIG(status));
		return ERR_CORRUPT;
	}
	switch (WEXITSTATUS(status)) {
	case FOUND_NOTHING:
		return 0;
	case FOUND_DAMAGE:
		return ERR_CORRUPT;
	default:
		return -EIO;
	}
}

/* What LMDB would take for a new store, or trip over. */
static int check_file(const char *dir, char why[static STORE_WHY_MAX])
{
	char path[PATH_MAX];
	struct stat st = {.st_size = 0}; /* as of a file that is not there */
	int n = snprintf(path, sizeof path, "%s/data.mdb", dir);
	if (n < 0 || n >= (int)sizeof path) {
		return -ENAMETOOLONG;
	}
	if (stat(path, &st) && errno != ENOENT) {
		int ret = -errno;
		door_explain(why, "%s", path);
		return ret;
	}
	if (st.st_size == 0) {
		door_explain(why, "%s is missing or empty", path);
		return ERR_NOT_FOUND;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 2 * (off_t)sysconf(_SC_PAGESIZE)) {
		door_explain(why, "%s is shorter than its two meta pages or no regular file", path);
		return ERR_CORRUPT;
	}
	return 0;
}

int store_check_within(const char *dir, uint64_t map_bytes, int stall_ms,
                       char why[static STORE_WHY_MAX])
{
	int fds[2];
	why[0] = '\0';
	int ret = check_file(dir, why);
	if (ret) {
		return ret;
	}
	if (pipe2(fds, O_CLOEXEC)) {
		return -errno;
	}
	pid_t pid = fork();
	if (pid < 0) {
		ret = -errno;
		(void)close(fds[0]);
		(void)close(fds[1]);
		return ret;
	}
	if (pid == 0) {
		child_main(fds[1], dir, map_bytes);
	}
	(void)close(fds[1]);
	bool is_alive = listen_to_child(fds[0], stall_ms, why);
	(void)close(fds[0]);
	if (!is_alive) {
		(void)kill(pid, SIGKILL);
		(void)wait_for_child(pid);
		door_explain(why,
		             "reading it came to a stop for %d ms: pages are damaged, or another "
		             "process holds its lock file",
		             stall_ms);
		return ERR_CORRUPT;
	}
	return verdict_of(wait_for_child(pid), why);
}

int store_check(const char *dir, uint64_t map_bytes, char why[static STORE_WHY_MAX])
{
	return store_check_within(dir, map_bytes, CHECK_STALL_MS, why);
}
