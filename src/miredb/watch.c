/* --watch: follows the journal behind a cursor of its own. It asks ten times a second; nothing is
 * held in between, and a line is written with no transaction open. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "miredb/json.h"
#include "miredb/miredb.h"
#include "store/dump.h"

enum { LOOK_MS = 100, CHANGES_MAX = 500 };

/* A change and what became of its record. */
struct event {
	const struct journal_change *change;
	struct store_row row;
	bool has_row; /* the record was put and is still there */
};

static const char *change_name(const struct event *event)
{
	return event->change->is_deleted ? "delete" : "put";
}

static void hex_of(const uint8_t hash[static RECORD_HASH_BYTES],
                   char out[static 2 * RECORD_HASH_BYTES + 1])
{
	for (size_t i = 0; i < RECORD_HASH_BYTES; i++) {
		(void)snprintf(out + 2 * i, 3, "%02x", hash[i]);
	}
}

static bool has_hash(const struct journal_change *change)
{
	return change->kind == RECORD_GREY || change->kind == RECORD_TRAP_ADDRESS;
}

static bool has_address(const struct journal_change *change)
{
	return change->kind != RECORD_TRAP_ADDRESS;
}

/* A record that is gone has left its kind, its address and the hash of its texts. */
static int print_remains(const struct event *event)
{
	const struct journal_change *change = event->change;
	char address[ADDR_TEXT_MAX] = "";
	char hash[2 * RECORD_HASH_BYTES + 1] = "";
	if (has_address(change)) {
		(void)addr_format(&change->addr, address);
	}
	if (has_hash(change)) {
		hex_of(change->hash, hash);
	}
	(void)printf("%s|%s%s%s\n", dump_kind_name((enum record_kind)change->kind), address,
	             has_address(change) && has_hash(change) ? "|" : "", hash);
	return ferror(stdout) ? -EIO : 0;
}

static int print_plain(const struct event *event)
{
	(void)printf("%lld %s ", (long long)event->change->at.secs, change_name(event));
	return event->has_row ? dump_print(&event->row, stdout) : print_remains(event);
}

static json_t *json_of_remains(const struct journal_change *change)
{
	char address[ADDR_TEXT_MAX];
	json_t *object = json_object();
	const char *kind = dump_kind_name((enum record_kind)change->kind);
	(void)json_object_set_new(object, "kind", json_string(kind));
	if (has_address(change)) {
		(void)json_object_set_new(object, "address",
		                          json_string(addr_format(&change->addr, address)));
	}
	return object;
}

static int print_json(const struct event *event)
{
	const struct journal_change *change = event->change;
	char hash[2 * RECORD_HASH_BYTES + 1];
	json_t *object = event->has_row ? json_of_row(&event->row) : json_of_remains(change);
	(void)json_object_set_new(object, "at", json_integer(change->at.secs));
	(void)json_object_set_new(object, "change", json_string(change_name(event)));
	if (has_hash(change)) {
		hex_of(change->hash, hash);
		(void)json_object_set_new(object, "hash", json_string(hash));
	}
	return json_print(object, stdout);
}

static int print_change(const struct run *run, struct store_reader *reader,
                        const struct journal_change *change)
{
	uint8_t buf[STORE_TEXT_BYTES];
	struct event event = {.change = change};
	if (!change->is_deleted) {
		int ret = store_reader_changed(reader, change, buf, &event.row);
		if (ret < 0) {
			return fail("reading the store failed: %s", err_text(ret));
		}
		event.has_row = ret > 0;
	}
	int ret = run->options->is_json ? print_json(&event) : print_plain(&event);
	return ret ? write_failed(ret) : 0;
}

static int print_changes(const struct run *run, struct store_reader *reader,
                         const struct journal_change *changes, int n)
{
	int status = 0;
	for (int i = 0; i < n && status == 0; i++) {
		status = print_change(run, reader, &changes[i]);
	}
	return status ? status : end_output();
}

/* Goes on from the present. */
static uint64_t left_behind(struct store_reader *reader, uint64_t cursor)
{
	uint64_t last = store_journal_last(reader);
	(void)fail("left behind by the journal: changes %llu to %llu are not shown",
	           (unsigned long long)cursor + 1, (unsigned long long)last);
	return last;
}

static int watch(const struct run *run, struct store_reader *reader)
{
	struct journal_change changes[CHANGES_MAX];
	uint64_t cursor = store_journal_last(reader);
	int status = 0;
	while (status == 0) {
		int n = store_journal_read(reader, cursor, changes, CHANGES_MAX);
		if (n > 0) {
			status = print_changes(run, reader, changes, n);
			cursor = changes[n - 1].seq;
		} else if (n == ERR_NOT_FOUND) {
			cursor = left_behind(reader, cursor);
		} else if (n < 0) {
			return fail("reading the store failed: %s", err_text(n));
		} else {
			(void)poll(NULL, 0, LOOK_MS);
		}
	}
	return status;
}

int watch_main(const struct run *run)
{
	struct store *store = NULL;
	struct store_reader *reader = NULL;
	int status = become_user(run);
	status = status ? status : open_reader(run, &store, &reader);
	if (status) {
		return status;
	}
	status = watch(run, reader);
	store_reader_close(reader);
	store_close(store);
	return status;
}
