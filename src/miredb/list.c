/* Listing and export. No transaction is open while a line is written: a reader that is stopped
 * costs the daemon nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "miredb/json.h"
#include "miredb/miredb.h"
#include "policy/cidr.h"
#include "policy/trap.h"
#include "store/dump.h"

typedef int print_row(const struct store_row *row, FILE *out);

/* A listing under way. */
struct list {
	struct store *store;
	struct store_reader *reader;
	print_row *print;
	unsigned parts; /* of the store, of a listing of everything */
	FILE *out;
	unsigned v6_bits;
	unsigned n_found; /* of the current key */
};

static int read_failed(int code)
{
	return fail("reading the store failed: %s", err_text(code));
}

static int end_stream(FILE *out)
{
	return fflush(out) ? write_failed(-errno) : 0;
}

static int print_rows(struct list *list, const struct store_row *rows, int n)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		ret = list->print(&rows[i], list->out);
	}
	list->n_found += (unsigned)n;
	return ret ? write_failed(ret) : end_stream(list->out);
}

/* --- everything ------------------------------------------------------------------------------- */

static int list_all(struct list *list)
{
	const struct store_row *rows = NULL;
	uint64_t n_bad = 0;
	int n = 0;
	int status = 0;
	struct store_walk *walk = store_walk_new(list->reader, list->parts, NULL, NULL);
	if (!walk) {
		return fail("out of memory");
	}
	while (status == 0 && (n = store_walk_next(walk, &rows, &n_bad)) > 0) {
		status = print_rows(list, rows, n);
	}
	store_walk_free(walk);
	if (status == 0 && n < 0) {
		return read_failed(n);
	}
	if (status == 0 && n_bad > 0) {
		return fail("%llu damaged records were left out; see miredb --check",
		            (unsigned long long)n_bad);
	}
	return status;
}

/* --- keys ------------------------------------------------------------------------------------- */

static int list_host(struct list *list, struct store_row *row)
{
	int ret = store_reader_host(list->reader, &row->key.addr, row->kind, &row->record);
	if (ret < 0) {
		return read_failed(ret);
	}
	return ret > 0 ? print_rows(list, row, 1) : 0;
}

/* Traps go by the whole address. */
static int list_address(struct list *list, const struct addr *addr)
{
	struct store_row row = {.kind = RECORD_WHITE, .key.addr = addr_group(addr, list->v6_bits)};
	int status = list_host(list, &row);
	row.kind = RECORD_TRAPPED;
	row.key.addr = *addr;
	return status ? status : list_host(list, &row);
}

static int compare_addrs(const struct addr *a, const struct addr *b)
{
	return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

/* A row between the groups of the range's ends may be of no host in it: IPv4 lies within ::/64, and
 * a group that begins before the range holds it, but a trapped host there is another one. */
static bool is_in_range(const struct list *list, const struct store_row *row,
                        const struct addr_range *range)
{
	const struct addr *addr = &row->key.addr;
	struct addr group = addr_group(&range->first, list->v6_bits);
	if (addr_is_v4(addr) != addr_is_v4(&range->first)) {
		return false;
	}
	return compare_addrs(addr, &range->first) >= 0 ||
	       (row->kind != RECORD_TRAPPED && addr_equal(addr, &group));
}

static int print_in_range(struct list *list, const struct store_row *rows, int n,
                          const struct addr_range *range)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		if (is_in_range(list, &rows[i], range)) {
			list->n_found++;
			ret = list->print(&rows[i], list->out);
		}
	}
	return ret ? write_failed(ret) : end_stream(list->out);
}

static int list_range(struct list *list, const struct addr_range *range)
{
	struct addr first = addr_group(&range->first, list->v6_bits);
	const struct store_row *rows = NULL;
	int n = 0;
	int status = 0;
	struct store_walk *walk = store_walk_new(list->reader, STORE_WALK_HOSTS | STORE_WALK_TUPLES,
	                                         &first, &range->last);
	if (!walk) {
		return fail("out of memory");
	}
	while (status == 0 && (n = store_walk_next(walk, &rows, NULL)) > 0) {
		status = print_in_range(list, rows, n, range);
	}
	store_walk_free(walk);
	return status == 0 && n < 0 ? read_failed(n) : status;
}

/* A list of everybody would be a mistake, so cidr_parse refuses /0; a listing of everybody is none.
 */
