/* Texts and the renderer of list replies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "smtp/reply.h"

static struct reply_set set;

static void assert_reply(enum reply_id id, const char *text)
{
	struct span is = reply_text(&set, id);
	assert_int_equal(is.len, strlen(text));
	assert_memory_equal(is.ptr, text, is.len);
}

static void texts_are_rendered_with_host_and_name(void **state)
{
	(void)state;
	assert_int_equal(reply_set_init(&set, "%h ESMTP %n 100%%", "mx.example", "Postoffice"), 0);
	assert_reply(REPLY_BANNER, "220 mx.example ESMTP Postoffice 100%\r\n");
	assert_reply(REPLY_HELO, "250 mx.example\r\n");
	assert_reply(REPLY_DEFER, "451 Temporary failure, please try again later.\r\n");
	assert_reply(REPLY_BYE, "221 mx.example closing the connection\r\n");
	assert_reply(REPLY_NONE, "");
	assert_reply(REPLY_LISTED, "");
}

static void every_static_reply_is_one_line_with_its_code(void **state)
{
	(void)state;
	static const char *const codes[REPLY_COUNT] = {
	        [REPLY_BANNER] = "220 ",       [REPLY_HELO] = "250 ",
	        [REPLY_HELO_ARG] = "501 ",     [REPLY_SENDER] = "250 ",
	        [REPLY_RECIPIENT] = "250 ",    [REPLY_RESET] = "250 ",
	        [REPLY_NOOP] = "250 2.0.0",    [REPLY_DATA] = "354 ",
	        [REPLY_UNKNOWN] = "500 5.5.1", [REPLY_BYE] = "221 mx.example",
	        [REPLY_DEFER] = "451 ",
	};
	assert_int_equal(reply_set_init(&set, "%h ESMTP", "mx.example", "x"), 0);
	for (unsigned id = 0; id < REPLY_COUNT; id++) {
		if (!codes[id]) {
			continue;
		}
		struct span text = reply_text(&set, (enum reply_id)id);
		assert_true(span_starts_nocase(text, span_of_str(codes[id])));
		const uint8_t *lf = memchr(text.ptr, '\n', text.len);
		assert_ptr_equal(lf, text.ptr + text.len - 1);
		assert_int_equal(lf[-1], '\r');
	}
}

static void bad_banners_and_names_are_refused(void **state)
{
	(void)state;
	char long_name[REPLY_TEXT_MAX + 1];
	memset(long_name, 'x', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = '\0';
	assert_int_equal(reply_set_init(&set, "%q", "h", "n"), ERR_SYNTAX);
	assert_int_equal(reply_set_init(&set, "50%", "h", "n"), ERR_SYNTAX);
	assert_int_equal(reply_set_init(&set, "a\r\n250 b", "h", "n"), ERR_SYNTAX);
	assert_int_equal(reply_set_init(&set, "%h", "h\x7f", "n"), ERR_SYNTAX);
	assert_int_equal(reply_set_init(&set, "%h %n", "h", long_name), ERR_TOO_LONG);
	assert_int_equal(reply_set_init(&set, "%h %n", "h", "n"), 0);
}

static size_t render(const char *const *messages, size_t n, uint8_t *out, size_t size)
{
	struct span spans[8];
	struct addr addr;
	assert_int_equal(addr_parse(SPAN("192.0.2.33"), &addr), 0);
	for (size_t i = 0; i < n; i++) {
		spans[i] = span_of_str(messages[i]);
	}
	return reply_render_lists(&(struct reply_lists){spans, n, 450, &addr}, out, size, NULL);
}

static void messages_are_rendered(void **state)
{
	(void)state;
	static const struct {
		const char *messages[3];
		const char *reply;
	} rows[] = {
	        {{"plain"}, "450 plain\r\n"},
	        {{"\"quoted %A\""}, "450 quoted 192.0.2.33\r\n"},
	        {{"\"ends in break\\n\""}, "450 ends in break\r\n"},
	        {{"\"breaks\\n\\n\\n\""}, "450 breaks\r\n"},
	        {{"a\\nb\\nc"}, "450-a\r\n450-b\r\n450 c\r\n"},
	        {{"a\\n\\nc"}, "450-a\r\n450-\r\n450 c\r\n"},
	        {{"\\nlate"}, "450-\r\n450 late\r\n"},
	        {{"one", "two\\n", "three"}, "450-one\r\n450-two\r\n450 three\r\n"},
	        {{"%%"}, "450 %\r\n"},
	        {{"\\\\"}, "450 \\\r\n"},
	        {{"say \\\"hi\\\""}, "450 say \"hi\"\r\n"},
	        {{"\"say \\\"hi\\\"\""}, "450 say \"hi\"\r\n"},
	        {{"\\%A"}, "450 \\A\r\n"},
	        {{"%\\n"}, "450 %n\r\n"},
	        {{"%B \\q 50% off"}, "450 %B \\q 50% off\r\n"},
	        {{"ends in %"}, "450 ends in %\r\n"},
	        {{"ends in \\"}, "450 ends in \\\r\n"},
	        {{"lone\nline feed"}, "450-lone\r\n450 line feed\r\n"},
	        {{"bell\a cr\r tab\t."}, "450 bell  cr  tab .\r\n"},
	        {{"", "second"}, "450 second\r\n"},
	        {{"\"\"", "second"}, "450 second\r\n"},
	        {{"\""}, "450 Mail from your address is not accepted now\r\n"},
	        {{"\\n"}, "450 Mail from your address is not accepted now\r\n"},
	        {{NULL}, "450 Mail from your address is not accepted now\r\n"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint8_t out[512];
		size_t n = 0;
		while (n < 3 && rows[i].messages[n]) {
			n++;
		}
		size_t len = render(rows[i].messages, n, out, sizeof out);
		out[len] = '\0';
		assert_string_equal((char *)out, rows[i].reply);
	}
}

static void long_reply_is_cut_at_a_line_end(void **state)
{
	(void)state;
	const char *messages[] = {"first line of forty bytes, filled with xxx",
	                          "second line of forty bytes, filled with xx",
	                          "third line of forty bytes, filled with xxx"};
	uint8_t out[129];
	size_t len = render(messages, 3, out, 128);
	out[len] = '\0';
	assert_string_equal((char *)out, "450-first line of forty bytes, filled with xxx\r\n"
	                                 "450 second line of forty bytes, filled with xx\r\n");
}

static void first_line_that_is_too_long_is_cut(void **state)
{
	(void)state;
	char message[1000];
	memset(message, 'x', sizeof message - 1);
	message[sizeof message - 1] = '\0';
	const char *messages[] = {message, "second"};
	uint8_t out[128];
	size_t len = render(messages, 2, out, sizeof out);
	assert_int_equal(len, 128);
	assert_memory_equal(out, "450 xxx", 7);
	assert_memory_equal(out + 125, "x\r\n", 3);
}

/* Every size and every length of two lines, around the bound. */
static void reply_is_well_formed_at_every_size(void **state)
{
	(void)state;
	for (size_t size = 128; size < 160; size++) {
		for (size_t n = 80; n < 160; n++) {
			char message[200];
			memset(message, 'y', n);
			message[n] = '\0';
			const char *messages[] = {message, "abc", "d\\n\\n\\ne"};
			uint8_t out[160];
			size_t len = render(messages, 3, out, size);
			assert_in_range(len, 6, size);
			assert_memory_equal(out + len - 2, "\r\n", 2);
			size_t start = 0;
			while (start < len) {
				const uint8_t *lf = memchr(out + start, '\n', len - start);
				assert_non_null(lf);
				size_t next = (size_t)(lf + 1 - out);
				assert_memory_equal(out + start, "450", 3);
				assert_int_equal(out[start + 3], next == len ? ' ' : '-');
				start = next;
			}
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(texts_are_rendered_with_host_and_name),
	        cmocka_unit_test(every_static_reply_is_one_line_with_its_code),
	        cmocka_unit_test(bad_banners_and_names_are_refused),
	        cmocka_unit_test(messages_are_rendered),
	        cmocka_unit_test(long_reply_is_cut_at_a_line_end),
	        cmocka_unit_test(first_line_that_is_too_long_is_cut),
	        cmocka_unit_test(reply_is_well_formed_at_every_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
