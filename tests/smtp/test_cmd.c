/* Verbs and their values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "smtp/cmd.h"

static void verbs_are_whole_words_in_any_case(void **state)
{
	(void)state;
	static const struct {
		struct span line;
		const char *verb; /* NULL: unknown */
	} rows[] = {
	        {SPAN("HELO x"), "HELO"},
	        {SPAN("helo\tx"), "HELO"},
	        {SPAN("EhLo x\r"), "EHLO"},
	        {SPAN("QUIT"), "QUIT"},
	        {SPAN("QUIT\r"), "QUIT"},
	        {SPAN("NOOP\rQUIT"), "NOOP"},
	        {SPAN("QUITX"), NULL},
	        {SPAN("QUI"), NULL},
	        {SPAN(""), NULL},
	        {SPAN("\r"), NULL},
	        {SPAN(" QUIT"), NULL},
	        {SPAN("MAIL:<a>"), NULL},
	        {SPAN("MAILFROM:<a>"), NULL},
	        {SPAN("QUIT\0"), NULL},
	        {SPAN("\0QUIT"), NULL},
	        {SPAN("VRFY x"), NULL},
	        {SPAN("EXPN x"), NULL},
	        {SPAN("HELP"), NULL},
	        {SPAN("STARTTLS"), NULL},
	        {SPAN("XCLIENT"), NULL},
	        {SPAN("."), NULL},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct cmd *cmd = cmd_find(rows[i].line);
		assert_int_equal(cmd != NULL, rows[i].verb != NULL);
		if (cmd) {
			assert_string_equal(cmd->verb, rows[i].verb);
		}
	}
}

static void values_are_cut_out_of_the_line(void **state)
{
	(void)state;
	static const struct {
		struct span line;
		enum cmd_arg arg;
		struct span value;
	} rows[] = {
	        {SPAN("HELO a.b"), CMD_WORD, SPAN("a.b")},
	        {SPAN("HELO \t a.b c"), CMD_WORD, SPAN("a.b")},
	        {SPAN("HELO a.b\r"), CMD_WORD, SPAN("a.b")},
	        {SPAN("HELO"), CMD_WORD, SPAN("")},
	        {SPAN("HELO  \r"), CMD_WORD, SPAN("")},
	        {SPAN("HELO a:b"), CMD_WORD, SPAN("a:b")},
	        {SPAN("HELO a\0b"), CMD_WORD, SPAN("a")},
	        {SPAN("MAIL FROM:<A@b> SIZE=1"), CMD_COLON, SPAN("<A@b>")},
	        {SPAN("MAIL FROM: <A@b>\r"), CMD_COLON, SPAN("<A@b>")},
	        {SPAN("MAIL FROM:<>"), CMD_COLON, SPAN("<>")},
	        {SPAN("MAIL FROM:"), CMD_COLON, SPAN("")},
	        {SPAN("MAIL FROM"), CMD_COLON, SPAN("")},
	        {SPAN("MAIL"), CMD_COLON, SPAN("")},
	        {SPAN("RCPT TO:<a:b@c>"), CMD_COLON, SPAN("<a:b@c>")},
	        {SPAN("RCPT TO:<\xe4@c>\tx"), CMD_COLON, SPAN("<\xe4@c>")},
	        {SPAN("RCPT TO:\rx"), CMD_COLON, SPAN("")},
	        {SPAN("NOOP x"), CMD_NO_ARG, SPAN("")},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct span value = cmd_value(rows[i].line, rows[i].arg);
		assert_int_equal(value.len, rows[i].value.len);
		assert_memory_equal(value.ptr, rows[i].value.ptr, value.len);
	}
}

static void value_is_cut_at_1023_bytes(void **state)
{
	(void)state;
	char line[3000] = "MAIL FROM:";
	memset(line + 10, 'a', 2000);
	assert_int_equal(cmd_value(span_of(line, 2010), CMD_COLON).len, 1023);
}

static void table_has_each_verb_once_with_its_handler(void **state)
{
	(void)state;
	for (size_t i = 0; i < cmd_count; i++) {
		assert_ptr_equal(cmd_find(span_of_str(cmd_table[i].verb)), &cmd_table[i]);
		assert_true(cmd_table[i].handler != NULL);
		assert_int_equal(cmd_table[i].states & ~DIALOGUE_COMMANDS, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(verbs_are_whole_words_in_any_case),
	        cmocka_unit_test(values_are_cut_out_of_the_line),
	        cmocka_unit_test(value_is_cut_at_1023_bytes),
	        cmocka_unit_test(table_has_each_verb_once_with_its_handler),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
