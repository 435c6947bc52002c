/* The ways a list can fail, in order: its source does not answer, breaks off, is too large or too
 * slow; what it gives is packed and does not unpack, is a web page, is empty; it has no entries, or
 * far fewer or far more than before; its copy cannot be kept. Each ends in fall_back. */
#include "mired-setup/obtain.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "mired-setup/entries.h"
#include "mired-setup/judge.h"
#include "mired-setup/say.h"
#include "mired-setup/unpack.h"

enum { BAD_LINES_SHOWN = 5, BAD_LINE_TEXT = 64 };

/* One try. */
struct attempt {
	const struct obtain_env *env;
	const struct source *source;
	struct fetch_report report;
	bool has_before; /* a copy from the same source */
	struct copy_meta before;
	char why[SAY_WHY_MAX];
};

void list_data_fini(struct list_data *data)
{
	bytes_fini(&data->bytes);
	copy_fini(&data->copy);
	*data = (struct list_data){.n_entries = 0};
}

static int failed(struct attempt *attempt, int code, const char *text)
{
	(void)snprintf(attempt->why, sizeof attempt->why, "%s", text);
	return code;
}

/* --- the last good copy ----------------------------------------------------------------------- */

static int load_copy(const struct obtain_env *env, const struct source *source, struct copy *copy)
{
	*copy = (struct copy){.data = {NULL, 0}};
	return env->copies < 0 ? ERR_NOT_FOUND
	                       : copy_load(env->copies, source->list->name,
	                                   env->conf->list_bytes_max, copy);
}

/* The copy as the list's data, counted again: the configuration may have changed since. */
static int use_copy(const struct obtain_env *env, const struct source *source,
                    struct list_data *out)
{
	static const struct entries_visitor nobody = {.entry = NULL};
	struct entries_counts counts;
	char why[ENTRIES_WHY_MAX];
	int ret = load_copy(env, source, &out->copy);
	ret = ret ? ret
	          : entries_walk(out->copy.data, env->conf->list_prefixes_max, &nobody, &counts,
	                         why);
	if (ret) {
		list_data_fini(out);
		return ret;
	}
	out->text = out->copy.data;
	out->n_entries = counts.n_entries;
	return 0;
}

/* What is known of the copy, for a conditional request and for comparison. Only if it is from the
 * same source and whole: a server that says "unchanged" is of no use otherwise. */
static void learn_before(struct attempt *attempt)
{
	struct copy copy;
	if (load_copy(attempt->env, attempt->source, &copy) == 0) {
		attempt->has_before = strcmp(copy.meta.source, attempt->source->text) == 0;
		attempt->before = copy.meta;
	}
	copy_fini(&copy);
}

static const char *format_age(struct wall since, char buf[static 32])
{
	static const int64_t minute = 60;
	static const int64_t hour = 3600;
	static const int64_t day = 86400;
	int64_t secs = clock_wall().secs - since.secs;
	secs = secs < 0 ? 0 : secs;
	int64_t unit = secs < 2 * hour ? minute : secs < 2 * day ? hour : day;
	(void)snprintf(buf, 32, "%" PRId64 " %s", secs / unit,
	               unit == minute ? "min"
	               : unit == hour ? "hours"
	                              : "days");
	return buf;
}

static enum obtained fall_back(struct attempt *attempt, struct list_data *out)
{
	char age[32];
	const char *name = attempt->source->list->name;
	const char *text = attempt->source->shown;
	int ret = use_copy(attempt->env, attempt->source, out);
	if (ret == 0) {
		say_error("%s: %s: %s; using the last good copy (%" PRIu64 " entries, %s old)",
		          name, text, attempt->why, out->n_entries,
		          format_age(out->copy.meta.current_at, age));
		return OBTAINED_STALE;
	}
	say_error("%s: %s: %s; there is no usable copy (%s): what mired has of it stays in force",
	          name, text, attempt->why, ret == ERR_NOT_FOUND ? "none was kept" : err_text(ret));
	return OBTAINED_NOTHING;
}

/* --- getting the bytes ------------------------------------------------------------------------ */

static int read_file(struct attempt *attempt, struct bytes *out)
{
	char text[JUDGE_WHY_MAX];
	const struct source *source = attempt->source;
	size_t max = attempt->env->conf->list_bytes_max;
	int ret = source->fd < 0 ? source->file_error : bytes_read_fd(out, source->fd, max);
	if (ret == ERR_TOO_LONG) {
		(void)snprintf(text, sizeof text, "it is larger than %zu bytes (list-size)", max);
		return failed(attempt, ret, text);
	}
	if (ret) {
		return failed(attempt, ret,
		              ret == ERR_UNSUPPORTED ? "it is no plain file" : err_text(ret));
	}
	return 0;
}

static void show_bytes(void *ctx, size_t n_bytes)
{
	const struct source *source = ctx;
	say_progress(false, "%s: %zu kB", source->list->name, n_bytes / 1024);
}

static int download(struct attempt *attempt, struct bytes *out)
{
	const struct source *source = attempt->source;
	struct fetcher_request request = {.method = source->list->method,
	                                  .source = source->text,
	                                  .progress = show_bytes,
	                                  .ctx = (void *)(uintptr_t)source};
	if (attempt->has_before && source->list->method != CAPFILE_EXEC) {
		memcpy(request.known.etag, attempt->before.etag, sizeof request.known.etag);
		memcpy(request.known.modified, attempt->before.modified,
		       sizeof request.known.modified);
	}
	if (source->list->method != CAPFILE_EXEC) {
		say_debug("Getting %s", source->shown);
	}
	int ret = fetcher_wait_get(attempt->env->fetcher, &request, out, &attempt->report);
	if (ret) {
		char text[4 * FETCH_WHY_MAX];
		return failed(attempt, ret,
		              span_escape(span_of_str(attempt->report.why), text, sizeof text));
	}
	return 0;
}

