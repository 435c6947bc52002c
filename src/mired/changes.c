/* A request of changes goes through these steps: its lines are counted, then parsed and posted one
 * after the other (a line that is none fails alone), and when each posted one has been answered the
 * request is. A posted change's cookie is the number of its request and the number of its line. */
#include "mired/changes.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "mired/ctl.h"

enum { COOKIE_LINE_BITS = 16, SEEN_LINE_MAX = 128 };
static_assert((int)MIRED_CTL_CHANGES_MAX < 1 << COOKIE_LINE_BITS, "a line's number fits");

struct request {
	uint64_t id; /* 0 = free place; never 0 in a cookie, which tells it from COOKIE_SEEN */
	uint64_t ticket;
	char *text;
	struct span rest; /* lines not parsed yet */
	char **errors;    /* of each line; NULL: it has none */
	unsigned n_lines;
	unsigned line_no; /* of the last line parsed */
	unsigned n_waiting;
	unsigned n_failed;
};

struct changes {
	changes_post *post;
	void *ctx;
	uint64_t n_requests;
	size_t first; /* who begins the turn */
	struct request requests[CHANGES_REQUESTS_MAX];
};

struct changes *changes_new(changes_post *post, void *ctx)
{
	struct changes *changes = calloc(1, sizeof *changes);
	if (changes) {
		changes->post = post;
		changes->ctx = ctx;
	}
	return changes;
}

static void end_request(struct request *request)
{
	for (unsigned i = 0; i < request->n_lines; i++) {
		free(request->errors[i]);
	}
	free(request->errors);
	free(request->text);
	*request = (struct request){0};
}

void changes_free(struct changes *changes)
{
	if (!changes) {
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(changes->requests); i++) {
		end_request(&changes->requests[i]);
	}
	free(changes);
}

/* A line is ended by LF; the last one need not be. Stops counting beyond max. */
static unsigned count_lines(struct span text, unsigned max)
{
	unsigned n = 0;
	while (text.len > 0 && n <= max) {
		(void)span_cut(text, '\n', &text);
		n++;
	}
	return n;
}

static struct request *find_free(struct changes *changes)
{
	for (size_t i = 0; i < ARRAY_LEN(changes->requests); i++) {
		if (changes->requests[i].id == 0) {
			return &changes->requests[i];
		}
	}
	return NULL;
}

int changes_submit(struct changes *changes, char *text, size_t len, uint64_t ticket)
{
	unsigned n_lines = count_lines(span_of(text, len), MIRED_CTL_CHANGES_MAX);
	if (n_lines > MIRED_CTL_CHANGES_MAX) {
		return ERR_TOO_LONG;
	}
	struct request *request = find_free(changes);
	if (!request) {
		return ERR_BUSY;
	}
	char **errors = calloc(n_lines + 1, sizeof *errors);
	if (!errors) {
		return -ENOMEM;
	}
	*request = (struct request){.id = ++changes->n_requests,
	                            .ticket = ticket,
	                            .text = text,
	                            .rest = span_of(text, len),
	                            .errors = errors,
	                            .n_lines = n_lines};
	return 0;
}

static void fail_line(struct request *request, unsigned line_no, const char *why)
{
	request->n_failed++;
	request->errors[line_no - 1] = strdup(why);
}

static uint64_t cookie_of(const struct request *request, unsigned line_no)
{
	return request->id << COOKIE_LINE_BITS | line_no;
}

/* -EAGAIN: the line is to be tried again. */
static int post_line(struct changes *changes, struct request *request)
{
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	struct span rest;
	struct span line = span_cut(request->rest, '\n', &rest);
	unsigned line_no = request->line_no + 1;
	int ret = change_parse(line, buf, &change, why);
	if (ret == 0) {
		ret = changes->post(changes->ctx, &change, cookie_of(request, line_no));
		(void)snprintf(why, sizeof why, "%s", err_text(ret));
	}
	if (ret == -EAGAIN) {
		return ret;
	}
	if (ret == 0) {
		request->n_waiting++;
	} else {
		fail_line(request, line_no, why);
	}
	request->rest = rest;
	request->line_no = line_no;
	return 0;
}

