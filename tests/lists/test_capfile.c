/* spamd.conf: the syntax of capability records row by row, what the fields mean, and the errors. */
#include "lists/capfile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

static void parse(const char *text, struct capfile *out)
{
	char why[CAPFILE_WHY_MAX] = "";
	int ret = capfile_parse(span_of_str(text), out, why);
	if (ret) {
		print_error("%s\n%s\n", text, why);
	}
	assert_int_equal(ret, 0);
}

static void check_why(const char *text, int code, const char *want)
{
	char why[CAPFILE_WHY_MAX] = "";
	struct capfile file;
	assert_int_equal(capfile_parse(span_of_str(text), &file, why), code);
	assert_string_equal(why, want);
	assert_int_equal(file.n, 0);
}

static void a_usual_file_gives_its_lists_in_the_order_of_all(void **state)
{
	(void)state;
	struct capfile file;
	parse("# comment\n\nall:\\\n\t:uatraps:white:\n"
	      "white:\\\n\t:white:\\\n\t:file=/etc/mired/white:\n"
	      "uatraps:\\\n\t:black:\\\n\t:msg=\"Your address %A\\n\":\\\n"
	      "\t:method=https:\\\n\t:file=www.example.org/traps.gz:\n",
	      &file);
	assert_int_equal(file.n, 2);
	assert_string_equal(file.lists[0].name, "uatraps");
	assert_true(file.lists[0].is_black);
	assert_string_equal(file.lists[0].message, "Your address %A\n");
	assert_false(file.lists[0].is_message_file);
	assert_int_equal(file.lists[0].method, CAPFILE_HTTPS);
	assert_string_equal(file.lists[0].file, "www.example.org/traps.gz");
	assert_string_equal(file.lists[1].name, "white");
	assert_false(file.lists[1].is_black);
	assert_null(file.lists[1].message);
	assert_int_equal(file.lists[1].method, CAPFILE_FILE);
	assert_string_equal(file.lists[1].file, "/etc/mired/white");
	capfile_fini(&file);
}

/* How the fields of the one list `a` are read; file is what came out of file=. */
static void each_rule_of_the_syntax_holds(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *file;
	} rows[] = {
	        {"all:a:\na:white:file=/x:\n", "/x"},
	        {"all:a\na:white:file=/x", "/x"},                /* ends with the record */
	        {"all:a:\r\na:white:file=/x:\r\n", "/x"},        /* CR LF */
	        {"all:a:\na:wh\\\nite:file=/x:\n", "/x"},        /* continued in a word */
	        {"all:a:\na:white:file=/x\\\n  y:\n", "/x  y"},  /* blanks stay */
	        {"all:a:\na:white:\\\n#:file=/x:\n", "/x"},      /* # inside is data */
	        {"all:a:\n#a:black:\na:white:file=/x:\n", "/x"}, /* a comment */
	        {"all:a:\na:white:file=/x#y:\n", "/x#y"},
	        {"all:a:\na:\\\n\t:white:\\\n\t:file=/x:\n", "/x"},     /* blank fields */
	        {"all:a:\na:white:file=/1:\na:white:file=/2:\n", "/1"}, /* first record */
	        {"all:a:\nz|a|b:white:file=/x:\n", "/x"},               /* an alias */
	        {"all:a:\nA:white:file=/y:\na:white:file=/x:\n", "/x"}, /* exact case */
	        {"all:a:\naa:white:file=/y:\na:white:file=/x:\n", "/x"},
	        {"all:a:\na:white:file=/1:file=/2:\n", "/1"},   /* first occurrence */
	        {"all:a:\na:white:\tfile=/1:file=/2:\n", "/2"}, /* not right behind the colon */
	        {"all:a:\na:white:files=/1:file=/2:\n", "/2"},
	        {"all:a:\na:white:black@:black:file=/x:\n", "/x"}, /* cancelled */
	        {"all:a:\na:white:file=\"/x:y\":\n", "\"/x:y\""},  /* a colon in quotes */
	        {"all:a:\na:white:file=\"q\\\":\":\n", "\"q\":\""},
	        {"all:a:\na:white:file=\\n\\t\\b\\f\\r\\e\\c\\E\\C:\n", "\n\t\b\f\r\033:\033:"},
	        {"all:a:\na:white:file=\\101\\1012\\x\\\\:\n", "AA2x\\"},
	        {"all:a:\na:white:file=a^Ab^:\n", "a\001b"},
	        {"all:a:\na:tc=b:\nb:white:file=/x:\n", "/x"},
	        {"all:a:\na:file=/1:tc=b:\nb:white:file=/2:\n", "/1"},
	        {"all:a:\na:tc=b:file=/1:\nb:white:file=/2:\n", "/2"}, /* replaced in its place */
	        {"all:a:\na:tc=b:\nb:tc=c:\nc:white:tc=d:\nd:file=/x:\n", "/x"},
	        {"all:tc=more:\nmore:a:\na:white:file=/x:\n", "/x"},
	        {"all:a:\na:white:msg=\"not needed\":file=/x:\n", "/x"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct capfile file;
		parse(rows[i].text, &file);
		assert_int_equal(file.n, 1);
		assert_string_equal(file.lists[0].file, rows[i].file);
		assert_false(file.lists[0].is_black);
		assert_null(file.lists[0].message);
		capfile_fini(&file);
	}
}

static void names_in_all_are_separated_by_colons_and_blanks_and_may_repeat(void **state)
{
	(void)state;
	struct capfile file;
	parse("all:\\\n\t:a b\t::a:  c:\na:white:file=/a:\nb:white:file=/b:\nc:white:file=/c:\n",
	      &file);
	assert_int_equal(file.n, 4);
	assert_string_equal(file.lists[0].name, "a");
	assert_string_equal(file.lists[1].name, "b");
	assert_string_equal(file.lists[2].name, "a");
	assert_string_equal(file.lists[3].file, "/c");
	capfile_fini(&file);
}

