/* Assembling of lines and packing of values, in both sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "smtp/dialogue.h"
#include "smtp/text.h"

static struct session_text *text;

static int setup(void **state)
{
	(void)state;
	text = aligned_alloc(8, SESSION_TEXT_LARGE);
	session_text_init(text, SESSION_TEXT_LARGE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(text);
	return 0;
}

static size_t add(const char *bytes)
{
	return text_add(text, span_of_str(bytes), NULL);
}

static void assert_line(const char *line)
{
	assert_true(text_has_line(text));
	struct span is = text_take_line(text);
	assert_int_equal(is.len, strlen(line));
	assert_memory_equal(is.ptr, line, is.len);
}

static void assert_value(enum text_value which, const char *value)
{
	struct span is = text_value(text, which);
	assert_int_equal(is.len, strlen(value));
	assert_memory_equal(is.ptr, value, is.len);
}

static void lines_are_put_together_from_pieces(void **state)
{
	(void)state;
	assert_int_equal(add("HE"), 2);
	assert_false(text_has_line(text));
	assert_int_equal(add("LO x\r"), 5);
	assert_false(text_has_line(text));
	assert_int_equal(add("\nMAIL\n\nhalf"), 11);
	assert_line("HELO x\r");
	assert_line("MAIL");
	assert_line("");
	assert_false(text_has_line(text));
	assert_int_equal(add("\n"), 1);
	assert_line("half");
	assert_false(text_has_line(text));
}

static void values_keep_apart_whatever_their_order(void **state)
{
	(void)state;
	static const enum text_value order[] = {TEXT_RECIPIENT, TEXT_HELO,      TEXT_SENDER,
	                                        TEXT_HELO,      TEXT_RECIPIENT, TEXT_SENDER};
	static const char *const values[] = {"rrr", "hhhhhhhh", "s", "h", "rrrrrrrrrrrr", "ssss"};
	for (size_t i = 0; i < 6; i++) {
		(void)add(values[i]);
		(void)add("\nnext\n");
		text_set_value(text, order[i], text_take_line(text));
		assert_value(order[i], values[i]);
		assert_line("next");
	}
	assert_value(TEXT_HELO, "h");
	assert_value(TEXT_SENDER, "ssss");
	assert_value(TEXT_RECIPIENT, "rrrrrrrrrrrr");
	text_set_value(text, TEXT_SENDER, SPAN(""));
	assert_value(TEXT_HELO, "h");
	assert_value(TEXT_SENDER, "");
	assert_value(TEXT_RECIPIENT, "rrrrrrrrrrrr");
}

static void value_is_cut_at_its_bound(void **state)
{
	(void)state;
	char line[1500];
	memset(line, 'v', sizeof line);
	line[sizeof line - 1] = '\0';
	(void)add(line);
	(void)add("\n");
	text_set_value(text, TEXT_SENDER, text_take_line(text));
	assert_int_equal(text_value(text, TEXT_SENDER).len, 1023);
}

static void line_ends_at_its_bound(void **state)
{
	(void)state;
	bool is_long = false;
	char piece[500];
	memset(piece, 'x', sizeof piece);
	for (int i = 0; i < 16; i++) {
		assert_int_equal(text_add(text, span_of(piece, 500), &is_long), 500);
	}
	assert_false(text_has_line(text));
	assert_int_equal(text_add(text, span_of(piece, 190), &is_long), 190);
	assert_false(text_has_line(text));
	assert_false(is_long);
	assert_int_equal(text_add(text, span_of(piece, 1), &is_long), 1);
	assert_true(is_long);
	assert_int_equal(text_take_line(text).len, SESSION_LINE_KEEP);
	assert_int_equal(add("tail\n"), 5);
	assert_line("tail");
}

static void line_of_the_bound_with_its_lf_is_not_long(void **state)
{
	(void)state;
	bool is_long = false;
	char piece[819];
	memset(piece, 'x', sizeof piece);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(text_add(text, span_of(piece, 819), &is_long), 819);
	}
	assert_int_equal(text_add(text, SPAN("\n"), &is_long), 1); /* the 8191st byte */
	assert_false(is_long);
	assert_int_equal(text_take_line(text).len, SESSION_LINE_KEEP);
	assert_false(text_has_line(text));
}

static void small_text_takes_what_fits_and_moves_into_a_large_one(void **state)
{
	(void)state;
	struct session session = {.reply = REPLY_NONE};
	struct session_text *small = aligned_alloc(8, SESSION_TEXT_SMALL);
	session_text_init(small, SESSION_TEXT_SMALL);
	assert_int_equal(text_add(small, SPAN("me\n"), NULL), 3);
	text_set_value(small, TEXT_HELO, text_take_line(small));
	char piece[600];
	memset(piece, 'y', sizeof piece);
	size_t taken = text_add(small, span_of(piece, sizeof piece), NULL);
	assert_in_range(taken, 400, 500);
	assert_int_equal(text_free(small), 0);
	assert_int_equal(text_add(small, SPAN("z"), NULL), 0);
	session_text_move(&session, text, small);
	free(small);
	size_t rest = sizeof piece - taken;
	assert_int_equal(text_add(text, span_of(piece, rest), NULL), rest);
	(void)add("\n");
	assert_value(TEXT_HELO, "me");
	assert_int_equal(text_take_line(text).len, sizeof piece);
}

