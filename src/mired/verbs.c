/* Handlers answer at once or keep the request's ticket: a change until its last line is on disk, a
 * list until it is in force. */
#include "mired/verbs.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "mired/changes.h"
#include "mired/inquiries.h"
#include "mired/metrics.h"
#include "mired/recorder.h"
#include "mired/report.h"
#include "mired/status.h"
#include "mired/why.h"
#include "priv/msg.h"

enum {
	/* Lists on their way to be in force; with CHANGES_REQUESTS_MAX fewer than clients. */
	LISTS_UNDER_WAY_MAX = 16,
	RELOADS_UNDER_WAY_MAX = 4,
	TAG_TEXT_MAX = 256,
	REPORT_ROWS_DEFAULT = 48, /* a day */
};
static_assert((int)LISTS_UNDER_WAY_MAX + (int)CHANGES_REQUESTS_MAX + (int)INQUIRIES_MAX +
                              (int)RELOADS_UNDER_WAY_MAX <
                      (int)MIRED_CTL_CLIENTS_MAX,
              "waiting clients never fill the socket");

struct list_request {
	uint64_t cookie; /* 0 = free place */
	uint64_t ticket;
	size_t n_bytes;
};

struct reload_request {
	uint64_t seq; /* 0 = free place */
	uint64_t ticket;
};

struct verbs {
	struct verbs_env env;
	json_t *state; /* what the status says of the configuration */
	uint64_t last_reload;
	struct reload_request reloads[RELOADS_UNDER_WAY_MAX];
	struct ctl_server *server;
	struct changes *changes;
	struct inquiries *inquiries;
	struct recorder *recorder;
	uint64_t last_cookie;
	struct wall started; /* of the role, by the clock of the time when this began */
	struct list_request lists[LISTS_UNDER_WAY_MAX];
};

/* --- at once ---------------------------------------------------------------------------------- */

static json_t *say_ok(void)
{
	return json_pack("{s:b}", "ok", 1);
}

static json_t *verb_status(void *ctx, struct ctl_request *request)
{
	const struct verbs *verbs = ctx;
	struct engine_figures figures;
	(void)request;
	engine_figures_get(verbs->env.engine, &figures);
	json_t *top =
	        status_json(&figures, verbs->env.counters, verbs->env.conf, verbs->env.started);
	if (verbs->state) {
		(void)json_object_set(top, "conf", verbs->state);
	}
	return top;
}

static void add_list(void *ctx, struct span tag, size_t n_networks, int64_t loaded_secs)
{
	metrics_add_list(ctx, tag, n_networks, loaded_secs);
}

static json_t *metrics_answer(const struct verbs *verbs, enum exposition_format format)
{
	struct engine_figures figures;
	struct metrics_lists lists = {.n_named = 0};
	struct processes processes;
	engine_figures_get(verbs->env.engine, &figures);
	engine_describe_lists(verbs->env.engine, add_list, &lists);
	processes_read(&processes, figures.has_firewall ? &figures.firewall : NULL);
	const struct metrics_input input = {.figures = &figures,
	                                    .control = verbs->env.counters,
	                                    .conf = verbs->env.conf,
	                                    .lists = &lists,
	                                    .processes = &processes,
	                                    .started = verbs->started};
	char *text = metrics_text(&input, format);
	/* the server adds the last line feed */
	json_t *answer = text ? json_stringn(text, strlen(text) - 1) : ctl_error(err_text(-ENOMEM));
	free(text);
	return answer;
}

static json_t *verb_metrics(void *ctx, struct ctl_request *request)
{
	static const char *const formats[] = {
	        [EXPOSITION_PLAIN] = "plain",
	        [EXPOSITION_OPENMETRICS] = "openmetrics",
	};
	if (request->args[0] == '\0') {
		return metrics_answer(ctx, EXPOSITION_PLAIN);
	}
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		if (strcmp(request->args, formats[i]) == 0) {
			return metrics_answer(ctx, (enum exposition_format)i);
		}
	}
	return ctl_error("the format must be plain or openmetrics");
}

