/* Lines and bodies of a control client, byte by byte, without a socket. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "ctl/inbox.h"

static void put(struct inbox *inbox, const char *text)
{
	for (size_t left = strlen(text); left > 0;) {
		char *room;
		size_t n;
		assert_int_equal(inbox_room(inbox, &room, &n), 0);
		n = n < left ? n : left;
		memcpy(room, text, n);
		inbox_put(inbox, n);
		text += n;
		left -= n;
	}
}

static void assert_line(struct inbox *inbox, const char *text)
{
	struct span line;
	assert_true(inbox_line(inbox, &line));
	assert_true(span_equal(line, span_of_str(text)));
	inbox_drop_line(inbox);
}

static void lines_and_bodies_follow_each_other(void **state)
{
	struct inbox_budget budget = {1000};
	struct inbox inbox;
	struct span line;
	size_t len;
	(void)state;
	inbox_init(&inbox, &budget);
	put(&inbox, "one\ntwo\nabcthree\nfo");
	assert_line(&inbox, "one");
	assert_line(&inbox, "two");
	assert_int_equal(inbox_expect(&inbox, 3), 0);
	assert_true(inbox_has_body(&inbox));
	char *body = inbox_take_body(&inbox, &len);
	assert_string_equal(body, "abc");
	assert_int_equal(len, 3);
	free(body);
	assert_line(&inbox, "three");
	assert_false(inbox_line(&inbox, &line));
	put(&inbox, "ur\n");
	assert_line(&inbox, "four");
	inbox_fini(&inbox);
	assert_int_equal(budget.left_bytes, 1000);
}

static void a_bodys_memory_grows_with_its_bytes_until_it_is_believed(void **state)
{
	enum { LEN = 3 * INBOX_BODY_BELIEVED };
	struct inbox_budget budget = {LEN};
	struct inbox inbox;
	char *room;
	size_t n;
	size_t len = 0;
	(void)state;
	inbox_init(&inbox, &budget);
	assert_int_equal(inbox_expect(&inbox, LEN), 0);
	for (size_t sent = 0; sent < LEN; sent += n) {
		assert_false(inbox_has_body(&inbox));
		assert_int_equal(inbox_room(&inbox, &room, &n), 0);
		size_t held = LEN - budget.left_bytes;
		assert_true(held <= INBOX_BODY_FIRST || held <= 2 * sent ||
		            sent >= INBOX_BODY_BELIEVED);
		n = n < 5000 ? n : 5000;
		memset(room, 'x', n);
		inbox_put(&inbox, n);
	}
	char *body = inbox_take_body(&inbox, &len);
	assert_int_equal(len, LEN);
	assert_int_equal(strlen(body), LEN);
	free(body);
	assert_int_equal(budget.left_bytes, LEN);
	inbox_fini(&inbox);
}

static void all_bodies_together_are_bounded(void **state)
{
	struct inbox_budget budget = {INBOX_BODY_FIRST + 10};
	struct inbox first, second;
	char *room;
	size_t n;
	(void)state;
	inbox_init(&first, &budget);
	inbox_init(&second, &budget);
	assert_int_equal(inbox_expect(&first, INBOX_BODY_FIRST), 0);
	assert_int_equal(inbox_expect(&second, 11), -ENOMEM);
	assert_int_equal(inbox_expect(&second, 10), 0);
	inbox_fini(&second);
	inbox_fini(&first);
	assert_int_equal(inbox_expect(&first, 2 * (size_t)INBOX_BODY_FIRST), 0);
	assert_int_equal(inbox_room(&first, &room, &n), 0);
	memset(room, 'x', n);
	inbox_put(&first, n);
	assert_int_equal(inbox_room(&first, &room, &n), -ENOMEM);
	inbox_clear(&first);
	assert_int_equal(budget.left_bytes, INBOX_BODY_FIRST + 10);
}

static void a_line_that_does_not_end_has_no_room(void **state)
{
	struct inbox_budget budget = {0};
	struct inbox inbox;
	char *room;
	size_t n;
	(void)state;
	inbox_init(&inbox, &budget);
	assert_int_equal(inbox_room(&inbox, &room, &n), 0);
	assert_int_equal(n, MIRED_CTL_REQUEST_MAX);
	memset(room, 'a', n);
	inbox_put(&inbox, n);
	assert_int_equal(inbox_room(&inbox, &room, &n), ERR_TOO_LONG);
	inbox_clear(&inbox);
	assert_int_equal(inbox_room(&inbox, &room, &n), 0);
	inbox_fini(&inbox);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(lines_and_bodies_follow_each_other),
	        cmocka_unit_test(a_bodys_memory_grows_with_its_bytes_until_it_is_believed),
	        cmocka_unit_test(all_bodies_together_are_bounded),
	        cmocka_unit_test(a_line_that_does_not_end_has_no_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
