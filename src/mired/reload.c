/* Steps, each of which may fail: load, check, merge with what is in force, check that, settle what
 * the machine decides, hand over to places. Only the last one changes anything. */
#include "mired/reload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "mired/names.h"
#include "verify/verify.h"

enum {
	WHY_MAX = PLACES_WHY_MAX,
	SHOWN_MAX = 2048, /* of a text that is not UTF-8 */
};

/* A path may hold any byte, JSON only UTF-8. */
static json_t *json_of(struct span text)
{
	char shown[SHOWN_MAX];
	json_t *json = json_stringn((const char *)text.ptr, text.len);
	return json ? json : json_string(span_escape(text, shown, sizeof shown));
}

int reload_init(struct reload *reload, const struct conf *conf, int argc, char **argv)
{
	*reload = (struct reload){.argc = argc, .argv = argv};
	return conf_copy(&reload->asked, conf);
}

void reload_fini(struct reload *reload)
{
	conf_fini(&reload->asked);
}

/* --- the state -------------------------------------------------------------------------------- */

/* Of the file alone, so that others who read it can compare; "" when it is not good without the
 * options. */
static void digest_file(const char *path, char out[static CONF_DIGEST_MAX])
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	bool is_usual = strcmp(path, MIRED_CONF_PATH) == 0; /* which may be missing */
	out[0] = '\0';
	if (conf_load(&conf, NULL, is_usual ? NULL : path, 0, NULL, why) == 0) {
		(void)!conf_digest(&conf, out);
		conf_fini(&conf);
	}
}

json_t *reload_state(const struct conf *asked, json_t *pending)
{
	char digest[CONF_DIGEST_MAX];
	digest_file(asked->path, digest);
	return json_pack("{s:o,s:I,s:s,s:o}", "path", json_of(span_of_str(asked->path)), "loaded",
	                 (json_int_t)clock_wall().secs, "digest", digest, "pending_restart",
	                 pending ? pending : json_array());
}

/* --- the steps -------------------------------------------------------------------------------- */

/* One run. */
struct run {
	struct conf fresh;   /* as loaded, then merged */
	struct conf settled; /* the same with what the machine decides */
	json_t *changes;
	json_t *pending;
	json_t *warnings;
	char why[WHY_MAX];
};

static void note_change(void *ctx, const struct conf_change *change)
{
	struct run *run = ctx;
	json_t *row = json_pack("{s:s,s:o,s:o,s:b,s:b}", "key", change->key, "before",
	                        json_of(span_of_str(change->before)), "after",
	                        json_of(span_of_str(change->after)), "pending", change->is_pending,
	                        "in_force", change->is_in_force);
	if (change->mend) {
		(void)json_object_set_new(row, "mend", json_string(change->mend));
	}
	if (change->is_pending) {
		(void)json_array_append_new(run->pending, json_string(change->key));
	}
	(void)json_array_append_new(run->changes, row);
}

/* What others write as lines; the caller frees *text. */
static int gather(int (*check)(const struct conf *conf, FILE *out), const struct conf *conf,
                  char **text)
{
	size_t len;
	*text = NULL;
	FILE *out = open_memstream(text, &len);
	if (!out) {
		return -ENOMEM;
	}
	int n_faults = check(conf, out);
	return fclose(out) == 0 ? n_faults : -ENOMEM;
}

/* The first fault; notes of things that are usual stand among them. */
static int check(struct run *run)
{
	char *text;
	int n_faults = gather(verify_for_reload, &run->fresh, &text);
	struct span rest = span_of_str(text ? text : "");
	struct span line = span_cut(rest, '\n', &rest);
	if (n_faults != 0) {
		(void)snprintf(run->why, WHY_MAX, "%.*s", (int)line.len, (const char *)line.ptr);
	}
	free(text);
	return n_faults == 0 ? 0 : ERR_SYNTAX;
}

