/* spamdb's text format: lines to the byte, dumps of other programs, bad lines, and that any stored
 * bytes come back. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "store/dump.h"

enum { N_RANDOM = 20000, LINE_BYTES = DUMP_LINE_MAX + 2 };

static char line[LINE_BYTES];

typedef int print_row(const struct store_row *row, FILE *out);

/* What a printer makes of a row, with its LF. */
static struct span print_by(print_row *printer, const struct store_row *row)
{
	FILE *out = fmemopen(line, sizeof line, "w");
	assert_non_null(out);
	assert_int_equal(printer(row, out), 0);
	long len = ftell(out);
	assert_int_equal(fclose(out), 0);
	assert_true(len > 0 && len < LINE_BYTES);
	return span_of(line, (size_t)len);
}

static struct span print(const struct store_row *row)
{
	return print_by(dump_print, row);
}

static struct store_row row_of(const struct dump_record *record)
{
	return (struct store_row){.kind = record->kind,
	                          .key.addr = record->addr,
	                          .record = record->record,
	                          .text = record->text};
}

static struct addr address(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static void assert_prints(const struct store_row *row, const char *expected)
{
	struct span got = print(row);
	assert_int_equal(got.len, strlen(expected));
	assert_memory_equal(got.ptr, expected, got.len);
}

static void each_kind_has_spamdbs_line(void **state)
{
	(void)state;
	struct grey_record record = {.first = {1000000},
	                             .pass = {1001500},
	                             .expire = {4110400},
	                             .changed_at = {1},
	                             .bcount = 2,
	                             .pcount = 5};
	struct store_row row = {.kind = RECORD_WHITE,
	                        .key.addr = address("192.0.2.1"),
	                        .record = record,
	                        .text = {SPAN(""), SPAN(""), SPAN("")}};
	assert_prints(&row, "WHITE|192.0.2.1|||1000000|1001500|4110400|2|5\n");
	row.kind = RECORD_TRAPPED;
	row.key.addr = address("2001:db8::bad");
	assert_prints(&row, "TRAPPED|2001:db8::bad|4110400\n");
	row.kind = RECORD_GREY;
	row.text = (struct tuple_text){SPAN("mx.example"), SPAN("<A@example.org>"), SPAN("<b@c>")};
	assert_prints(&row, "GREY|2001:db8::bad|mx.example|<A@example.org>|<b@c>|1000000|1001500|"
	                    "4110400|2|5\n");
	row.kind = RECORD_TRAP_ADDRESS;
	row.text = (struct tuple_text){SPAN(""), SPAN(""), SPAN("trap@example.org")};
	assert_prints(&row, "SPAMTRAP|trap@example.org\n");
}

static void no_text_breaks_out_of_its_field(void **state)
{
	(void)state;
	struct store_row row = {
	        .kind = RECORD_GREY,
	        .key.addr = address("192.0.2.1"),
	        .text = {SPAN("a|b\\c"), SPAN("<\n\r\t\x7f>"), SPAN("<\xc3\xa4@example>")}};
	assert_prints(&row,
	              "GREY|192.0.2.1|a\\x7cb\\x5cc|<\\x0a\\x0d\\x09\\x7f>|<\xc3\xa4@example>|"
	              "0|0|0|0|0\n");
}

/* --- reading ---------------------------------------------------------------------------------- */

static struct dump_record parse(const char *text)
{
	static uint8_t buf[DUMP_TEXT_BYTES];
	struct dump_record record;
	char why[DUMP_WHY_MAX];
	int ret = dump_parse(span_of_str(text), buf, &record, why);
	if (ret) {
		print_error("%s: %s\n", text, why);
	}
	assert_int_equal(ret, 0);
	return record;
}

static void lines_of_spamdb_are_read(void **state)
{
	(void)state;
	struct dump_record record = parse("WHITE|192.0.2.1|||10|20|30|2|5");
	assert_int_equal(record.kind, RECORD_WHITE);
	assert_int_equal(record.record.first.secs, 10);
	assert_int_equal(record.record.pass.secs, 20);
	assert_int_equal(record.record.expire.secs, 30);
	assert_int_equal(record.record.bcount, 2);
	assert_int_equal(record.record.pcount, 5);
	record = parse("TRAPPED|2001:db8::1|30\r");
	assert_int_equal(record.kind, RECORD_TRAPPED);
	assert_int_equal(record.record.expire.secs, 30);
	record = parse("SPAMTRAP|<Trap@Example.Org>");
	assert_int_equal(record.kind, RECORD_TRAP_ADDRESS);
	assert_true(span_equal(record.text.recipient, SPAN("trap@example.org")));
	record = parse("GREY|192.0.2.1|h|<A@b>|<c@d>|10|20|30|2|5");
	assert_int_equal(record.kind, RECORD_GREY);
	assert_true(span_equal(record.text.helo, SPAN("h")));
	assert_true(span_equal(record.text.sender, SPAN("<A@b>")));
	assert_true(span_equal(record.text.recipient, SPAN("<c@d>")));
	assert_int_equal(record.record.pcount, 5);
}

static void old_tuples_have_no_helo(void **state)
{
	(void)state;
	static const char *const lines[] = {"GREY|192.0.2.1||<a@b>|<c@d>|10|20|30|2|0",
	                                    "GREY|192.0.2.1|<a@b>|<c@d>|10|20|30|2|0"};
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct dump_record record = parse(lines[i]);
		assert_int_equal(record.text.helo.len, 0);
		assert_true(span_equal(record.text.sender, SPAN("<a@b>")));
		assert_int_equal(record.record.first.secs, 10);
	}
}