static const struct addr client;

static struct reply_lists lists_of(const struct span *messages, size_t n)
{
	return (struct reply_lists){messages, n, 450, &client};
}

static void list_reply_takes_the_place_of_everything_and_stays_said_when_moved(void **state)
{
	(void)state;
	struct session_text *small = aligned_alloc(8, SESSION_TEXT_SMALL);
	session_text_init(small, SESSION_TEXT_SMALL);
	(void)text_add(small, SPAN("me\nmore\n"), NULL);
	text_set_value(small, TEXT_HELO, text_take_line(small));
	struct session session = {.state = DIALOGUE_DEFERRING, .cls = SESSION_LISTED};
	struct span message = SPAN("no");
	struct reply_lists lists = lists_of(&message, 1);
	assert_true(session_say_listed(&session, small, &lists));
	assert_false(text_has_line(small));
	assert_int_equal(text_value(small, TEXT_HELO).len, 0);
	assert_int_equal(session.out_len, 8);
	session_text_move(&session, text, small);
	free(small);
	assert_memory_equal(session.out, "450 no\r\n", 8);
}

static void list_reply_is_cut_at_a_line_end_where_it_does_not_fit(void **state)
{
	(void)state;
	static uint8_t line[400];
	memset(line, 'x', sizeof line);
	struct span messages[REPLY_LISTED_MAX / 400 + 1];
	for (size_t i = 0; i < ARRAY_LEN(messages); i++) {
		messages[i] = span_of(line, sizeof line);
	}
	struct session session = {.state = DIALOGUE_DEFERRING, .cls = SESSION_LISTED};
	struct session_text *small = aligned_alloc(8, SESSION_TEXT_SMALL);
	session_text_init(small, SESSION_TEXT_SMALL);
	struct reply_lists lists = lists_of(messages, 2);
	assert_false(session_say_listed(&session, small, &lists));
	assert_int_equal(session.out_len, 406);
	assert_memory_equal(session.out, "450 x", 5);
	free(small);
	assert_true(session_say_listed(&session, text, &lists));
	assert_int_equal(session.out_len, 2 * 406);
	lists = lists_of(messages, ARRAY_LEN(messages));
	assert_false(session_say_listed(&session, text, &lists));
	assert_int_equal(session.out_len, REPLY_LISTED_MAX / 406 * 406);
}

/* Values of full length leave room for a read, whatever comes. */
static void full_large_text_still_takes_a_read(void **state)
{
	(void)state;
	char piece[SESSION_READ_MAX];
	memset(piece, 'v', sizeof piece);
	for (int which = TEXT_HELO; which <= TEXT_RECIPIENT; which++) {
		for (int i = 0; i < 3; i++) {
			assert_int_equal(text_add(text, span_of(piece, sizeof piece), NULL),
			                 sizeof piece);
		}
		(void)add("\n");
		text_set_value(text, (enum text_value)which, text_take_line(text));
		assert_int_equal(text_value(text, (enum text_value)which).len, 1023);
	}
	for (int i = 0; i < 100 && !text_has_line(text); i++) {
		assert_true(text_free(text) >= SESSION_READ_MAX);
		assert_int_equal(text_add(text, span_of(piece, sizeof piece), NULL), sizeof piece);
	}
	assert_true(text_has_line(text));
	assert_int_equal(text_take_line(text).len, SESSION_LINE_KEEP);
}

static void text_never_loses_a_line_that_it_took(void **state)
{
	(void)state;
	unsigned n_added = 0;
	unsigned n_taken = 0;
	while (text_free(text) >= 4) {
		assert_int_equal(add("abc\n"), 4);
		n_added++;
	}
	assert_int_equal(text_add(text, span_of("abcd", text_free(text)), NULL), text_free(text));
	for (; text_has_line(text); n_taken++) {
		assert_line("abc");
	}
	assert_int_equal(n_taken, n_added);
	assert_in_range(n_added, 2000, 2048);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(lines_are_put_together_from_pieces, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(values_keep_apart_whatever_their_order, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(value_is_cut_at_its_bound, setup, teardown),
	        cmocka_unit_test_setup_teardown(line_ends_at_its_bound, setup, teardown),
	        cmocka_unit_test_setup_teardown(line_of_the_bound_with_its_lf_is_not_long, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(
	                small_text_takes_what_fits_and_moves_into_a_large_one, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                list_reply_takes_the_place_of_everything_and_stays_said_when_moved, setup,
	                teardown),
	        cmocka_unit_test_setup_teardown(
	                list_reply_is_cut_at_a_line_end_where_it_does_not_fit, setup, teardown),
	        cmocka_unit_test_setup_teardown(full_large_text_still_takes_a_read, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(text_never_loses_a_line_that_it_took, setup,
	                                        teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