static json_t *verb_version(void *ctx, struct ctl_request *request)
{
	(void)ctx;
	(void)request;
	return json_pack("{s:s,s:i}", "version", MIRED_VERSION, "protocol", MIRED_CTL_VERSION);
}

static json_t *verb_why(void *ctx, struct ctl_request *request)
{
	const struct verbs *verbs = ctx;
	return why_answer(verbs->env.engine, span_of_str(request->args));
}

static json_t *verb_clock_ok(void *ctx, struct ctl_request *request)
{
	const struct verbs *verbs = ctx;
	(void)request;
	engine_clock_ok(verbs->env.engine);
	return say_ok();
}

static struct reload_request *find_reload(struct verbs *verbs, uint64_t seq)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs->reloads); i++) {
		if (verbs->reloads[i].seq == seq) {
			return &verbs->reloads[i];
		}
	}
	return NULL;
}

/* NULL: the supervisor answers. */
static json_t *verb_reload(void *ctx, struct ctl_request *request)
{
	struct verbs *verbs = ctx;
	struct reload_request *place = find_reload(verbs, 0);
	const struct msg msg = {.type = MSG_RELOAD, .seq = verbs->last_reload + 1, .fd = -1};
	if (!place) {
		return ctl_error("other reloads are under way: try again later");
	}
	int ret = msg_send(verbs->env.supervisor, &msg);
	if (ret != 0) {
		return ctl_error(err_text(ret));
	}
	verbs->last_reload = msg.seq;
	*place = (struct reload_request){.seq = msg.seq, .ticket = request->ticket};
	return NULL;
}

void verbs_take_reload(struct verbs *verbs, uint64_t seq, json_t *answer)
{
	struct reload_request *request = seq != 0 ? find_reload(verbs, seq) : NULL;
	if (!request) {
		json_decref(answer);
		return;
	}
	uint64_t ticket = request->ticket;
	*request = (struct reload_request){0};
	ctl_server_answer(verbs->server, ticket, answer);
}

void verbs_set_conf(struct verbs *verbs, const struct conf *conf)
{
	verbs->env.conf = conf;
}

void verbs_set_state(struct verbs *verbs, json_t *state)
{
	json_decref(verbs->state);
	verbs->state = state;
}

static void describe_list(void *ctx, struct span tag, size_t n_networks, int64_t loaded_secs)
{
	char name[TAG_TEXT_MAX];
	json_t *lists = ctx;
	(void)json_array_append_new(lists, json_pack("{s:s,s:I,s:I}", "name",
	                                             span_escape(tag, name, sizeof name),
	                                             "networks", (json_int_t)n_networks, "loaded",
	                                             (json_int_t)loaded_secs));
}

static json_t *verb_lists(void *ctx, struct ctl_request *request)
{
	const struct verbs *verbs = ctx;
	json_t *lists = json_array();
	(void)request;
	engine_describe_lists(verbs->env.engine, describe_list, lists);
	return json_pack("{s:o}", "lists", lists);
}

static json_t *verb_report(void *ctx, struct ctl_request *request)
{
	struct verbs *verbs = ctx;
	uint64_t n = REPORT_ROWS_DEFAULT;
	static_assert(REPORT_ROWS_MAX == 17568, "as the answer says");
	if (request->args[0] != '\0' &&
	    span_to_u64(span_of_str(request->args), REPORT_ROWS_MAX, &n) != 0) {
		return ctl_error("the number of rows must be 0 to 17568");
	}
	return recorder_json(verbs->recorder, n);
}

/* --- held connections ------------------------------------------------------------------------- */

static json_t *verb_held(void *ctx, struct ctl_request *request)
{
	struct verbs *verbs = ctx;
	return inquiries_ask(verbs->inquiries, request, clock_mono());
}

static void turn_inquiries(struct verbs *verbs, struct mono now)
{
	uint64_t ticket;
	json_t *answer;
	inquiries_turn(verbs->inquiries, now);
	while (inquiries_next_answer(verbs->inquiries, &ticket, &answer)) {
		ctl_server_answer(verbs->server, ticket, answer);
	}
}

/* --- lists ------------------------------------------------------------------------------------ */

