/* What the lister is asked to do. A replacement goes these steps, and each of them may refuse it,
 * which leaves the old list in force:
 *
 *   parse the lines -> build the table in memory -> make the lists durable -> swap the table
 *
 * and then the white hosts are checked. A list that cannot be made durable is left out of the
 * table, which is then built once more. */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "keeper/feeder.h"
#include "keeper/lister_impl.h"

enum {
	BAD_LOGGED_MAX = 100, /* bad lines of one job that are logged one by one */
	SUFFIX_LOGGED_MAX = 100,
	TAG_TEXT_MAX = 128, /* of a tag in a log line */
};

/* --- putting lists in force ------------------------------------------------------------------- */

static bool is_candidate(const struct list *list)
{
	return list->line.ptr != NULL;
}

/* What is in force takes the candidate's place again, or nothing does. */
static void take_back(struct lister *lister, struct lists *next, struct list *candidate)
{
	struct list *old = lists_find(&lister->lists, candidate->tag);
	if (!old || lists_put(next, old) != 0) {
		lists_remove(next, candidate);
	}
	list_free(candidate);
	counters_add(&lister->counters, COUNTER_lists_refused, 1);
}

static void take_back_all(struct lister *lister, struct lists *next)
{
	for (size_t i = next->n; i-- > 0;) {
		if (is_candidate(next->at[i])) {
			take_back(lister, next, next->at[i]);
		}
	}
}

static void refuse(struct lister_result *result, int ret, const char *what, const char *why)
{
	if (result->ret == 0) { /* the first reason is the one to mend */
		result->ret = ret;
		(void)snprintf(result->why, sizeof result->why, "%s: %s", what, why);
	}
}

static void describe_tag(struct span tag, char out[static TAG_TEXT_MAX])
{
	(void)span_escape(tag, out, TAG_TEXT_MAX);
}

static void free_unused(const struct lists *old, const struct lists *now)
{
	for (size_t i = 0; i < old->n; i++) {
		if (!lists_has(now, old->at[i])) {
			list_free(old->at[i]);
		}
	}
}

/* From here on the workers see the new lists. */
static void swap(struct lister *lister, const struct lists *next, struct list_table *table)
{
	struct lists old = lister->lists;
	struct list_table *old_table = qsbr_exchange(&lister->env.knowledge->lists, table);
	lister->table = table;
	(void)pthread_mutex_lock(&lister->lock);
	lister->lists = *next;
	(void)pthread_mutex_unlock(&lister->lock);
	qsbr_wait();
	list_table_free(old_table);
	free_unused(&old, next);
}

static void hand_ranges_over(struct lister *lister)
{
	struct addr_range *ranges = NULL;
	size_t n = 0;
	if (!lister->env.feeder || !lister->env.conf->blacklist_only) {
		return;
	}
	int ret = list_table_union(lister->table, &ranges, &n);
	if (ret != 0) {
		log_error("lists: the kernel keeps the old networks: %s", err_text(ret));
		return;
	}
	feeder_set_ranges(lister->env.feeder, ranges, n);
}

/* Candidates that cannot be made durable go; returns how many stay. */
static size_t save_candidates(struct lister *lister, struct lists *next,
                              struct lister_result *result)
{
	size_t n_saved = 0;
	for (size_t i = next->n; i-- > 0;) {
		struct list *list = next->at[i];
		char tag[TAG_TEXT_MAX];
		if (!is_candidate(list)) {
			continue;
		}
		describe_tag(list->tag, tag);
		int ret = lister_disk_save(lister, list);
		if (ret == 0) {
			n_saved++;
			continue;
		}
		log_error("list %s cannot be kept on disk, what was in force stays so: %s", tag,
		          err_text(ret));
		refuse(result, ret, "not kept on disk", err_text(ret));
		take_back(lister, next, list);
	}
	return n_saved;
}

static void settle_candidates(struct lister *lister, struct lists *next,
                              struct lister_result *result)
{
	for (size_t i = 0; i < next->n; i++) {
		struct list *list = next->at[i];
		char tag[TAG_TEXT_MAX];
		if (!is_candidate(list)) {
			continue;
		}
		list->line = span_of(NULL, 0); /* the job's text ends soon */
		result->n_lists++;
		result->n_networks += list->n_networks;
		counters_add(&lister->counters, COUNTER_lists_loaded, 1);
		describe_tag(list->tag, tag);
		log_info("list %s: %zu networks", tag, list->n_networks);
	}
}