static int network_parse(struct span key, struct addr_range *out)
{
	static const char *const everybody[][3] = {
	        {"0.0.0.0/0", "0.0.0.0", "255.255.255.255"},
	        {"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	struct cidr cidr;
	for (size_t i = 0; i < ARRAY_LEN(everybody); i++) {
		if (span_equal(key, span_of_str(everybody[i][0]))) {
			int ret = addr_parse(span_of_str(everybody[i][1]), &out->first);
			return ret ? ret : addr_parse(span_of_str(everybody[i][2]), &out->last);
		}
	}
	int ret = cidr_parse(key, &cidr, NULL);
	if (ret == 0) {
		*out = cidr_range(&cidr);
	}
	return ret;
}

static int list_spamtrap(struct list *list, struct span key)
{
	uint8_t buf[TRAP_ADDRESS_MAX];
	struct store_row row = {.kind = RECORD_TRAP_ADDRESS,
	                        .text = {SPAN(""), SPAN(""), SPAN("")}};
	row.text.recipient = trap_address_normalise(key, buf);
	int ret = store_reader_trap_address(list->reader, row.text.recipient, &row.record);
	if (ret < 0) {
		return read_failed(ret);
	}
	return ret > 0 ? print_rows(list, &row, 1) : 0;
}

static int list_key(struct list *list, struct span key)
{
	struct addr addr;
	struct addr_range range;
	bool is_network = memchr(key.ptr, '/', key.len) && !memchr(key.ptr, '@', key.len);
	list->n_found = 0;
	if (addr_parse(key, &addr) == 0) {
		return list_address(list, &addr);
	}
	if (is_network && network_parse(key, &range) == 0) {
		return list_range(list, &range);
	}
	if (is_network) {
		(void)fail("invalid network %.*s", (int)key.len, (const char *)key.ptr);
		return 0; /* counted, as an absent key */
	}
	return list_spamtrap(list, key);
}

/* Absent keys are counted in silence, as spamdb does. */
static int list_keys(struct list *list, const struct options *options)
{
	int n_failed = 0;
	for (int i = 0; i < options->n_keys; i++) {
		struct span key = span_of_str(options->keys[i]);
		if (key.len == 0) {
			continue;
		}
		if (list_key(list, key)) {
			return 1;
		}
		n_failed += list->n_found == 0;
	}
	return n_failed < EXIT_KEYS_MAX ? n_failed : EXIT_KEYS_MAX;
}

/* --- the modes -------------------------------------------------------------------------------- */

static int open_list(const struct run *run, struct list *list)
{
	*list = (struct list){.print = run->options->is_json ? json_print_row : dump_print,
	                      .parts = STORE_WALK_ALL,
	                      .v6_bits = run->conf.ipv6_prefix};
	if (run->options->is_merge) {
		list->print = dump_print_merge;
		list->parts = STORE_WALK_ALL | STORE_WALK_DELETED;
	}
	int status = become_user(run);
	return status ? status : open_reader(run, &list->store, &list->reader);
}

static int print_list(struct list *list, const struct options *options, FILE *out)
{
	list->out = out;
	return options->n_keys > 0 ? list_keys(list, options) : list_all(list);
}

static void close_list(struct list *list)
{
	store_reader_close(list->reader);
	store_close(list->store);
}

int list_main(const struct run *run)
{
	struct list list;
	int status = open_list(run, &list);
	if (status) {
		return status;
	}
	status = print_list(&list, run->options, stdout);
	close_list(&list);
	return status;
}

/* Only now that there is something to put in its place the older export goes. */
static int empty_file(FILE *out)
{
	struct stat st;
	if (fstat(fileno(out), &st) || !S_ISREG(st.st_mode)) {
		return 0;
	}
	return ftruncate(fileno(out), 0) ? write_failed(-errno) : 0;
}

static int print_to_file(struct list *list, const struct options *options, FILE *out)
{
	int status = empty_file(out);
	status = status ? status : print_list(list, options, out);
	if (status == 0 && fsync(fileno(out)) && errno != EINVAL && errno != EROFS) {
		status = write_failed(-errno);
	}
	if (status) {
		(void)fail("%s is not complete", options->file);
	}
	return status;
}

static int export_to_file(const struct run *run, FILE *out)
{
	struct list list;
	int status = open_list(run, &list);
	if (status) {
		return status;
	}
	status = print_to_file(&list, run->options, out);
	close_list(&list);
	return status;
}

/* The file is opened by who asked for it; only then the store's user takes over. */
int export_main(const struct run *run)
{
	const char *path = run->options->file;
	if (!path || strcmp(path, "-") == 0) {
		return list_main(run);
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	FILE *out = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!out) {
		return fail("%s: %s", path, strerror(errno));
	}
	int status = export_to_file(run, out);
	return fclose(out) && status == 0 ? write_failed(-errno) : status;
}
