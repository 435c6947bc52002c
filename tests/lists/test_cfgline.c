/* Lines of the spamd-cfg protocol: both forms, what is refused, and the way there and back. */
#include "lists/cfgline.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"

enum { N_MAX = 5, N_ROUNDS = 500, SEED = 99 };

static void parse(const char *line, struct cfgline *out)
{
	char why[CFGLINE_WHY_MAX] = "";
	int ret = cfgline_parse(span_of_str(line), N_MAX, out, why);
	if (ret) {
		print_error("%s: %s\n", line, why);
	}
	assert_int_equal(ret, 0);
}

static void check_cidrs(const struct cfgline *line, const char *want)
{
	char got[512] = "";
	char text[CIDR_TEXT_MAX];
	for (size_t i = 0; i < line->n; i++) {
		(void)snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i ? " " : "",
		               cidr_format(&line->cidrs[i], text));
	}
	assert_string_equal(got, want);
}

static void a_good_line_gives_name_text_and_networks(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		const char *tag;
		const char *text;
		const char *cidrs;
	} rows[] = {
	        {"a;\"t\";inet;2;192.0.2.0/24;198.51.100.1/32;inet6;1;2001:db8::/32;", "a", "t",
	         "192.0.2.0/24 198.51.100.1/32 2001:db8::/32"},
	        {"a;\"t\";inet;1;192.0.2.0/24", "a", "t", "192.0.2.0/24"},
	        {"a;\"t\";inet6;1;2001:db8::/32;inet;1;1.2.3.4/32", "a", "t",
	         "2001:db8::/32 1.2.3.4/32"},
	        {"a;\"t\";inet;0;inet6;1;2001:db8::/32", "a", "t", "2001:db8::/32"},
	        {"a;\"t\";inet;1;192.0.2.7/24;", "a", "t", "192.0.2.0/24"},
	        {"a b;\"x;y;inet;1\";192.0.2.0/24;198.51.100.1/32", "a b", "x;y;inet;1",
	         "192.0.2.0/24 198.51.100.1/32"},
	        {"a;\"say \\\"no\\\"\\n\";192.0.2.0/24;2001:db8::/32;", "a", "say \\\"no\\\"\\n",
	         "192.0.2.0/24 2001:db8::/32"},
	        {"a;\"\";1.2.3.4/1", "a", "", "0.0.0.0/1"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct cfgline line;
		parse(rows[i].line, &line);
		assert_false(line.is_clear);
		assert_true(span_equal(line.tag, span_of_str(rows[i].tag)));
		assert_true(span_equal(line.text, span_of_str(rows[i].text)));
		check_cidrs(&line, rows[i].cidrs);
		cfgline_fini(&line);
	}
}

static void a_name_alone_clears_the_list(void **state)
{
	(void)state;
	struct cfgline line;
	parse("uatraps;", &line);
	assert_true(line.is_clear);
	assert_true(span_equal(line.tag, SPAN("uatraps")));
	assert_int_equal(line.n, 0);
	cfgline_fini(&line);
}