/* Builds the table of `next`; when there is no memory for it the candidates are refused. */
static int build(struct lister *lister, struct lists *next, struct list_table **table,
                 struct lister_result *result)
{
	int ret = lists_build(next, table);
	if (ret != 0) {
		log_error("lists: no table can be made, what was in force stays so: %s",
		          err_text(ret));
		refuse(result, ret, "table", err_text(ret));
		take_back_all(lister, next);
	}
	return ret;
}

static void put_in_force(struct lister *lister, struct lists *next, struct lister_result *result)
{
	struct list_table *table = NULL;
	if (build(lister, next, &table, result) != 0) {
		return;
	}
	size_t n_wanted = 0;
	for (size_t i = 0; i < next->n; i++) {
		n_wanted += is_candidate(next->at[i]);
	}
	size_t n_saved = save_candidates(lister, next, result);
	if (n_saved < n_wanted) {
		list_table_free(table);
		table = NULL;
		if (n_saved == 0 || build(lister, next, &table, result) != 0) {
			return; /* after a second failure: in force again at the next start */
		}
	}
	settle_candidates(lister, next, result);
	swap(lister, next, table);
	hand_ranges_over(lister);
	lister->must_check = true;
	lister->check_at = clock_mono();
}

/* --- jobs: lines ------------------------------------------------------------------------------ */

struct lines_run {
	struct lister *lister;
	struct lister_result *result;
	struct lists next;
	unsigned line_no;
	unsigned n_bad;
};

static void bad_line(struct lines_run *run, int ret, const char *why)
{
	char what[32];
	(void)snprintf(what, sizeof what, "line %u", run->line_no);
	refuse(run->result, ret, what, why);
	counters_add(&run->lister->counters, COUNTER_lists_refused, 1);
	if (run->n_bad++ < BAD_LOGGED_MAX) {
		log_error("list refused, what was in force stays so: line %u: %s", run->line_no,
		          why);
	}
}

/* A candidate of an earlier line of the job is not needed any more. */
static void put_candidate(struct lines_run *run, struct list *list)
{
	struct list *before = lists_find(&run->next, list->tag);
	bool is_clear = list->n_networks == 0;
	if (is_clear && !before) {
		list_free(list); /* clears what is not there */
		return;
	}
	int ret = lists_put(&run->next, list);
	if (ret != 0) {
		char why[64];
		(void)snprintf(why, sizeof why, "more than %d lists", LISTS_MAX);
		list_free(list);
		bad_line(run, ret, why);
	} else if (before && is_candidate(before)) {
		list_free(before);
	}
}

static void take_line(struct lines_run *run, struct span line)
{
	struct list *list = NULL;
	char why[LISTER_WHY_MAX] = "";
	size_t n_max = lists_room_for(&run->next, line, lister_prefixes_max(run->lister));
	int ret = list_new(line, n_max, &list, why);
	if (ret != 0) {
		bad_line(run, ret, why);
	} else if (list) {
		put_candidate(run, list);
	}
}

static bool has_candidates(const struct lists *lists)
{
	for (size_t i = 0; i < lists->n; i++) {
		if (is_candidate(lists->at[i])) {
			return true;
		}
	}
	return false;
}

static void do_lines(struct lister *lister, struct span text, struct lister_result *result)
{
	struct lines_run run = {.lister = lister, .result = result, .next = lister->lists};
	while (text.len > 0 && !lister_must_stop(lister)) {
		struct span line = span_cut(text, '\n', &text);
		run.line_no++;
		take_line(&run, line);
	}
	if (run.n_bad > BAD_LOGGED_MAX) {
		log_error("lists: %u lines refused in all", run.n_bad);
	}
	if (lister_must_stop(lister)) {
		take_back_all(lister, &run.next);
	} else if (has_candidates(&run.next)) {
		put_in_force(lister, &run.next, result);
	}
}

/* --- jobs: drop, domains ---------------------------------------------------------------------- */

