/* Walks the tables: every state is reachable and ends, every event and every verb has an answer in
 * every state that the table of states allows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "smtp/cmd.h"
#include "smtp/dialogue.h"

static unsigned reachable_from(unsigned start)
{
	unsigned seen = DIALOGUE_BIT(start);
	for (unsigned before = 0; before != seen;) {
		before = seen;
		for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
			seen |= seen & DIALOGUE_BIT(i) ? dialogue_states[i].next : 0;
		}
	}
	return seen;
}

static void all_states_are_reachable_and_end(void **state)
{
	(void)state;
	assert_int_equal(reachable_from(DIALOGUE_HELD), (1U << DIALOGUE_STATE_COUNT) - 1);
	for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
		assert_non_null(dialogue_states[i].name);
		assert_true(reachable_from(i) & DIALOGUE_BIT(DIALOGUE_CLOSED));
		assert_int_equal(dialogue_states[i].next & DIALOGUE_BIT(DIALOGUE_HELD), 0);
	}
	assert_int_equal(dialogue_states[DIALOGUE_CLOSED].next, 0);
}

static void every_event_is_answered_as_the_states_allow(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
		for (unsigned event = 0; event < DIALOGUE_EVENT_COUNT; event++) {
			struct session session = {.state = (uint8_t)i};
			dialogue_event(&session, (enum dialogue_event)event); /* would ASSERT */
			unsigned allowed = dialogue_states[i].next | DIALOGUE_BIT(i);
			assert_true(allowed & DIALOGUE_BIT(session.state));
		}
	}
}

static void every_open_state_ends_by_reset_and_timeouts(void **state)
{
	(void)state;
	static const enum dialogue_event ends[] = {DIALOGUE_DEAD, DIALOGUE_READ_TIMEOUT,
	                                           DIALOGUE_WRITE_TIMEOUT};
	for (unsigned i = 0; i < DIALOGUE_CLOSED; i++) {
		for (size_t end = 0; end < ARRAY_LEN(ends); end++) {
			struct session session = {.state = (uint8_t)i};
			dialogue_event(&session, ends[end]);
			assert_int_equal(session.state, DIALOGUE_CLOSED);
		}
	}
}

/* Which states the table of events and the verbs lead to together covers every arrow. */
static void every_arrow_of_the_states_is_used(void **state)
{
	(void)state;
	uint16_t used[DIALOGUE_STATE_COUNT] = {0};
	for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
		for (unsigned event = 0; event < DIALOGUE_EVENT_COUNT; event++) {
			used[i] |= DIALOGUE_BIT(dialogue_events[i][event]);
		}
	}
	/* HELO, MAIL and RCPT, DATA with 354, RSET */
	used[DIALOGUE_START] |= DIALOGUE_BIT(DIALOGUE_READY) | DIALOGUE_BIT(DIALOGUE_ENVELOPE) |
	                        DIALOGUE_BIT(DIALOGUE_HEAD);
	used[DIALOGUE_READY] |= DIALOGUE_BIT(DIALOGUE_ENVELOPE) | DIALOGUE_BIT(DIALOGUE_HEAD);
	used[DIALOGUE_ENVELOPE] |= DIALOGUE_BIT(DIALOGUE_START) | DIALOGUE_BIT(DIALOGUE_READY) |
	                           DIALOGUE_BIT(DIALOGUE_HEAD);
	for (unsigned i = 0; i < DIALOGUE_STATE_COUNT; i++) {
		assert_int_equal(used[i] & ~1U, dialogue_states[i].next & ~1U);
	}
}

struct fixture {
	struct session session;
	struct session_conf conf;
	struct session_text *text;
	struct session_event event;
};

static enum reply_id answer(struct fixture *fixture, const char *line)
{
	assert_int_equal(text_add(fixture->text, span_of_str(line), NULL), strlen(line));
	assert_int_equal(text_add(fixture->text, SPAN("\r\n"), NULL), 2);
	fixture->event = (struct session_event){.kind = SESSION_EVENT_NONE};
	struct dialogue_line in = {&fixture->session, &fixture->conf, fixture->text,
	                           text_take_line(fixture->text), &fixture->event};
	return dialogue_takes_mail(&fixture->session) ? dialogue_mail_line(&in) : cmd_answer(&in);
}

static void fixture_init(struct fixture *fixture, enum dialogue_state at, enum session_class cls)
{
	*fixture = (struct fixture){.conf = {.bad_commands_max = 20}};
	fixture->text = aligned_alloc(8, SESSION_TEXT_LARGE);
	session_text_init(fixture->text, SESSION_TEXT_LARGE);
	fixture->session.cls = (uint8_t)cls;
	fixture->session.state = DIALOGUE_START;
	if (at == DIALOGUE_READY) {
		(void)answer(fixture, "HELO x");
	} else if (at == DIALOGUE_ENVELOPE) {
		(void)answer(fixture, "MAIL FROM:<a>");
	}
	assert_int_equal(fixture->session.state, at);
}