static void a_bad_line_is_refused_as_a_whole_with_the_reason(void **state)
{
	(void)state;
	static const struct {
		const char *line;
		int code;
		const char *why;
	} rows[] = {
	        {"", ERR_SYNTAX, "no ; behind the name of the list"},
	        {"a", ERR_SYNTAX, "no ; behind the name of the list"},
	        {";\"t\";1.2.3.4/32", ERR_SYNTAX, "no name of the list"},
	        {"a\tb;\"t\";1.2.3.4/32", ERR_SYNTAX, "\"a\\x09b\": control character in the name"},
	        {"a;t;1.2.3.4/32", ERR_SYNTAX, "the text does not begin with a quote"},
	        {"a;\"t;1.2.3.4/32", ERR_SYNTAX, "the text has no end"},
	        {"a;\"t\\\";1.2.3.4/32", ERR_SYNTAX, "the text has no end"},
	        {"a;\"", ERR_SYNTAX, "the text has no end"},
	        {"a;\"t\"1.2.3.4/32", ERR_SYNTAX, "no ; behind the text"},
	        {"a;\"t\"", ERR_SYNTAX, "no ; behind the text"},
	        {"a;\"t\";", ERR_SYNTAX, "no networks"},
	        {"a;\"t\";inet;0", ERR_SYNTAX, "no networks"},
	        {"a;\"t\";inet;2;1.2.3.4/32", ERR_TRUNCATED, "1 networks of 2"},
	        {"a;\"t\";inet;1;1.2.3.4/32;5.6.7.8/32", ERR_SYNTAX, "\"5.6.7.8/32\": no family"},
	        {"a;\"t\";inet;1;1.2.3.4/32;inet;1;5.6.7.8/32", ERR_SYNTAX,
	         "\"inet\": given twice"},
	        {"a;\"t\";inet;x;1.2.3.4/32", ERR_SYNTAX, "\"x\": no count of networks"},
	        {"a;\"t\";inet;4294967296;1.2.3.4/32", ERR_RANGE,
	         "\"4294967296\": no count of networks"},
	        {"a;\"t\";inet;4294967295;1.2.3.4/32", ERR_TOO_LONG, "more than 5 networks"},
	        {"a;\"t\";inet6;1;1.2.3.4/32", ERR_SYNTAX, "\"1.2.3.4/32\": of the other family"},
	        {"a;\"t\";inet;1;2001:db8::/32", ERR_SYNTAX,
	         "\"2001:db8::/32\": of the other family"},
	        {"a;\"t\";1.2.3.4/0", ERR_RANGE, "\"1.2.3.4/0\": length out of range"},
	        {"a;\"t\";1.2.3.4/33", ERR_RANGE, "\"1.2.3.4/33\": length out of range"},
	        {"a;\"t\";::/0", ERR_RANGE, "\"::/0\": length out of range"},
	        {"a;\"t\";1.2.3.4", ERR_SYNTAX, "\"1.2.3.4\": no length"},
	        {"a;\"t\";1.2.3.4/32;;5.6.7.8/32", ERR_SYNTAX, "network 2 is empty"},
	        {"a;\"t\";1.2.3.4/32;nonsense/3", ERR_SYNTAX, "\"nonsense/3\": no network"},
	        {"a;\"t\";1.1.1.1/32;1.1.1.2/32;1.1.1.3/32;1.1.1.4/32;1.1.1.5/32;1.1.1.6/32",
	         ERR_TOO_LONG, "more than 5 networks"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char why[CFGLINE_WHY_MAX] = "";
		struct cfgline line = {.n = 77};
		assert_int_equal(cfgline_parse(span_of_str(rows[i].line), N_MAX, &line, why),
		                 rows[i].code);
		assert_string_equal(why, rows[i].why);
		assert_int_equal(line.n, 77);
	}
}

static void name_and_text_have_bounds(void **state)
{
	(void)state;
	static const struct {
		int tag_len;
		int text_len;
		int ret;
	} rows[] = {{CFGLINE_TAG_MAX, CFGLINE_TEXT_MAX, 0},
	            {CFGLINE_TAG_MAX + 1, 1, ERR_TOO_LONG},
	            {1, CFGLINE_TEXT_MAX + 1, ERR_TOO_LONG}};
	static char filler[CFGLINE_TEXT_MAX + 1];
	memset(filler, 'x', sizeof filler);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		static char text[2 * CFGLINE_TEXT_MAX];
		char why[CFGLINE_WHY_MAX];
		struct cfgline line;
		(void)snprintf(text, sizeof text, "%.*s;\"%.*s\";1.2.3.4/32", rows[i].tag_len,
		               filler, rows[i].text_len, filler);
		assert_int_equal(cfgline_parse(span_of_str(text), N_MAX, &line, why), rows[i].ret);
		if (rows[i].ret == 0) {
			cfgline_fini(&line);
		}
	}
}

/* What a writer wrote, without its LF. */
struct written {
	char *text;
	size_t len;
};