static void black_wins_and_a_message_is_a_text_or_a_file(void **state)
{
	(void)state;
	struct capfile file;
	parse("all:a:b:c:\na:white:black:msg=/etc/msg:file=/x:\n"
	      "b:black:msg=\"say \\\"no\\\"\":method=exec:file=cat /x:\n"
	      "c:black:msg=\"one: two\":method=ftp:file=h/x:\n",
	      &file);
	assert_true(file.lists[0].is_black);
	assert_true(file.lists[0].is_message_file);
	assert_string_equal(file.lists[0].message, "/etc/msg");
	assert_string_equal(file.lists[1].message, "say \"no\"");
	assert_int_equal(file.lists[1].method, CAPFILE_EXEC);
	assert_string_equal(file.lists[1].file, "cat /x");
	assert_string_equal(file.lists[2].message, "one: two");
	assert_int_equal(file.lists[2].method, CAPFILE_FTP);
	capfile_fini(&file);
}

static void each_error_is_told_in_the_words_of_spamd_setup(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int code;
		const char *why;
	} rows[] = {
	        {"", ERR_NOT_FOUND, "Can't find \"all\" in spamd config"},
	        {"#all:a:\n", ERR_NOT_FOUND, "Can't find \"all\" in spamd config"},
	        {"all:a:\n", ERR_NOT_FOUND, "Can't find \"a\" in spamd config"},
	        {"all:a:\n\na:file=/x:\n", ERR_SYNTAX,
	         "line 3: Must have \"black\" or \"white\" in a"},
	        {"all:a:\na:black@:black:file=/x:\n", ERR_SYNTAX,
	         "line 2: Must have \"black\" or \"white\" in a"},
	        {"all:a:\na:\\\n\tblack:file=/x:\n", ERR_SYNTAX,
	         "line 2: Must have \"black\" or \"white\" in a"},
	        {"all:a:\na:black:file=/x:\n", ERR_SYNTAX, "line 2: No msg for blacklist \"a\""},
	        {"all:a:\na:black:msg=\"x\":\n", ERR_SYNTAX,
	         "line 2: No file given for blacklist a"},
	        {"all:a:\na:white:\n", ERR_SYNTAX, "line 2: No file given for whitelist a"},
	        {"all:a:\na:white:file@:file=/x:\n", ERR_SYNTAX,
	         "line 2: No file given for whitelist a"},
	        {"all:a:\na:white:method=gopher:file=/x:\n", ERR_SYNTAX,
	         "line 2: Unknown method gopher"},
	        {"all:a:\na:white:file=/x:tc=b:\n", ERR_NOT_FOUND,
	         "line 2: Can't find \"a\" in spamd config (unresolved tc=)"},
	        {"all:a:\na:white:tc=a:\n", ERR_SYNTAX, "line 2: tc= loop in \"a\""},
	        {"all:a:\na:tc=b:\nb:tc=a:\n", ERR_SYNTAX, "line 2: tc= loop in \"a\""},
	        {"all:a:\na:white:file=x\\0y:\n", ERR_SYNTAX, "line 2: NUL byte in a"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check_why(rows[i].text, rows[i].code, rows[i].why);
	}
}

/* Records r0 … of which each includes the next `times` times. */
static void check_chain(unsigned depth, unsigned times, int code)
{
	char text[4096] = "all:r0:\n";
	char why[CAPFILE_WHY_MAX];
	struct capfile file;
	for (unsigned i = 0; i <= depth; i++) {
		(void)snprintf(text + strlen(text), sizeof text - strlen(text), "r%u", i);
		for (unsigned k = 0; k < times && i < depth; k++) {
			(void)snprintf(text + strlen(text), sizeof text - strlen(text), ":tc=r%u",
			               i + 1);
		}
		(void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s",
		               i < depth ? ":\n" : ":white:file=/x:\n");
	}
	assert_int_equal(capfile_parse(span_of_str(text), &file, why), code);
	capfile_fini(&file);
}

static void includes_nest_32_deep_and_do_not_multiply_without_end(void **state)
{
	(void)state;
	check_chain(CAPFILE_TC_MAX, 1, 0);
	check_chain(CAPFILE_TC_MAX + 1, 1, ERR_SYNTAX);
	check_chain(CAPFILE_TC_MAX, 2, ERR_TOO_LONG);
}

static void more_lists_than_the_bound_are_refused(void **state)
{
	(void)state;
	static char text[3 * CAPFILE_NAMES_MAX];
	struct capfile file;
	char why[CAPFILE_WHY_MAX];
	(void)snprintf(text, sizeof text, "a:white:file=/x:\nall:");
	for (size_t i = 0; i <= CAPFILE_NAMES_MAX; i++) {
		(void)memcpy(text + 21 + 2 * i, "a ", 3);
	}
	assert_int_equal(capfile_parse(span_of_str(text), &file, why), ERR_TOO_LONG);
	assert_string_equal(why, "line 2: more than 1000 lists in \"all\"");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_usual_file_gives_its_lists_in_the_order_of_all),
	        cmocka_unit_test(each_rule_of_the_syntax_holds),
	        cmocka_unit_test(names_in_all_are_separated_by_colons_and_blanks_and_may_repeat),
	        cmocka_unit_test(black_wins_and_a_message_is_a_text_or_a_file),
	        cmocka_unit_test(each_error_is_told_in_the_words_of_spamd_setup),
	        cmocka_unit_test(includes_nest_32_deep_and_do_not_multiply_without_end),
	        cmocka_unit_test(more_lists_than_the_bound_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