static void a_bare_pipe_of_a_foreign_dump_is_part_of_its_text(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		struct tuple_text text;
	} rows[] = {
	        {"GREY|192.0.2.1|a|b|<s@x>|<r@y>|1|2|3|4|0",
	         {SPAN("a|b"), SPAN("<s@x>"), SPAN("<r@y>")}},
	        {"GREY|192.0.2.1|h|<s|t@x>|<r@y>|1|2|3|4|0",
	         {SPAN("h"), SPAN("<s|t@x>"), SPAN("<r@y>")}},
	        {"GREY|192.0.2.1|h|<>|<r|s|t@y>|1|2|3|4|0",
	         {SPAN("h"), SPAN("<>"), SPAN("<r|s|t@y>")}},
	        {"GREY|192.0.2.1|||<s@x>|<r@y>|1|2|3|4|0",
	         {SPAN("|"), SPAN("<s@x>"), SPAN("<r@y>")}},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dump_record record = parse(rows[i].line);
		assert_true(span_equal(record.text.helo, rows[i].text.helo));
		assert_true(span_equal(record.text.sender, rows[i].text.sender));
		assert_true(span_equal(record.text.recipient, rows[i].text.recipient));
		assert_int_equal(record.record.bcount, 4);
	}
}

static void a_backslash_that_is_no_escape_of_ours_is_a_backslash(void **state)
{
	(void)state;
	struct dump_record record =
	        parse("GREY|192.0.2.1|\\x41\\x5C\\|\\x7c\\x0a\\x5c|x\\x5|1|2|3|4|0");
	assert_true(span_equal(record.text.helo, SPAN("\\x41\\x5C\\")));
	assert_true(span_equal(record.text.sender, SPAN("|\n\\")));
	assert_true(span_equal(record.text.recipient, SPAN("x\\x5")));
}

