/* The ring of what happened lately. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/thread.h"
#include "keeper/events.h"

enum { V6_BITS = 64, FOUND_MAX = 16 };

static struct addr addr_of(const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	return addr;
}

static void add(struct events *events, const char *addr, int64_t at_secs, const char *text)
{
	const struct event event = {
	        .addr = addr_of(addr), .at = {at_secs}, .kind = EVENT_EARLY, .by = EVENT_BY_PEER};
	events_add(events, &event, span_of_str(text));
}

static unsigned find(const struct events *events, const char *addr, struct event *out)
{
	const struct addr wanted = addr_of(addr);
	return events_find(events, &wanted, V6_BITS, out, FOUND_MAX);
}

static void events_of_an_address_come_newest_first_and_whole(void **state)
{
	(void)state;
	struct event found[FOUND_MAX];
	struct events *events = events_new(8);
	assert_non_null(events);
	assert_int_equal(find(events, "192.0.2.1", found), 0);
	add(events, "192.0.2.1", 1000, "one@a.example");
	add(events, "192.0.2.2", 1001, "");
	add(events, "192.0.2.1", 4294967295, "");
	assert_int_equal(find(events, "192.0.2.1", found), 2);
	assert_int_equal(found[0].at.secs, 4294967295);
	assert_int_equal(found[0].text_len, 0);
	assert_int_equal(found[1].at.secs, 1000);
	assert_int_equal(found[1].kind, EVENT_EARLY);
	assert_int_equal(found[1].by, EVENT_BY_PEER);
	assert_memory_equal(found[1].text, "one@a.example", 13);
	assert_int_equal(found[1].text_len, 13);
	assert_false(found[1].is_cut);
	events_free(events);
}

static void a_text_is_cut_and_says_so(void **state)
{
	(void)state;
	static const char *const text = "0123456789abcdef0123456789abcdef";
	char longer[EVENT_TEXT_MAX + 2];
	struct event found[FOUND_MAX];
	struct events *events = events_new(4);
	add(events, "192.0.2.1", 1, text);
	(void)snprintf(longer, sizeof longer, "%sx", text);
	add(events, "192.0.2.1", 2, longer);
	assert_int_equal(find(events, "192.0.2.1", found), 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(found[i].text_len, EVENT_TEXT_MAX);
		assert_memory_equal(found[i].text, text, EVENT_TEXT_MAX);
		assert_int_equal(found[i].is_cut, i == 0);
	}
	events_free(events);
}

static void the_newest_overwrite_the_oldest(void **state)
{
	(void)state;
	struct event found[FOUND_MAX];
	struct events *events = events_new(5); /* rounded up to 8 */
	for (int i = 0; i < 20; i++) {
		add(events, "192.0.2.1", i, "");
	}
	assert_int_equal(find(events, "192.0.2.1", found), 8);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(found[i].at.secs, 19 - i);
	}
	events_free(events);
}

static void ipv6_hosts_are_found_by_their_network(void **state)
{
	(void)state;
	struct event found[FOUND_MAX];
	struct events *events = events_new(8);
	add(events, "2001:db8:0:1::a", 1, "");
	add(events, "2001:db8:0:1::b", 2, "");
	add(events, "2001:db8:0:2::a", 3, "");
	add(events, "192.0.2.1", 4, "");
	add(events, "::c000:201", 5, "");
	assert_int_equal(find(events, "2001:db8:0:1::c", found), 2);
	assert_int_equal(found[0].at.secs, 2);
	assert_int_equal(find(events, "192.0.2.1", found), 1);
	assert_int_equal(found[0].at.secs, 4);
	assert_int_equal(find(events, "::", found), 1); /* IPv4 is not of its network */
	assert_int_equal(found[0].at.secs, 5);
	events_free(events);
}

static void nobody_asks_and_nothing_is_kept(void **state)
{
	(void)state;
	struct event found[FOUND_MAX];
	add(NULL, "192.0.2.1", 1, "");
	assert_int_equal(find(NULL, "192.0.2.1", found), 0);
}

/* --- beside a writer -------------------------------------------------------------------------- */

enum { N_WRITTEN = 200000 };

/* The second is in the address and in the text, so that a mixture shows. */
static void *write_many(void *arg)
{
	struct events *events = arg;
	for (uint32_t i = 0; i < N_WRITTEN; i++) {
		char text[EVENT_TEXT_MAX + 1];
		struct event event = {.addr = addr_from_v4_be(i & 1 ? 0x01020304 : 0x05060708),
		                      .at = {i},
		                      .kind = EVENT_NEW,
		                      .by = EVENT_BY_CLIENT};
		int n = snprintf(text, sizeof text, "%032u", i);
		events_add(events, &event, span_of(text, (size_t)n));
	}
	return NULL;
}

static void a_reader_beside_the_writer_sees_whole_events_only(void **state)
{
	(void)state;
	pthread_t thread;
	struct event found[FOUND_MAX];
	struct events *events = events_new(64);
	const struct addr odd = addr_from_v4_be(0x01020304);
	assert_int_equal(thread_start(&thread, "writer", write_many, events), 0);
	for (int round = 0; round < 2000; round++) {
		unsigned n = events_find(events, &odd, V6_BITS, found, FOUND_MAX);
		for (unsigned i = 0; i < n; i++) {
			char text[EVENT_TEXT_MAX + 1];
			(void)snprintf(text, sizeof text, "%032u", (unsigned)found[i].at.secs);
			assert_int_equal(found[i].at.secs & 1, 1);
			assert_int_equal(found[i].text_len, EVENT_TEXT_MAX);
			assert_memory_equal(found[i].text, text, EVENT_TEXT_MAX);
		}
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(events_find(events, &odd, V6_BITS, found, FOUND_MAX), FOUND_MAX);
	assert_int_equal(found[0].at.secs, N_WRITTEN - 1);
	events_free(events);
}

static void every_kind_and_author_has_a_name(void **state)
{
	(void)state;
	for (int i = 0; i < EVENT_KIND_COUNT; i++) {
		assert_true(strlen(event_kind_name((enum event_kind)i)) > 0);
	}
	for (int i = 0; i < EVENT_BY_COUNT; i++) {
		assert_true(strlen(event_by_name((enum event_by)i)) > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(events_of_an_address_come_newest_first_and_whole),
	        cmocka_unit_test(a_text_is_cut_and_says_so),
	        cmocka_unit_test(the_newest_overwrite_the_oldest),
	        cmocka_unit_test(ipv6_hosts_are_found_by_their_network),
	        cmocka_unit_test(nobody_asks_and_nothing_is_kept),
	        cmocka_unit_test(a_reader_beside_the_writer_sees_whole_events_only),
	        cmocka_unit_test(every_kind_and_author_has_a_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