static struct written written_decoded(const char *text, const struct cidr *cidrs, size_t n)
{
	struct written out;
	FILE *file = open_memstream(&out.text, &out.len);
	assert_int_equal(cfgline_write_decoded(file, "tag", text, cidrs, n), 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(out.text[--out.len], '\n');
	out.text[out.len] = '\0';
	return out;
}

static void a_decoded_text_is_escaped_as_spamd_setup_does(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		const char *want;
	} rows[] = {
	        {"plain %A", "plain %A"},
	        {"two\nlines\r\n", "two\\nlines\\n"},
	        {"a \"q\"", "a \\\"q\\\""},
	        {"back\\nslash", "back\\nslash"},
	        {"ends\\", "ends\\ "},
	        {"", ""},
	        {"100%\n%A", "100% \\n%A"},
	        {"c:\\\r\nx", "c:\\ \\nx"},
	        {"50%", "50% "},
	        {"\r", "\r"},
	};
	struct cidr cidr;
	assert_int_equal(cidr_parse(SPAN("192.0.2.0/24"), &cidr, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char want[100];
		struct cfgline line;
		struct written out = written_decoded(rows[i].text, &cidr, 1);
		(void)snprintf(want, sizeof want, "tag;\"%s\";inet;1;192.0.2.0/24", rows[i].want);
		assert_string_equal(out.text, want);
		parse(out.text, &line);
		assert_true(span_equal(line.text, span_of_str(rows[i].want)));
		cfgline_fini(&line);
		free(out.text);
	}
}

static struct cidr random_cidr(void)
{
	struct addr addr;
	struct cidr cidr;
	char text[CIDR_TEXT_MAX];
	char host[ADDR_TEXT_MAX];
	for (size_t i = 0; i < sizeof addr.bytes; i++) {
		addr.bytes[i] = (uint8_t)random();
	}
	if (random() % 2) {
		addr = addr_from_v4_be((uint32_t)random());
	}
	unsigned most = addr_is_v4(&addr) ? 32 : 128;
	(void)snprintf(text, sizeof text, "%s/%u", addr_format(&addr, host),
	               1 + (unsigned)random() % most);
	assert_int_equal(cidr_parse(span_of_str(text), &cidr, NULL), 0);
	return cidr;
}

static void what_is_written_is_read_again(void **state)
{
	(void)state;
	static const char letters[] = "ab;\"\\\n% \tinet";
	srandom(SEED);
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		char text[40];
		struct cidr cidrs[N_MAX];
		struct cfgline line;
		struct cfgline again;
		size_t len = (size_t)random() % sizeof text;
		size_t n = 1 + (size_t)random() % N_MAX;
		for (size_t i = 0; i < len; i++) {
			text[i] = letters[(size_t)random() % (sizeof letters - 1)];
		}
		text[len] = '\0';
		for (size_t i = 0; i < n; i++) {
			cidrs[i] = random_cidr();
		}
		struct written first = written_decoded(text, cidrs, n);
		struct written second;
		parse(first.text, &line);
		assert_int_equal(line.n, n);
		FILE *file = open_memstream(&second.text, &second.len);
		assert_int_equal(cfgline_write(file, &line), 0);
		assert_int_equal(fclose(file), 0);
		second.text[second.len - 1] = '\0';
		assert_string_equal(second.text, first.text);
		parse(second.text, &again);
		assert_memory_equal(again.cidrs, line.cidrs, n * sizeof *cidrs);
		cfgline_fini(&line);
		cfgline_fini(&again);
		free(first.text);
		free(second.text);
	}
}

static void a_full_disk_is_an_error_of_the_writer(void **state)
{
	(void)state;
	struct cidr cidr;
	FILE *full = fopen("/dev/full", "w");
	assert_non_null(full);
	assert_int_equal(cidr_parse(SPAN("192.0.2.0/24"), &cidr, NULL), 0);
	assert_int_equal(cfgline_write_decoded(full, "tag", "text", &cidr, 1), -ENOSPC);
	(void)fclose(full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_good_line_gives_name_text_and_networks),
	        cmocka_unit_test(a_name_alone_clears_the_list),
	        cmocka_unit_test(a_bad_line_is_refused_as_a_whole_with_the_reason),
	        cmocka_unit_test(name_and_text_have_bounds),
	        cmocka_unit_test(a_decoded_text_is_escaped_as_spamd_setup_does),
	        cmocka_unit_test(what_is_written_is_read_again),
	        cmocka_unit_test(a_full_disk_is_an_error_of_the_writer),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