static void bad_lines_are_refused_with_a_reason(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		int code;
		const char *why;
	} rows[] = {
	        // clang-format off
		{"", ERR_SYNTAX, "no kind of record: "},
		{"white|192.0.2.1|||1|2|3|4|5", ERR_SYNTAX, "no kind of record: white"},
		{"\x01|", ERR_SYNTAX, "no kind of record: \\x01"},
		{"WHITE|192.0.2|||1|2|3|4|5", ERR_SYNTAX, "invalid ip address 192.0.2"},
		{"WHITE|192.0.2.1|x||1|2|3|4|5", ERR_SYNTAX, "a WHITE record with a text: x"},
		{"WHITE|192.0.2.1|||1|2|3|4", ERR_SYNTAX, "8 fields, expected 9"},
		{"WHITE|192.0.2.1|||1|2|3|4|5|6", ERR_SYNTAX, "10 fields, expected 9"},
		{"WHITE|192.0.2.1|||1|2|3|4|5|6|7", ERR_SYNTAX, "too many fields"},
		{"WHITE|192.0.2.1|||1|2|3|4|-1", ERR_SYNTAX, "not a number: -1"},
		{"WHITE|192.0.2.1|||1||3|4|5", ERR_SYNTAX, "not a number: "},
		{"WHITE|192.0.2.1|||1|2|281474976710656|4|5", ERR_RANGE,
		 "number out of range: 281474976710656"},
		{"WHITE|192.0.2.1|||1|2|3|4294967296|5", ERR_RANGE, "number out of range: 4294967296"},
		{"GREY|192.0.2.1|<a@b>|1|2|3|4|5", ERR_SYNTAX, "8 fields, expected 9"},
		{"GREY|192.0.2.1|a|b|c|d|1|2|3|4|5", ERR_SYNTAX, "too many fields"},
		{"TRAPPED|192.0.2.1", ERR_SYNTAX, "2 fields, expected 3"},
		{"TRAPPED|192.0.2.1|x", ERR_SYNTAX, "not a number: x"},
		{"SPAMTRAP|nobody", ERR_SYNTAX, "not an email address: nobody"},
		{"SPAMTRAP|<<a@b>", ERR_SYNTAX, "not an email address: <<a@b>"},
		{"SPAMTRAP|a@b>>", ERR_SYNTAX, "not an email address: a@b>>"},
		{"SPAMTRAP|a@b|1", ERR_SYNTAX, "3 fields, expected 2"},
		{"+WHITE|192.0.2.1|1|2|3|4|5|6", ERR_SYNTAX, "a record for import --merge"},
		{"-SPAMTRAP|a@b|1|2", ERR_SYNTAX, "a record for import --merge"},
		{"DOMAIN|example.org", ERR_UNSUPPORTED,
		 "a DOMAIN belongs into the file of allowed domains"},
	        // clang-format on
	};
	uint8_t buf[DUMP_TEXT_BYTES];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dump_record record;
		char why[DUMP_WHY_MAX];
		assert_int_equal(dump_parse(span_of_str(rows[i].line), buf, &record, why),
		                 rows[i].code);
		assert_string_equal(why, rows[i].why);
	}
}

static void too_long_texts_and_lines_are_refused(void **state)
{
	(void)state;
	static char text[DUMP_LINE_MAX + 64];
	uint8_t buf[DUMP_TEXT_BYTES];
	struct dump_record record;
	char why[DUMP_WHY_MAX];
	memset(text, 'a', sizeof text);
	assert_int_equal(dump_parse(span_of(text, sizeof text), buf, &record, why), ERR_TOO_LONG);
	int len = snprintf(text, sizeof text, "GREY|192.0.2.1|%*d|<a@b>|<c@d>|1|2|3|4|0",
	                   RECORD_STRING_MAX, 1);
	assert_int_equal(dump_parse(span_of(text, (size_t)len), buf, &record, why), 0);
	len = snprintf(text, sizeof text, "GREY|192.0.2.1|%*d|<a@b>|<c@d>|1|2|3|4|0",
	               RECORD_STRING_MAX + 1, 1);
	assert_int_equal(dump_parse(span_of(text, (size_t)len), buf, &record, why), ERR_TOO_LONG);
}

