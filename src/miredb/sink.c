/* Both ways to the store carry out one batch: as a `change` request, or as a transaction. */
#include "miredb/sink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "ctl/ctl.h"
#include "mired/ctl.h"
#include "policy/clockguard.h"
#include "store/change.h"

enum {
	BATCH_BYTES = 1 << 20, /* of lines; the longest fits many times */
	ANSWER_MS = 60000,     /* the daemon waits for its disk */
	READERS_MAX = 126,     /* as for listing */
};

_Static_assert((int)BATCH_BYTES <= (int)MIRED_CTL_CHANGE_BYTES_MAX, "the daemon takes a batch");
_Static_assert((int)CHANGE_LINE_MAX < (int)BATCH_BYTES, "a line fits");

struct sink {
	const struct run *run;
	struct ctl_link *link; /* NULL: no daemon runs */
	struct store *store;
	struct clockguard guard; /* of the store */
	struct change_conf change_conf;
	unsigned n_lines;
	size_t len;
	uint8_t lines[BATCH_BYTES];
};

/* What one line failed of. */
struct failure {
	unsigned idx;
	int ret;
};

/* --- open and close --------------------------------------------------------------------------- */

static int open_store(struct sink *sink)
{
	const struct run *run = sink->run;
	char why[STORE_WHY_MAX];
	struct store_conf conf = {.dir = run->dir,
	                          .map_bytes = run->conf.map_bytes,
	                          .journal_max = run->conf.journal_max,
	                          .readers_max = READERS_MAX,
	                          .create = true};
	int status = become_user(run);
	if (status) {
		return status;
	}
	int ret = store_open(&sink->store, &conf, why);
	if (ret) {
		return fail("cannot open %s for writing: %s", run->dir,
		            why[0] ? why : err_text(ret));
	}
	clockguard_init(&sink->guard, clock_wall(), clock_mono(), store_newest(sink->store));
	return 0;
}

static int reach(struct sink *sink)
{
	const char *path = sink->run->conf.control_socket;
	int ret = ctl_link_open(&sink->link, path);
	if (ret == -ENOENT || ret == -ECONNREFUSED) {
		return open_store(sink);
	}
	return ret ? fail("%s: %s", path, err_text(ret)) : 0;
}

int sink_open(struct sink **out, const struct run *run)
{
	struct sink *sink = calloc(1, sizeof *sink);
	if (!sink) {
		return fail("out of memory");
	}
	sink->run = run;
	sink->change_conf = (struct change_conf){.whiteexp_secs = run->conf.whiteexp_secs,
	                                         .trapexp_secs = run->conf.trapexp_secs,
	                                         .ipv6_prefix = run->conf.ipv6_prefix};
	int status = reach(sink);
	if (status) {
		sink_close(sink);
		return status;
	}
	*out = sink;
	return 0;
}

void sink_close(struct sink *sink)
{
	if (sink->link) {
		ctl_link_close(sink->link);
	}
	store_close(sink->store);
	free(sink);
}

/* --- a batch ---------------------------------------------------------------------------------- */

bool sink_is_full(const struct sink *sink, size_t len)
{
	return sink->n_lines == MIRED_CTL_CHANGES_MAX || sink->len + len > sizeof sink->lines;
}

void sink_add(struct sink *sink, struct span line)
{
	ASSERT(!sink_is_full(sink, line.len + 1));
	memcpy(sink->lines + sink->len, line.ptr, line.len);
	sink->len += line.len;
	sink->lines[sink->len++] = '\n';
	sink->n_lines++;
}

static int tell_failed(const json_t *failed, sink_failed *tell, void *ctx)
{
	size_t i = 0;
	json_t *one = NULL;
	json_array_foreach(failed, i, one)
	{
		json_int_t line_no = json_integer_value(json_object_get(one, "line"));
		const char *error = json_string_value(json_object_get(one, "error"));
		if (line_no < 1 || line_no > MIRED_CTL_CHANGES_MAX || !error) {
			return fail("the daemon's answer is not understood");
		}
		tell(ctx, (unsigned)line_no - 1, error,
		     strcmp(error, err_text(ERR_NOT_FOUND)) == 0);
	}
	return 0;
}

static int flush_to_daemon(struct sink *sink, sink_failed *tell, void *ctx)
{
	json_t *answer = NULL;
	int ret = ctl_link_request(sink->link, "change", span_of(sink->lines, sink->len), ANSWER_MS,
	                           &answer);
	if (ret) {
		return fail("%s: the daemon's answer: %s", sink->run->conf.control_socket,
		            err_text(ret));
	}
	const char *error = json_string_value(json_object_get(answer, "error"));
	int status = error ? fail("the daemon refuses: %s", error)
	                   : tell_failed(json_object_get(answer, "failed"), tell, ctx);
	json_decref(answer);
	return status;
}

static int apply_line(struct sink *sink, struct store_txn *txn, struct span line)
{
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	struct change_effect effect = {.ret = 0};
	int ret = change_parse(line, buf, &change, why);
	if (ret) {
		return ret;
	}
	change_apply(txn, &sink->change_conf, txn->now, &change, &effect);
	return effect.ret;
}

/* The lines in one transaction. What each failed of is told when it is committed. */
static unsigned apply_lines(struct sink *sink, struct store_txn *txn, struct failure *failures)
{
	struct span rest = span_of(sink->lines, sink->len);
	unsigned n_failures = 0;
	for (unsigned i = 0; i < sink->n_lines; i++) {
		int ret = apply_line(sink, txn, span_cut(rest, '\n', &rest));
		if (ret) {
			failures[n_failures++] = (struct failure){i, ret};
		}
	}
	return n_failures;
}

/* The time the daemon would go by: what is written with a wall clock that is years ahead would have
 * its next start take that clock for right, and everything for expired. */
static struct wall store_time(struct sink *sink)
{
	bool is_synchronised = sink->guard.is_paused && clock_is_synchronised();
	(void)clockguard_turn(&sink->guard, clock_wall(), clock_mono(), is_synchronised);
	return sink->guard.expiry_now;
}

static int flush_to_store(struct sink *sink, sink_failed *tell, void *ctx)
{
	struct failure failures[MIRED_CTL_CHANGES_MAX];
	struct store_txn txn;
	store_begin(sink->store, &txn, store_time(sink));
	unsigned n_failures = apply_lines(sink, &txn, failures);
	int ret = store_commit(&txn);
	if (ret) {
		return fail("writing to %s failed: %s", sink->run->dir, err_text(ret));
	}
	for (unsigned i = 0; i < n_failures; i++) {
		int code = failures[i].ret;
		tell(ctx, failures[i].idx, err_text(code), code == ERR_NOT_FOUND);
	}
	return 0;
}

int sink_flush(struct sink *sink, sink_failed *tell, void *ctx)
{
	int status = 0;
	if (sink->n_lines > 0) {
		status = sink->link ? flush_to_daemon(sink, tell, ctx)
		                    : flush_to_store(sink, tell, ctx);
	}
	sink->n_lines = 0;
	sink->len = 0;
	return status;
}
