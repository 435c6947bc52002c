/* A request waits in a place of its own until the workers have answered the question it needs. */
#include "mired/inquiries.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/span.h"
#include "mired/held_json.h"

enum {
	ROWS_DEFAULT = 10,
	FRESH_MS = 1000, /* so old may be what is answered without asking again */
};

static_assert(HELD_LONGEST_MAX == 100 && HELD_NETWORKS_MAX == 100, "as the answer says");

struct inquiry {
	uint64_t ticket; /* 0 = free place */
	struct held_query query;
	size_t n_rows;
	bool is_asked;  /* the workers look for it */
	json_t *answer; /* not fetched so far */
};

struct inquiries {
	struct engine *engine;
	struct inquiry places[INQUIRIES_MAX];
	struct mono asked_at;
	bool has_whole;
	struct mono whole_at; /* when `whole` was asked for */
	struct held whole;
	struct held one; /* of an address */
};

struct inquiries *inquiries_new(struct engine *engine)
{
	struct inquiries *inquiries = calloc(1, sizeof *inquiries);
	if (inquiries) {
		inquiries->engine = engine;
	}
	return inquiries;
}

void inquiries_free(struct inquiries *inquiries)
{
	for (size_t i = 0; inquiries && i < INQUIRIES_MAX; i++) {
		json_decref(inquiries->places[i].answer);
	}
	free(inquiries);
}

/* An address, or how many rows. */
static int parse(struct span args, struct inquiry *out)
{
	uint64_t n = ROWS_DEFAULT;
	if (args.len > 0 && addr_parse(args, &out->query.addr) == 0) {
		out->query.has_addr = true;
		out->n_rows = HELD_LONGEST_MAX;
		return 0;
	}
	int ret = args.len > 0 ? span_to_u64(args, HELD_LONGEST_MAX, &n) : 0;
	out->n_rows = n;
	return ret;
}

/* Gives each unanswered request for the same its turn: only one question is under way. */
static void ask_next(struct inquiries *inquiries, struct mono now)
{
	struct inquiry *first = NULL;
	for (size_t i = 0; i < INQUIRIES_MAX; i++) {
		struct inquiry *place = &inquiries->places[i];
		if (place->ticket != 0 && !place->answer && !place->is_asked &&
		    (!first || place->ticket < first->ticket)) {
			first = place;
		}
	}
	if (first && engine_ask_held(inquiries->engine, &first->query) == 0) {
		first->is_asked = true;
		inquiries->asked_at = now;
	}
}

json_t *inquiries_ask(struct inquiries *inquiries, const struct ctl_request *request,
                      struct mono now)
{
	struct inquiry inquiry = {.ticket = request->ticket};
	if (parse(span_of_str(request->args), &inquiry) != 0) {
		return ctl_error("held takes an address, or a number of rows, 0 to 100");
	}
	int64_t age_ms = mono_diff_ms(now, inquiries->whole_at);
	if (!inquiry.query.has_addr && inquiries->has_whole && age_ms < FRESH_MS) {
		return held_json(&inquiries->whole, age_ms, inquiry.n_rows);
	}
	for (size_t i = 0; i < INQUIRIES_MAX; i++) {
		if (inquiries->places[i].ticket == 0) {
			inquiries->places[i] = inquiry;
			ask_next(inquiries, now);
			return NULL;
		}
	}
	return ctl_error("other requests are under way: try again later");
}

static void answer_address(struct inquiries *inquiries, int64_t age_ms)
{
	for (size_t i = 0; i < INQUIRIES_MAX; i++) {
		struct inquiry *place = &inquiries->places[i];
		if (place->is_asked && !place->answer) {
			place->answer = held_address_json(&inquiries->one, age_ms, place->n_rows);
		}
	}
}

static void answer_whole(struct inquiries *inquiries, int64_t age_ms)
{
	inquiries->whole_at = inquiries->asked_at;
	inquiries->whole = inquiries->one;
	inquiries->has_whole = true;
	for (size_t i = 0; i < INQUIRIES_MAX; i++) {
		struct inquiry *place = &inquiries->places[i];
		if (place->ticket != 0 && !place->query.has_addr && !place->answer) {
			place->answer = held_json(&inquiries->whole, age_ms, place->n_rows);
		}
	}
}

void inquiries_turn(struct inquiries *inquiries, struct mono now)
{
	if (!engine_take_held(inquiries->engine, &inquiries->one)) {
		return;
	}
	int64_t age_ms = mono_diff_ms(now, inquiries->asked_at);
	if (inquiries->one.query.has_addr) {
		answer_address(inquiries, age_ms);
	} else {
		answer_whole(inquiries, age_ms);
	}
	ask_next(inquiries, now);
}

bool inquiries_next_answer(struct inquiries *inquiries, uint64_t *ticket, json_t **answer)
{
	for (size_t i = 0; i < INQUIRIES_MAX; i++) {
		struct inquiry *place = &inquiries->places[i];
		if (place->answer) {
			*ticket = place->ticket;
			*answer = place->answer;
			*place = (struct inquiry){0};
			return true;
		}
	}
	return false;
}
