/* Requests of changes on their way to a keeper that takes as many at a time as the test says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "mired/changes.h"
#include "mired/ctl.h"

enum { POSTED_MAX = 4096 };

struct fixture {
	struct changes *changes;
	size_t room; /* changes that may be under way */
	uint64_t posted[POSTED_MAX];
	enum change_kind kinds[POSTED_MAX];
	size_t n_posted;
	size_t n_answered; /* of them, oldest first */
};

static int post(void *ctx, const struct change *change, uint64_t cookie)
{
	struct fixture *fixture = ctx;
	if (fixture->n_posted - fixture->n_answered >= fixture->room) {
		return -EAGAIN;
	}
	assert_true(fixture->n_posted < POSTED_MAX);
	fixture->kinds[fixture->n_posted] = change->kind;
	fixture->posted[fixture->n_posted++] = cookie;
	return 0;
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	assert_non_null(fixture);
	fixture->room = POSTED_MAX;
	fixture->changes = changes_new(post, fixture);
	assert_non_null(fixture->changes);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	changes_free(fixture->changes);
	free(fixture);
	return 0;
}

static void submit(struct fixture *fixture, const char *text, uint64_t ticket)
{
	assert_int_equal(changes_submit(fixture->changes, strdup(text), strlen(text), ticket), 0);
}

static void answer_posted(struct fixture *fixture, size_t n, int ret)
{
	for (size_t i = 0; i < n; i++) {
		changes_result(fixture->changes, fixture->posted[fixture->n_answered++], ret);
	}
}

static void assert_no_answer(struct fixture *fixture)
{
	uint64_t ticket;
	json_t *answer;
	assert_false(changes_next_answer(fixture->changes, &ticket, &answer));
}

static void assert_answer(struct fixture *fixture, uint64_t ticket, const char *text)
{
	uint64_t got;
	json_t *answer;
	assert_true(changes_next_answer(fixture->changes, &got, &answer));
	assert_int_equal(got, ticket);
	char *line = json_dumps(answer, JSON_COMPACT);
	assert_string_equal(line, text);
	free(line);
	json_decref(answer);
}

static void a_request_is_answered_when_its_last_change_is_done(void **state)
{
	struct fixture *fixture = *state;
	submit(fixture, "white 192.0.2.1\ntrapped 192.0.2.2\nspamtrap a@b.example", 7);
	assert_true(changes_turn(fixture->changes).has_posted);
	assert_false(changes_turn(fixture->changes).has_posted);
	assert_int_equal(fixture->n_posted, 3);
	assert_int_equal(fixture->kinds[0], CHANGE_WHITE);
	assert_int_equal(fixture->kinds[1], CHANGE_TRAPPED);
	assert_int_equal(fixture->kinds[2], CHANGE_SPAMTRAP);
	answer_posted(fixture, 2, 0);
	assert_no_answer(fixture);
	answer_posted(fixture, 1, 0);
	assert_answer(fixture, 7, "{\"done\":3,\"failed\":[]}");
	assert_no_answer(fixture);
}

static void lines_fail_one_by_one_and_are_named_in_order(void **state)
{
	struct fixture *fixture = *state;
	submit(fixture, "delete 192.0.2.1\nwhite\nwhite 192.0.2.2\ndelete 192.0.2.3\n", 9);
	(void)changes_turn(fixture->changes);
	assert_int_equal(fixture->n_posted, 3);
	/* in another order than asked */
	changes_result(fixture->changes, fixture->posted[2], ERR_NOT_FOUND);
	changes_result(fixture->changes, fixture->posted[1], 0);
	changes_result(fixture->changes, fixture->posted[0], ERR_NOT_FOUND);
	uint64_t ticket;
	json_t *answer;
	assert_true(changes_next_answer(fixture->changes, &ticket, &answer));
	assert_int_equal(json_integer_value(json_object_get(answer, "done")), 1);
	json_t *failed = json_object_get(answer, "failed");
	assert_int_equal(json_array_size(failed), 3);
	for (size_t i = 0; i < 3; i++) {
		static const int lines[] = {1, 2, 4};
		json_t *row = json_array_get(failed, i);
		assert_int_equal(json_integer_value(json_object_get(row, "line")), lines[i]);
		assert_true(json_string_length(json_object_get(row, "error")) > 0);
	}
	assert_string_equal(json_string_value(json_object_get(json_array_get(failed, 0), "error")),
	                    "not found");
	json_decref(answer);
}