static int unpack(struct attempt *attempt, struct bytes *bytes)
{
	char text[JUDGE_WHY_MAX];
	size_t max = attempt->env->conf->list_bytes_max;
	struct bytes plain = {.ptr = NULL};
	if (!unpack_is_gzip(bytes_span(bytes))) {
		return 0;
	}
	int ret = unpack_gzip(bytes_span(bytes), max, &plain);
	bytes_fini(bytes);
	*bytes = plain;
	if (ret == ERR_TOO_LONG) {
		(void)snprintf(text, sizeof text, "it unpacks to more than %zu bytes (list-size)",
		               max);
	} else if (ret) {
		(void)snprintf(text, sizeof text, "its gzip data cannot be unpacked: %s",
		               err_text(ret));
	}
	return ret ? failed(attempt, ret, text) : 0;
}

/* --- believing them --------------------------------------------------------------------------- */

struct bad_lines {
	const char *name;
	unsigned n;
};

static void show_bad_line(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	char text[BAD_LINE_TEXT];
	struct bad_lines *bad = ctx;
	if (bad->n++ < BAD_LINES_SHOWN) {
		say_warning("%s: line %u: %s: \"%s\"", bad->name, line_no, reason,
		            span_escape(line, text, sizeof text));
	}
}

static int judge(struct attempt *attempt, struct list_data *data)
{
	const struct capfile_list *list = attempt->source->list;
	struct bad_lines bad = {.name = list->name};
	struct entries_visitor visitor = {.bad = show_bad_line, .ctx = &bad};
	struct entries_counts counts = {.n_entries = 0};
	char why[JUDGE_WHY_MAX];
	data->text = bytes_span(&data->bytes);
	int ret = judge_data(list->method, data->text, attempt->report.content_type, why);
	ret = ret ? ret
	          : entries_walk(data->text, attempt->env->conf->list_prefixes_max, &visitor,
	                         &counts, why);
	if (ret) {
		return failed(attempt, ret, why);
	}
	if (counts.n_bad > BAD_LINES_SHOWN) {
		say_warning("%s: %" PRIu64 " lines in all are no entries", list->name,
		            counts.n_bad);
	}
	struct judge_counts found = {.n_entries = counts.n_entries,
	                             .n_bad = counts.n_bad,
	                             .has_before = attempt->has_before,
	                             .n_before = attempt->before.n_entries,
	                             .change_max = attempt->env->conf->list_change_max};
	data->n_entries = counts.n_entries;
	ret = judge_counts(list->method, &found, why);
	return ret ? failed(attempt, ret, why) : 0;
}

static int keep(struct attempt *attempt, const struct list_data *data)
{
	char text[JUDGE_WHY_MAX];
	struct copy_meta meta = {.n_entries = data->n_entries};
	if (!attempt->env->is_kept) {
		return 0;
	}
	memcpy(meta.source, attempt->source->text, sizeof meta.source);
	copy_take_value(attempt->report.etag, meta.etag, sizeof meta.etag);
	copy_take_value(attempt->report.modified, meta.modified, sizeof meta.modified);
	int ret = copy_store(attempt->env->copies, attempt->source->list->name, &meta, data->text);
	if (ret == 0) {
		return 0;
	}
	(void)snprintf(text, sizeof text, "its copy cannot be kept: %s", err_text(ret));
	return failed(attempt, ret, text);
}

/* --- one list --------------------------------------------------------------------------------- */

/* The copy is current, says the server. */
static int confirm(struct attempt *attempt, struct list_data *out)
{
	const struct source *source = attempt->source;
	int ret = use_copy(attempt->env, source, out);
	if (ret) {
		return failed(attempt, ret, err_text(ret));
	}
	if (attempt->env->is_kept) {
		copy_touch(attempt->env->copies, source->list->name);
	}
	return 0;
}

static int get_fresh(struct attempt *attempt, struct list_data *out)
{
	int ret = attempt->source->list->method == CAPFILE_FILE ? read_file(attempt, &out->bytes)
	                                                        : download(attempt, &out->bytes);
	if (ret == 0 && attempt->report.is_unchanged) {
		return confirm(attempt, out);
	}
	ret = ret ? ret : unpack(attempt, &out->bytes);
	ret = ret ? ret : judge(attempt, out);
	return ret ? ret : keep(attempt, out);
}

enum obtained obtain(const struct obtain_env *env, const struct source *source, bool has_failed,
                     struct list_data *out)
{
	struct attempt attempt = {.env = env, .source = source};
	*out = (struct list_data){.n_entries = 0};
	learn_before(&attempt);
	int ret = has_failed ? failed(&attempt, ERR_CLOSED, "it failed before in this run")
	                     : get_fresh(&attempt, out);
	if (ret == 0) {
		say_progress(true, "%s: %zu bytes, %" PRIu64 " entries", source->list->name,
		             out->text.len, out->n_entries);
		return OBTAINED_FRESH;
	}
	list_data_fini(out);
	return fall_back(&attempt, out);
}

enum obtained obtain_again(const struct obtain_env *env, const struct source *source,
                           struct list_data *out)
{
	*out = (struct list_data){.n_entries = 0};
	return use_copy(env, source, out) == 0 ? OBTAINED_FRESH : OBTAINED_NOTHING;
}