static struct list_request *find_list(struct verbs *verbs, uint64_t cookie)
{
	for (size_t i = 0; i < ARRAY_LEN(verbs->lists); i++) {
		if (verbs->lists[i].cookie == cookie) {
			return &verbs->lists[i];
		}
	}
	return NULL;
}

static size_t list_bytes_under_way(const struct verbs *verbs)
{
	size_t n_bytes = 0;
	for (size_t i = 0; i < ARRAY_LEN(verbs->lists); i++) {
		n_bytes += verbs->lists[i].n_bytes;
	}
	return n_bytes;
}

/* NULL: the answer comes later, and the body was taken. */
static json_t *submit_list(struct verbs *verbs, enum lister_job_kind kind,
                           struct ctl_request *request)
{
	struct list_request *place = find_list(verbs, 0);
	size_t n_bytes = list_bytes_under_way(verbs) + request->body_len;
	if (!place || n_bytes > MIRED_CTL_LIST_MAX) {
		return ctl_error("other lists are under way: try again later");
	}
	uint64_t cookie = verbs->last_cookie + 1;
	int ret = engine_list(verbs->env.engine, kind, request->body, request->body_len, cookie);
	if (ret != 0) {
		return ctl_error(err_text(ret));
	}
	verbs->last_cookie = cookie;
	*place = (struct list_request){
	        .cookie = cookie, .ticket = request->ticket, .n_bytes = request->body_len};
	request->body = NULL;
	return NULL;
}

static json_t *verb_list_put(void *ctx, struct ctl_request *request)
{
	if (request->args[0] != '\0') {
		return ctl_error("list-put takes nothing but a length");
	}
	return submit_list(ctx, LISTER_LINES, request);
}

static json_t *verb_list_drop(void *ctx, struct ctl_request *request)
{
	if (request->args[0] == '\0') {
		return ctl_error("list-drop needs a name");
	}
	request->body = strdup(request->args);
	request->body_len = request->body ? strlen(request->body) : 0;
	return request->body ? submit_list(ctx, LISTER_DROP, request)
	                     : ctl_error(err_text(-ENOMEM));
}

/* What was taken is told beside the reason for what was not. */
static json_t *list_answer(const struct lister_result *result)
{
	json_t *answer = json_object();
	if (result->ret != 0) {
		(void)json_object_set_new(answer, "error", json_string(result->why));
	}
	(void)json_object_set_new(answer, "lists", json_integer((json_int_t)result->n_lists));
	(void)json_object_set_new(answer, "networks", json_integer((json_int_t)result->n_networks));
	return answer;
}

/* --- changes ---------------------------------------------------------------------------------- */

static int post_change(void *ctx, const struct change *change, uint64_t cookie)
{
	return engine_change(ctx, change, cookie);
}

static json_t *verb_change(void *ctx, struct ctl_request *request)
{
	struct verbs *verbs = ctx;
	char text[96];
	if (request->args[0] != '\0') {
		return ctl_error("change takes nothing but a length");
	}
	int ret = changes_submit(verbs->changes, request->body, request->body_len, request->ticket);
	if (ret == 0) {
		request->body = NULL;
		return NULL;
	}
	if (ret == ERR_TOO_LONG) {
		(void)snprintf(text, sizeof text, "more than %d lines", MIRED_CTL_CHANGES_MAX);
		return ctl_error(text);
	}
	return ctl_error(ret == ERR_BUSY ? "other changes are under way: try again later"
	                                 : err_text(ret));
}

static json_t *verb_seen(void *ctx, struct ctl_request *request)
{
	struct verbs *verbs = ctx;
	struct changes_seen seen;
	changes_post_seen(verbs->changes, span_of(request->body, request->body_len), &seen);
	if (seen.n_posted > 0) {
		engine_flush_changes(verbs->env.engine);
	}
	counters_add(verbs->env.counters, COUNTER_connections_passed, seen.n_passed);
	counters_add(verbs->env.counters, COUNTER_seen_dropped, seen.n_dropped);
	if (seen.n_refused > 0) {
		counters_add(verbs->env.counters, COUNTER_ctl_bad_requests, 1);
		log_warning("report of seen hosts: %u lines refused: %s", seen.n_refused, seen.why);
	}
	return json_pack("{s:b,s:I,s:I}", "ok", 1, "dropped", (json_int_t)seen.n_dropped, "refused",
	                 (json_int_t)seen.n_refused);
}

