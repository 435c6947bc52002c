/* A set is sent only when everything it is made of is there: without one of its white lists it
 * would hold up hosts the administrator has let through. */
#include "mired-setup/run.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "lists/rangeset.h"
#include "mired-setup/entries.h"
#include "mired-setup/say.h"

struct run {
	const struct obtain_env *env;
	struct sender *sender;
	const struct source *sources;
	enum obtained *outcomes; /* of the lists so far */
	/* the set being made; set NULL = none */
	struct rangeset *set;
	const struct source *black;
	bool is_complete;
	bool is_fatal;
	bool is_partial;
};

/* --- a set ------------------------------------------------------------------------------------ */

static void lack(struct run *run)
{
	run->is_complete = false;
	run->is_partial = true;
}

static void begin_set(struct run *run, const struct source *black)
{
	run->black = black;
	run->is_complete = true;
	run->set = rangeset_new(run->env->conf->list_prefixes_max);
	if (!run->set) {
		say_error("%s: out of memory", black->list->name);
		run->is_fatal = true;
	}
	if (!black->message) {
		say_error("%s: %s", black->list->name, black->why);
		lack(run);
	}
}

static void send_set(struct run *run, const struct cidr *cidrs, size_t n)
{
	char why[SENDER_WHY_MAX];
	const char *name = run->black->list->name;
	struct sender_list list = {
	        .tag = name, .message = run->black->message, .cidrs = cidrs, .n = n};
	int ret = sender_wait_put(run->sender, &list, why);
	if (ret == ERR_CLOSED) {
		say_error("%s: %s", name, why);
		run->is_fatal = true;
	} else if (ret) {
		say_error("Could not add blacklist %s: %s", name, why);
		run->is_partial = true;
	} else {
		say_note("blacklist %s: %zu networks given to mired", name, n);
	}
}

static void finish_set(struct run *run)
{
	struct cidr *cidrs = NULL;
	size_t n = 0;
	if (!run->set) {
		return;
	}
	const char *name = run->black->list->name;
	int ret = run->is_complete ? rangeset_finish(run->set, &cidrs, &n) : 0;
	rangeset_free(run->set);
	run->set = NULL;
	if (!run->is_complete) {
		say_error("%s: not given to mired; what it has of it stays in force", name);
	} else if (ret) {
		say_error("Could not add blacklist %s: %s", name,
		          ret == ERR_TOO_LONG ? "it has too many networks (list-prefixes)"
		                              : err_text(ret));
		run->is_partial = true;
	} else if (run->sender) {
		send_set(run, cidrs, n);
	}
	free(cidrs);
}

/* --- a list ----------------------------------------------------------------------------------- */

static int add_black(void *ctx, const struct addr_range *range)
{
	return rangeset_add(ctx, range, false);
}

static int add_white(void *ctx, const struct addr_range *range)
{
	return rangeset_add(ctx, range, true);
}

static void add_entries(struct run *run, const struct source *source, const struct list_data *data)
{
	struct entries_counts counts;
	char why[ENTRIES_WHY_MAX];
	struct entries_visitor visitor = {.entry = source->list->is_black ? add_black : add_white,
	                                  .ctx = run->set};
	int ret =
	        entries_walk(data->text, run->env->conf->list_prefixes_max, &visitor, &counts, why);
	if (ret) {
		say_error("%s: %s", source->list->name,
		          ret == ERR_TOO_LONG
		                  ? "with its white lists it has too many entries (list-prefixes)"
		                  : why);
		lack(run);
	}
}

/* A list may be named more than once, as a white list after several black ones: it is fetched the
 * first time only. */
static enum obtained get_list(struct run *run, size_t at, struct list_data *data)
{
	const struct source *source = &run->sources[at];
	bool has_failed = false;
	for (size_t i = 0; i < at; i++) {
		if (strcmp(run->sources[i].list->name, source->list->name) != 0) {
			continue;
		}
		has_failed = run->outcomes[i] != OBTAINED_FRESH;
		if (!has_failed && run->env->is_kept) {
			return obtain_again(run->env, source, data);
		}
	}
	return obtain(run->env, source, has_failed, data);
}

static void take_list(struct run *run, size_t at)
{
	struct list_data data;
	const struct source *source = &run->sources[at];
	const struct capfile_list *list = source->list;
	if (list->is_black) {
		finish_set(run);
		if (run->is_fatal) {
			return;
		}
		begin_set(run, source);
	}
	run->outcomes[at] = get_list(run, at, &data);
	if (run->outcomes[at] != OBTAINED_FRESH) {
		run->is_partial = true;
	}
	if (run->outcomes[at] == OBTAINED_NOTHING) {
		run->is_complete = false;
	} else {
		say_debug("%s %s %" PRIu64 " entries", list->is_black ? "blacklist" : "whitelist",
		          list->name, data.n_entries);
		if (run->set) {
			add_entries(run, source, &data);
		}
	}
	list_data_fini(&data);
}

enum run_exit run_lists(const struct obtain_env *env, struct sender *sender,
                        const struct source *sources, size_t n)
{
	struct run run = {.env = env, .sender = sender, .sources = sources};
	run.outcomes = calloc(n ? n : 1, sizeof *run.outcomes);
	if (!run.outcomes) {
		say_error("out of memory");
		return RUN_FATAL;
	}
	for (size_t i = 0; i < n && !run.is_fatal; i++) {
		take_list(&run, i);
	}
	if (!run.is_fatal) {
		finish_set(&run);
	}
	rangeset_free(run.set);
	free(run.outcomes);
	return run.is_fatal ? RUN_FATAL : run.is_partial ? RUN_PARTIAL : RUN_OK;
}