/* --- both ------------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 33;
}

/* Bytes that are likely to hurt, and any other. */
static struct span random_text(uint8_t *buf, size_t max, uint64_t *seed)
{
	static const uint8_t nasty[] = {'|', '\\', 'x', '\n', '\r', '0', '5', 'c', 'a', '<', 0};
	size_t len = next_random(seed) % (max + 1);
	for (size_t i = 0; i < len; i++) {
		uint64_t n = next_random(seed);
		buf[i] = n % 3 ? nasty[n / 3 % sizeof nasty] : (uint8_t)(n / 3);
	}
	return span_of(buf, len);
}

static struct store_row random_grey(uint8_t (*bufs)[RECORD_STRING_MAX], uint64_t *seed)
{
	/* mostly short, now and then the longest */
	size_t max = next_random(seed) % 50 ? 12 : RECORD_STRING_MAX;
	return (struct store_row){.kind = RECORD_GREY,
	                          .key.addr = addr_from_v4_be((uint32_t)next_random(seed)),
	                          .record = {.first = {(int64_t)next_random(seed)},
	                                     .pass = {(int64_t)next_random(seed) << 17},
	                                     .expire = {(INT64_C(1) << 48) - 1},
	                                     .bcount = (uint32_t)next_random(seed),
	                                     .pcount = UINT32_MAX},
	                          .text = {random_text(bufs[0], max, seed),
	                                   random_text(bufs[1], max, seed),
	                                   random_text(bufs[2], max, seed)}};
}

static void any_tuple_comes_back_as_it_was(void **state)
{
	(void)state;
	static uint8_t bufs[3][RECORD_STRING_MAX];
	uint8_t buf[DUMP_TEXT_BYTES];
	uint64_t seed = (uint64_t)clock_mono().ns;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int i = 0; i < N_RANDOM; i++) {
		struct store_row row = random_grey(bufs, &seed);
		struct span printed = print(&row);
		struct dump_record got;
		char why[DUMP_WHY_MAX];
		assert_ptr_equal(memchr(printed.ptr, '\n', printed.len),
		                 printed.ptr + printed.len - 1);
		assert_int_equal(dump_parse(span_of(printed.ptr, printed.len - 1), buf, &got, why),
		                 0);
		assert_true(addr_equal(&got.addr, &row.key.addr));
		assert_int_equal(got.record.first.secs, row.record.first.secs);
		assert_int_equal(got.record.pass.secs, row.record.pass.secs);
		assert_int_equal(got.record.expire.secs, row.record.expire.secs);
		assert_int_equal(got.record.bcount, row.record.bcount);
		assert_int_equal(got.record.pcount, row.record.pcount);
		assert_true(span_equal(got.text.helo, row.text.helo));
		assert_true(span_equal(got.text.sender, row.text.sender));
		assert_true(span_equal(got.text.recipient, row.text.recipient));
	}
}

/* A foreign line is printed in our way, and from then on it stays as it is. */
static void printing_what_was_read_is_stable(void **state)
{
	(void)state;
	static const char *const lines[] = {
	        "GREY|192.0.2.1|a\\b|<a@b>|<c@d>|1|2|3|4|0",
	        "GREY|192.0.2.1|a|b\\x7c|<a@b>|<c@d>|1|2|3|4|0",
	        "SPAMTRAP|TRAP@example.org",
	        "WHITE|::ffff:192.0.2.1|||1|2|3|4|5",
	};
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		char once[512];
		struct dump_record record = parse(lines[i]);
		struct store_row row = row_of(&record);
		struct span printed = print(&row);
		(void)span_to_str(span_of(printed.ptr, printed.len - 1), once, sizeof once);
		record = parse(once);
		row = row_of(&record);
		printed = print(&row);
		assert_int_equal(printed.len - 1, strlen(once));
		assert_memory_equal(printed.ptr, once, printed.len - 1);
	}
}

/* --- the merge form --------------------------------------------------------------------------- */