static bool turn_changes(struct verbs *verbs)
{
	uint64_t ticket;
	json_t *answer;
	struct changes_turn turn = changes_turn(verbs->changes);
	if (turn.has_posted) {
		engine_flush_changes(verbs->env.engine);
	}
	while (changes_next_answer(verbs->changes, &ticket, &answer)) {
		ctl_server_answer(verbs->server, ticket, answer);
	}
	return turn.has_more;
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct ctl_verb table[] = {
        {"status", CTL_RIGHT_READ, verb_status, 0},
        {"metrics", CTL_RIGHT_READ, verb_metrics, 0},
        {"version", CTL_RIGHT_READ, verb_version, 0},
        {"lists", CTL_RIGHT_READ, verb_lists, 0},
        {"held", CTL_RIGHT_READ, verb_held, 0},
        {"report", CTL_RIGHT_READ, verb_report, 0},
        {"why", CTL_RIGHT_ADMIN, verb_why, 0},
        {"clock-ok", CTL_RIGHT_ADMIN, verb_clock_ok, 0},
        {"reload", CTL_RIGHT_ADMIN, verb_reload, 0},
        {"list-put", CTL_RIGHT_ADMIN, verb_list_put, MIRED_CTL_LIST_MAX},
        {"list-drop", CTL_RIGHT_ADMIN, verb_list_drop, 0},
        {"change", CTL_RIGHT_ADMIN, verb_change, MIRED_CTL_CHANGE_BYTES_MAX},
        {"seen", CTL_RIGHT_EVENT, verb_seen, MIRED_CTL_SEEN_BYTES_MAX},
        {NULL, CTL_RIGHT_ADMIN, NULL, 0},
};

int verbs_open(struct verbs **out, const struct verbs_env *env)
{
	struct verbs *verbs = calloc(1, sizeof *verbs);
	struct changes *changes = changes_new(post_change, env->engine);
	struct inquiries *inquiries = inquiries_new(env->engine);
	if (!verbs || !changes || !inquiries) {
		(void)close(env->listener);
		free(verbs);
		changes_free(changes);
		inquiries_free(inquiries);
		return -ENOMEM;
	}
	int64_t age_ms = mono_diff_ms(clock_mono(), env->started);
	*verbs = (struct verbs){.env = *env,
	                        .changes = changes,
	                        .inquiries = inquiries,
	                        .last_cookie = VERBS_COOKIE_FIRST};
	verbs->started = (struct wall){clock_wall().secs - age_ms / MS_PER_SEC};
	int ret = ctl_server_open(&verbs->server, env->listener, env->conf, table, verbs,
	                          env->counters);
	ret = ret ? ret : recorder_open(&verbs->recorder, env->conf, env->engine, env->counters);
	if (ret != 0) {
		verbs_close(verbs);
		return ret;
	}
	*out = verbs;
	return 0;
}

void verbs_close(struct verbs *verbs)
{
	if (verbs) {
		ctl_server_close(verbs->server);
		recorder_close(verbs->recorder);
		changes_free(verbs->changes);
		inquiries_free(verbs->inquiries);
		json_decref(verbs->state);
		free(verbs);
	}
}

int verbs_fd(const struct verbs *verbs)
{
	return ctl_server_fd(verbs->server);
}

bool verbs_turn(struct verbs *verbs, struct mono now)
{
	ctl_server_turn(verbs->server, now);
	recorder_turn(verbs->recorder, now);
	turn_inquiries(verbs, now);
	return turn_changes(verbs);
}

void verbs_take_result(struct verbs *verbs, const struct engine_result *result)
{
	if (!result->is_list) {
		changes_result(verbs->changes, result->cookie, result->ret);
		return;
	}
	struct list_request *request = find_list(verbs, result->cookie);
	if (request) {
		uint64_t ticket = request->ticket;
		*request = (struct list_request){0};
		ctl_server_answer(verbs->server, ticket, list_answer(&result->list));
	}
}