static void every_verb_is_answered_in_every_state_that_takes_commands(void **state)
{
	(void)state;
	enum {
		S = DIALOGUE_START,
		R = DIALOGUE_READY,
		E = DIALOGUE_ENVELOPE,
		F = DIALOGUE_DEFERRING,
		L = DIALOGUE_LEAVING
	};
	static const struct {
		const char *line;
		enum reply_id reply;
		int next[3]; /* from START, READY, ENVELOPE */
	} rows[] = {
	        {"HELO x", REPLY_HELO, {R, R, R}},
	        {"EHLO x", REPLY_HELO, {R, R, R}},
	        {"HELO", REPLY_HELO_ARG, {S, R, E}},
	        {"EHLO", REPLY_HELO_ARG, {S, R, E}},
	        {"MAIL FROM:<b>", REPLY_SENDER, {E, E, E}},
	        {"MAIL", REPLY_SENDER, {E, E, E}},
	        {"RCPT TO:<c>", REPLY_RECIPIENT, {E, E, E}},
	        {"RCPT", REPLY_RECIPIENT, {E, E, E}},
	        {"DATA", REPLY_DEFER, {F, F, F}},
	        {"RSET", REPLY_RESET, {S, R, S}},
	        {"NOOP", REPLY_NOOP, {S, R, E}},
	        {"QUIT", REPLY_BYE, {L, L, L}},
	        {"VRFY x", REPLY_UNKNOWN, {S, R, E}},
	        {"", REPLY_UNKNOWN, {S, R, E}},
	};
	static const enum dialogue_state states[] = {DIALOGUE_START, DIALOGUE_READY,
	                                             DIALOGUE_ENVELOPE};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t from = 0; from < ARRAY_LEN(states); from++) {
			struct fixture fixture;
			fixture_init(&fixture, states[from], SESSION_GREY);
			assert_int_equal(answer(&fixture, rows[i].line), rows[i].reply);
			assert_int_equal(fixture.session.state, rows[i].next[from]);
			assert_true(fixture.event.is_command);
			assert_int_equal(fixture.event.is_bad, rows[i].reply == REPLY_UNKNOWN);
			free(fixture.text);
		}
	}
}

static void data_is_answered_as_the_class_says(void **state)
{
	(void)state;
	static const struct {
		enum session_class cls;
		enum reply_id reply;
		enum dialogue_state next;
	} rows[] = {
	        {SESSION_UNKNOWN, REPLY_DEFER, DIALOGUE_DEFERRING},
	        {SESSION_GREY, REPLY_DEFER, DIALOGUE_DEFERRING},
	        {SESSION_WHITE, REPLY_DEFER, DIALOGUE_DEFERRING},
	        {SESSION_LISTED, REPLY_DATA, DIALOGUE_HEAD},
	        {SESSION_PASSIVE, REPLY_DATA, DIALOGUE_HEAD},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct fixture fixture;
		fixture_init(&fixture, DIALOGUE_ENVELOPE, rows[i].cls);
		assert_int_equal(answer(&fixture, "DATA"), rows[i].reply);
		assert_int_equal(fixture.session.state, rows[i].next);
		free(fixture.text);
	}
}

static void listed_client_is_deferred_until_its_owner_says_more(void **state)
{
	(void)state;
	struct fixture fixture;
	fixture_init(&fixture, DIALOGUE_START, SESSION_LISTED);
	assert_int_equal(answer(&fixture, "DATA"), REPLY_DATA);
	assert_int_equal(answer(&fixture, "."), REPLY_DEFER);
	assert_int_equal(fixture.event.kind, SESSION_EVENT_DEFERRED);
	free(fixture.text);
}

static void bad_command_after_the_last_allowed_ends(void **state)
{
	(void)state;
	for (unsigned max = 0; max <= UINT8_MAX; max += 51) {
		struct fixture fixture;
		fixture_init(&fixture, DIALOGUE_START, SESSION_GREY);
		fixture.conf.bad_commands_max = (uint8_t)max;
		for (unsigned i = 0; i < max; i++) {
			assert_int_equal(answer(&fixture, "BAD"), REPLY_UNKNOWN);
		}
		assert_int_equal(answer(&fixture, "BAD"), REPLY_DEFER);
		assert_int_equal(fixture.session.state, DIALOGUE_DEFERRING);
		free(fixture.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(all_states_are_reachable_and_end),
	        cmocka_unit_test(every_event_is_answered_as_the_states_allow),
	        cmocka_unit_test(every_open_state_ends_by_reset_and_timeouts),
	        cmocka_unit_test(every_arrow_of_the_states_is_used),
	        cmocka_unit_test(every_verb_is_answered_in_every_state_that_takes_commands),
	        cmocka_unit_test(data_is_answered_as_the_class_says),
	        cmocka_unit_test(listed_client_is_deferred_until_its_owner_says_more),
	        cmocka_unit_test(bad_command_after_the_last_allowed_ends),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