static const struct grey_record merge_record = {.first = {1000000},
                                                .pass = {1001500},
                                                .expire = {4110400},
                                                .changed_at = {1000700},
                                                .bcount = 2,
                                                .pcount = 5,
                                                .last = {1000600}};

static void assert_prints_merge(const struct store_row *row, const char *expected)
{
	struct span got = print_by(dump_print_merge, row);
	assert_int_equal(got.len, strlen(expected));
	assert_memory_equal(got.ptr, expected, got.len);
}

static void each_kind_has_its_line_in_the_merge_form(void **state)
{
	(void)state;
	struct store_row row = {.kind = RECORD_WHITE,
	                        .key.addr = address("192.0.2.1"),
	                        .record = merge_record,
	                        .text = {SPAN(""), SPAN(""), SPAN("")}};
	assert_prints_merge(&row, "+WHITE|192.0.2.1|1000700|1000000|1001500|4110400|2|5\n");
	row.record.is_deleted = true;
	assert_prints_merge(&row, "-WHITE|192.0.2.1|1000700|1000000|1001500|4110400|2|5\n");
	row.kind = RECORD_TRAPPED;
	row.key.addr = address("2001:db8::bad");
	assert_prints_merge(&row, "-TRAPPED|2001:db8::bad|1000700|1000000|1001500|4110400|2|5\n");
	row.kind = RECORD_GREY;
	row.text = (struct tuple_text){SPAN("m|x"), SPAN("<A@example.org>"), SPAN("<b@c>")};
	assert_prints_merge(&row, "-GREY|2001:db8::bad|m\\x7cx|<A@example.org>|<b@c>|1000700|"
	                          "1000000|1001500|4110400|2|5|1000600\n");
	row.kind = RECORD_TRAP_ADDRESS;
	row.record.is_deleted = false;
	row.text = (struct tuple_text){SPAN(""), SPAN(""), SPAN("trap@example.org")};
	assert_prints_merge(&row, "+SPAMTRAP|trap@example.org|1000700|1000000\n");
}

static void bad_lines_of_the_merge_form_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		int code;
		const char *why;
	} rows[] = {
	        // clang-format off
		{"", ERR_SYNTAX, "neither + nor - at its head"},
		{"WHITE|192.0.2.1|||1|2|3|4|5", ERR_SYNTAX, "neither + nor - at its head"},
		{"+", ERR_SYNTAX, "no kind of record: "},
		{"+DOMAIN|example.org", ERR_SYNTAX, "no kind of record: DOMAIN"},
		{"+WHITE|192.0.2.1|||1|2|3|4|5", ERR_SYNTAX, "9 fields, expected 8"},
		{"+WHITE|192.0.2|1|2|3|4|5|6", ERR_SYNTAX, "invalid ip address 192.0.2"},
		{"+WHITE|192.0.2.1|x|2|3|4|5|6", ERR_SYNTAX, "not a number: x"},
		{"+TRAPPED|192.0.2.1|5", ERR_SYNTAX, "3 fields, expected 8"},
		{"-TRAPPED|192.0.2.1|1|2|3|4|5|4294967296", ERR_RANGE,
		 "number out of range: 4294967296"},
		{"+GREY|192.0.2.1|h|<a@b>|<c@d>|1|2|3|4|5|6", ERR_SYNTAX,
		 "11 fields, expected 12"},
		{"+GREY|192.0.2.1|h|i|<a@b>|<c@d>|1|2|3|4|5|6|7", ERR_SYNTAX, "too many fields"},
		{"+GREY|192.0.2.1|h|<a@b>|<c@d>|1|2|3|4|5|6|-7", ERR_SYNTAX, "not a number: -7"},
		{"+SPAMTRAP|a@b", ERR_SYNTAX, "2 fields, expected 4"},
		{"+SPAMTRAP|ab|1|2", ERR_SYNTAX, "not an email address: ab"},
	        // clang-format on
	};
	uint8_t buf[DUMP_TEXT_BYTES];
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct dump_record record;
		char why[DUMP_WHY_MAX];
		assert_int_equal(dump_parse_merge(span_of_str(rows[i].line), buf, &record, why),
		                 rows[i].code);
		assert_string_equal(why, rows[i].why);
	}
}