/* Lines of nospamd and of the allowed domains that will be left out. */
static void warn_of_lines(struct run *run)
{
	char *text;
	(void)gather(verify_files, &run->fresh, &text);
	struct span rest = span_of_str(text ? text : "");
	while (rest.len > 0) {
		struct span line = span_cut(rest, '\n', &rest);
		bool is_note = line.len >= 5 && memcmp(line.ptr, "note:", 5) == 0;
		if (!is_note && line.len > 0) {
			(void)json_array_append_new(run->warnings, json_of(line));
		}
	}
	free(text);
}

static int merge(struct run *run, const struct reload *reload, const struct places *places)
{
	char why[CONF_ERROR_MAX];
	struct conf_merge_env env = {.connections_max = places->capacity.max_connections,
	                             .was_auto = places->was_auto,
	                             .on_change = note_change,
	                             .ctx = run};
	int ret = conf_merge(&run->fresh, &reload->asked, &env, why);
	if (ret != 0) {
		(void)snprintf(run->why, WHY_MAX, "%s", why);
	}
	return ret;
}

static int settle(struct run *run, const struct places *places)
{
	int ret = conf_copy(&run->settled, &run->fresh);
	if (ret != 0) {
		(void)snprintf(run->why, WHY_MAX, "%s", err_text(ret));
		return ret;
	}
	places_settle(places, &run->settled);
	return 0;
}

static int load(struct run *run, const struct reload *reload)
{
	char why[CONF_ERROR_MAX];
	int ret = conf_load(&run->fresh, NULL, NULL, reload->argc, reload->argv, why);
	if (ret == 0 && reload->asked.has_file && !run->fresh.has_file) {
		ret = -ENOENT; /* the usual file may miss at a start, but this would undo it */
		(void)snprintf(why, sizeof why, "%.300s: %s", run->fresh.path, err_text(ret));
	}
	if (ret != 0) {
		(void)snprintf(run->why, WHY_MAX, "%s", why);
	}
	return ret;
}

static int do_steps(struct run *run, struct reload *reload, struct places *places, struct mono now)
{
	int ret = load(run, reload);
	ret = ret ? ret : check(run);
	ret = ret ? ret : merge(run, reload, places);
	ret = ret ? ret : check(run); /* what will be in force is not what the file says */
	ret = ret ? ret : settle(run, places);
	if (ret != 0) {
		return ret;
	}
	warn_of_lines(run);
	json_t *state = reload_state(&run->fresh, json_incref(run->pending));
	ret = places_reload(places, &run->settled, state, now, run->why);
	json_decref(state);
	if (ret == 0) {
		conf_fini(&reload->asked);
		reload->asked = run->fresh;
		memset(&run->fresh, 0, sizeof run->fresh);
	}
	return ret;
}

/* --- saying it -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));
	return text ? text : "";
}

static void log_changes(const struct run *run)
{
	size_t i;
	json_t *row;
	json_array_foreach(run->changes, i, row)
	{
		const char *mend = text_of(row, "mend");
		log_info("reload: %s: %s -> %s%s%s", text_of(row, "key"), text_of(row, "before"),
		         text_of(row, "after"), mend[0] ? "; still needed: " : "", mend);
	}
	log_info("reload: %zu keys changed, %zu of them wait for a restart",
	         json_array_size(run->changes), json_array_size(run->pending));
}

static json_t *answer_of(const struct run *run, bool is_done)
{
	if (!is_done) {
		return json_pack("{s:o}", "error", json_of(span_of_str(run->why)));
	}
	return json_pack("{s:b,s:O,s:O}", "ok", 1, "changes", run->changes, "warnings",
	                 run->warnings);
}

bool reload_run(struct reload *reload, struct places *places, struct mono now, json_t **answer)
{
	struct run run = {
	        .changes = json_array(), .pending = json_array(), .warnings = json_array()};
	bool is_done = do_steps(&run, reload, places, now) == 0;
	if (is_done) {
		log_changes(&run);
	} else {
		log_error("reload: %s; nothing has changed", run.why);
	}
	*answer = answer_of(&run, is_done);
	json_decref(run.changes);
	json_decref(run.pending);
	json_decref(run.warnings);
	conf_fini(&run.fresh);
	conf_fini(&run.settled);
	return is_done;
}