/* False: the keeper has no room. */
static bool turn_request(struct changes *changes, struct request *request,
                         struct changes_turn *turn)
{
	for (unsigned i = 0; i < CHANGES_LINES_A_TURN && request->line_no < request->n_lines; i++) {
		unsigned n_waiting = request->n_waiting;
		if (post_line(changes, request) != 0) {
			return false;
		}
		turn->has_posted = turn->has_posted || request->n_waiting > n_waiting;
	}
	turn->has_more = turn->has_more || request->line_no < request->n_lines;
	return true;
}

struct changes_turn changes_turn(struct changes *changes)
{
	struct changes_turn turn = {0};
	for (size_t i = 0; i < CHANGES_REQUESTS_MAX; i++) {
		size_t at = (changes->first + i) % CHANGES_REQUESTS_MAX;
		if (!turn_request(changes, &changes->requests[at], &turn)) {
			/* room comes with the next result; the one that found none goes first */
			changes->first = at;
			turn.has_more = false;
			return turn;
		}
	}
	return turn;
}

void changes_result(struct changes *changes, uint64_t cookie, int ret)
{
	uint64_t id = cookie >> COOKIE_LINE_BITS;
	unsigned line_no = cookie & ((1U << COOKIE_LINE_BITS) - 1);
	for (size_t i = 0; i < ARRAY_LEN(changes->requests); i++) {
		struct request *request = &changes->requests[i];
		if (request->id == 0 || request->id != id) {
			continue;
		}
		request->n_waiting--;
		if (ret != 0) {
			fail_line(request, line_no, err_text(ret));
		}
	}
}

static json_t *answer_of(const struct request *request)
{
	json_t *failed = json_array();
	for (unsigned i = 0; i < request->n_lines; i++) {
		const char *text = request->errors[i];
		if (text) {
			(void)json_array_append_new(
			        failed, json_pack("{s:i,s:s}", "line", (int)i + 1, "error", text));
		}
	}
	unsigned n_done = request->n_lines - request->n_failed;
	return json_pack("{s:I,s:o}", "done", (json_int_t)n_done, "failed", failed);
}

bool changes_next_answer(struct changes *changes, uint64_t *ticket, json_t **answer)
{
	for (size_t i = 0; i < ARRAY_LEN(changes->requests); i++) {
		struct request *request = &changes->requests[i];
		if (request->id == 0 || request->line_no < request->n_lines ||
		    request->n_waiting > 0) {
			continue;
		}
		*ticket = request->ticket;
		*answer = answer_of(request);
		end_request(request);
		return true;
	}
	return false;
}

static void post_seen(struct changes *changes, struct span line, struct changes_seen *out)
{
	uint8_t buf[CHANGE_TEXT_BYTES];
	char text[SEEN_LINE_MAX + sizeof "seen "];
	char why[CHANGE_WHY_MAX] = "line too long";
	struct change change;
	int ret = line.len <= SEEN_LINE_MAX ? 0 : ERR_TOO_LONG;
	if (ret == 0) {
		memcpy(text, "seen ", sizeof "seen ");
		memcpy(text + strlen("seen "), line.ptr, line.len);
		ret = change_parse(span_of(text, strlen("seen ") + line.len), buf, &change, why);
	}
	if (ret != 0) {
		if (out->n_refused++ == 0) {
			memcpy(out->why, why, sizeof why);
		}
		return;
	}
	out->n_passed += change.is_outbound ? 0 : change.count;
	if (changes->post(changes->ctx, &change, CHANGES_COOKIE_SEEN) == 0) {
		out->n_posted++;
	} else {
		out->n_dropped++;
	}
}

void changes_post_seen(struct changes *changes, struct span text, struct changes_seen *out)
{
	*out = (struct changes_seen){0};
	while (text.len > 0) {
		struct span line = span_cut(text, '\n', &text);
		if (line.len > 0) {
			post_seen(changes, line, out);
		}
	}
}