static void what_finds_no_room_waits_and_goes_on_later(void **state)
{
	struct fixture *fixture = *state;
	char text[MIRED_CTL_CHANGES_MAX * 20] = "";
	size_t len = 0;
	for (int i = 0; i < MIRED_CTL_CHANGES_MAX; i++) {
		len += (size_t)snprintf(text + len, sizeof text - len, "white 192.0.%d.%d\n",
		                        i / 250, i % 250);
	}
	fixture->room = 10;
	submit(fixture, text, 3);
	submit(fixture, "white 2001:db8::1\n", 4);
	for (int i = 0; i < 100; i++) {
		struct changes_turn turn = changes_turn(fixture->changes);
		assert_true(turn.has_posted);
		assert_false(turn.has_more); /* nothing to do before the next result */
		assert_int_equal(fixture->n_posted - fixture->n_answered, 10);
		answer_posted(fixture, 10, 0);
	}
	(void)changes_turn(fixture->changes);
	assert_int_equal(fixture->n_posted, MIRED_CTL_CHANGES_MAX + 1);
	answer_posted(fixture, 1, 0);
	assert_answer(fixture, 3, "{\"done\":1000,\"failed\":[]}");
	assert_answer(fixture, 4, "{\"done\":1,\"failed\":[]}");
}

static void a_turn_is_bounded_and_says_that_there_is_more(void **state)
{
	struct fixture *fixture = *state;
	char text[MIRED_CTL_CHANGES_MAX + 1];
	memset(text, '\n', MIRED_CTL_CHANGES_MAX);
	text[MIRED_CTL_CHANGES_MAX] = '\0';
	submit(fixture, text, 5);
	for (int i = 0; i < MIRED_CTL_CHANGES_MAX / CHANGES_LINES_A_TURN; i++) {
		assert_true(changes_turn(fixture->changes).has_more);
		assert_no_answer(fixture);
	}
	assert_false(changes_turn(fixture->changes).has_more);
	uint64_t ticket;
	json_t *answer;
	assert_true(changes_next_answer(fixture->changes, &ticket, &answer));
	assert_int_equal(json_integer_value(json_object_get(answer, "done")), 0);
	assert_int_equal(json_array_size(json_object_get(answer, "failed")), 1000);
	json_decref(answer);
}

static void more_lines_or_requests_than_allowed_are_refused(void **state)
{
	struct fixture *fixture = *state;
	char text[MIRED_CTL_CHANGES_MAX + 2];
	memset(text, '\n', sizeof text);
	assert_int_equal(changes_submit(fixture->changes, text, MIRED_CTL_CHANGES_MAX + 1, 1),
	                 ERR_TOO_LONG);
	fixture->room = 0;
	for (uint64_t i = 0; i < CHANGES_REQUESTS_MAX; i++) {
		submit(fixture, "white 192.0.2.1", i + 1);
	}
	assert_int_equal(changes_submit(fixture->changes, text, 1, 99), ERR_BUSY);
	fixture->room = POSTED_MAX;
	(void)changes_turn(fixture->changes);
	answer_posted(fixture, 1, 0);
	assert_answer(fixture, 1, "{\"done\":1,\"failed\":[]}");
	submit(fixture, "", 100);
	assert_answer(fixture, 100, "{\"done\":0,\"failed\":[]}");
}

static void results_that_nobody_waits_for_are_ignored(void **state)
{
	struct fixture *fixture = *state;
	submit(fixture, "white 192.0.2.1", 1);
	(void)changes_turn(fixture->changes);
	changes_result(fixture->changes, CHANGES_COOKIE_SEEN, 0);
	changes_result(fixture->changes, 0, 0);
	changes_result(fixture->changes, fixture->posted[0] + (1 << 16), 0);
	assert_no_answer(fixture);
	answer_posted(fixture, 1, 0);
	assert_answer(fixture, 1, "{\"done\":1,\"failed\":[]}");
	changes_result(fixture->changes, fixture->posted[0], ERR_NOT_FOUND);
	assert_no_answer(fixture);
}

static void seen_hosts_are_posted_or_counted_as_dropped_or_refused(void **state)
{
	struct fixture *fixture = *state;
	struct changes_seen seen;
	fixture->room = 2;
	changes_post_seen(fixture->changes,
	                  SPAN("in 192.0.2.1 1 3600\nnonsense\nout 2001:db8::1 7 3600\n\n"
	                       "in 192.0.2.2 1 3600"),
	                  &seen);
	assert_int_equal(seen.n_posted, 2);
	assert_int_equal(seen.n_dropped, 1);
	assert_int_equal(seen.n_refused, 1);
	assert_true(strlen(seen.why) > 0);
	assert_int_equal(fixture->kinds[1], CHANGE_SEEN);
	assert_int_equal(fixture->posted[1], CHANGES_COOKIE_SEEN);
	char line[4096];
	memset(line, 'x', sizeof line);
	changes_post_seen(fixture->changes, span_of(line, sizeof line), &seen);
	assert_int_equal(seen.n_refused, 1);
	assert_string_equal(seen.why, "line too long");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(a_request_is_answered_when_its_last_change_is_done),
	        TEST(lines_fail_one_by_one_and_are_named_in_order),
	        TEST(what_finds_no_room_waits_and_goes_on_later),
	        TEST(a_turn_is_bounded_and_says_that_there_is_more),
	        TEST(more_lines_or_requests_than_allowed_are_refused),
	        TEST(results_that_nobody_waits_for_are_ignored),
	        TEST(seen_hosts_are_posted_or_counted_as_dropped_or_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