static void assert_record(const struct grey_record *got, const struct grey_record *expected)
{
	assert_int_equal(got->first.secs, expected->first.secs);
	assert_int_equal(got->pass.secs, expected->pass.secs);
	assert_int_equal(got->expire.secs, expected->expire.secs);
	assert_int_equal(got->changed_at.secs, expected->changed_at.secs);
	assert_int_equal(got->last.secs, expected->last.secs);
	assert_int_equal(got->bcount, expected->bcount);
	assert_int_equal(got->pcount, expected->pcount);
	assert_int_equal(got->is_deleted, expected->is_deleted);
}

static void any_record_comes_back_whole_from_the_merge_form(void **state)
{
	(void)state;
	static uint8_t bufs[3][RECORD_STRING_MAX];
	uint8_t buf[DUMP_TEXT_BYTES];
	uint64_t seed = (uint64_t)clock_mono().ns;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (int i = 0; i < N_RANDOM; i++) {
		struct store_row row = random_grey(bufs, &seed);
		struct dump_record got;
		char why[DUMP_WHY_MAX];
		row.record.changed_at.secs = (int64_t)next_random(&seed);
		row.record.is_deleted = next_random(&seed) % 2;
		if (next_random(&seed) % 4 == 0) {
			row.kind = next_random(&seed) % 2 ? RECORD_WHITE : RECORD_TRAPPED;
			row.text = (struct tuple_text){SPAN(""), SPAN(""), SPAN("")};
		} else {
			row.record.last.secs = (int64_t)next_random(&seed);
		}
		struct span printed = print_by(dump_print_merge, &row);
		assert_int_equal(
		        dump_parse_merge(span_of(printed.ptr, printed.len - 1), buf, &got, why), 0);
		assert_int_equal(got.kind, row.kind);
		assert_true(addr_equal(&got.addr, &row.key.addr));
		assert_record(&got.record, &row.record);
		assert_true(span_equal(got.text.helo, row.text.helo));
		assert_true(span_equal(got.text.sender, row.text.sender));
		assert_true(span_equal(got.text.recipient, row.text.recipient));
	}
}

static void a_full_stream_is_told(void **state)
{
	(void)state;
	struct store_row row = {.kind = RECORD_TRAPPED};
	FILE *full = fopen("/dev/full", "w");
	assert_non_null(full);
	(void)setvbuf(full, NULL, _IONBF, 0);
	assert_int_equal(dump_print(&row, full), -ENOSPC);
	(void)fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(each_kind_has_spamdbs_line),
	        cmocka_unit_test(no_text_breaks_out_of_its_field),
	        cmocka_unit_test(lines_of_spamdb_are_read),
	        cmocka_unit_test(old_tuples_have_no_helo),
	        cmocka_unit_test(a_bare_pipe_of_a_foreign_dump_is_part_of_its_text),
	        cmocka_unit_test(a_backslash_that_is_no_escape_of_ours_is_a_backslash),
	        cmocka_unit_test(bad_lines_are_refused_with_a_reason),
	        cmocka_unit_test(too_long_texts_and_lines_are_refused),
	        cmocka_unit_test(any_tuple_comes_back_as_it_was),
	        cmocka_unit_test(printing_what_was_read_is_stable),
	        cmocka_unit_test(each_kind_has_its_line_in_the_merge_form),
	        cmocka_unit_test(bad_lines_of_the_merge_form_are_refused),
	        cmocka_unit_test(any_record_comes_back_whole_from_the_merge_form),
	        cmocka_unit_test(a_full_stream_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