static void do_drop(struct lister *lister, struct span text, struct lister_result *result)
{
	struct lists next = lister->lists;
	struct list_table *table = NULL;
	char tag[TAG_TEXT_MAX];
	struct list *list = lists_find(&next, span_trim(text));
	describe_tag(span_trim(text), tag);
	if (!list) {
		refuse(result, ERR_NOT_FOUND, tag, "there is no such list");
		return;
	}
	lists_remove(&next, list);
	size_t n_networks = list->n_networks;
	int ret = lists_build(&next, &table);
	ret = ret ? ret : lister_disk_remove(lister, list);
	if (ret != 0) {
		log_error("list %s stays in force: %s", tag, err_text(ret));
		refuse(result, ret, tag, err_text(ret));
		list_table_free(table);
		return;
	}
	swap(lister, &next, table);
	hand_ranges_over(lister);
	result->n_lists = 1;
	result->n_networks = n_networks;
	log_info("list %s is gone", tag);
}

struct domains_run {
	struct lister_result *result;
	unsigned n_bad;
};

static void bad_domain(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct domains_run *run = ctx;
	char what[48];
	char escaped[256];
	(void)snprintf(what, sizeof what, "alloweddomains:%u", line_no);
	refuse(run->result, ERR_SYNTAX, what, reason);
	if (run->n_bad++ < BAD_LOGGED_MAX) {
		log_error("%s: %s: %s", what, reason, span_escape(line, escaped, sizeof escaped));
	}
}

static void log_suffixes(struct span text)
{
	while (text.len > 0) {
		char escaped[LOG_LINE_MAX / 2];
		struct span line = span_trim(span_cut(text, '\n', &text));
		if (line.len > 0 && line.ptr[0] != '#' && log_takes(LOG_EVENT_suffix)) {
			log_event(LOG_EVENT_suffix, NULL, "got suffix %s",
			          span_escape(line, escaped, sizeof escaped));
		}
	}
}

static void do_domains(struct lister *lister, struct span text, struct lister_result *result)
{
	struct domains_run run = {.result = result};
	struct domains *domains = NULL;
	int ret = domains_parse(text, bad_domain, &run, &domains);
	if (ret != 0) {
		result->ret = 0; /* this reason goes first */
		refuse(result, ret, "alloweddomains", err_text(ret));
		log_error("alloweddomains: what was in force stays so: %s", err_text(ret));
		return;
	}
	size_t n = domains_count(domains);
	struct domains *old = qsbr_exchange(&lister->env.knowledge->domains, domains);
	qsbr_wait();
	domains_free(old);
	(void)pthread_mutex_lock(&lister->lock);
	lister->figures.n_domains = n;
	(void)pthread_mutex_unlock(&lister->lock);
	log_info("allowed domains: %zu entries%s, %u bad lines", n,
	         n == 0 ? " (all are allowed)" : "", run.n_bad);
	if (run.n_bad == 0 && n <= SUFFIX_LOGGED_MAX) {
		log_suffixes(text);
	}
}

/* --- the table of jobs --------------------------------------------------------------------------
 */

typedef void job_function(struct lister *lister, struct span text, struct lister_result *result);

static job_function *const job_functions[] = {
        [LISTER_LINES] = do_lines,
        [LISTER_DROP] = do_drop,
        [LISTER_DOMAINS] = do_domains,
};

void lister_do_job(struct lister *lister, const struct lister_job *job,
                   struct lister_result *result)
{
	job_functions[job->kind](lister, span_of(job->text, job->len), result);
}

/* --- the start ------------------------------------------------------------------------------- */

void lister_load(struct lister *lister)
{
	struct lists next = {.n = 0};
	struct list_table *table = NULL;
	lister_disk_load(lister, &next);
	int ret = lists_build(&next, &table);
	if (ret != 0) {
		log_error("lists: no table can be made: %s; no list is in force", err_text(ret));
		for (size_t i = 0; i < next.n; i++) {
			list_free(next.at[i]);
		}
		next.n = 0;
	}
	swap(lister, &next, table);
	hand_ranges_over(lister);
	if (next.n > 0) {
		log_info("lists: %zu with %zu networks loaded from disk", next.n,
		         lists_n_networks(&next));
	}
	lister->must_check = next.n > 0; /* the last process may not have come to it */
	lister->check_at = clock_mono();
	if (lister->env.domains.ptr) {
		struct lister_result unused = {.ret = 0}; /* what is wrong has been logged */
		do_domains(lister, lister->env.domains, &unused);
		lister->env.domains = span_of(NULL, 0); /* borrowed for the start */
	}
}
