/* What the keeper notes of what it does to hosts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "keeper/events.h"
#include "keeper_world.h"

enum { V6_BITS = 64, KEPT = 64 };

static const struct world_tuple mail = {"192.0.2.1", "mail.example", "<a@sender.example>",
                                        "<b@mx.example>", 0};

static int setup(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	assert_non_null(world);
	world_init(world);
	world->attempts = events_new(KEPT);
	world->turns = events_new(KEPT);
	*state = world;
	return 0;
}

static int teardown(void **state)
{
	struct world *world = *state;
	world_fini(world);
	events_free(world->attempts);
	events_free(world->turns);
	free(world);
	return 0;
}

/* The newest event of the address in a ring that has n of it. */
static struct event newest(const struct events *ring, const char *text, unsigned n)
{
	struct event found[KEPT];
	const struct addr addr = world_addr(text);
	assert_int_equal(events_find(ring, &addr, V6_BITS, found, KEPT), n);
	assert_true(n > 0);
	return found[0];
}

static void assert_event(const struct event *event, enum event_kind kind, enum event_by by,
                         const char *text)
{
	assert_int_equal(event->kind, kind);
	assert_int_equal(event->by, by);
	assert_int_equal(event->text_len, strlen(text));
	assert_memory_equal(event->text, text, strlen(text));
	assert_true(world_now_secs() - event->at.secs <= 60);
}

static void attempts_are_noted_and_a_promotion_is_a_turn(void **state)
{
	struct world *world = *state;
	world->conf.passtime_secs = 1;
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &mail);
	struct event event = newest(world->attempts, mail.addr, 1);
	assert_event(&event, EVENT_NEW, EVENT_BY_CLIENT, mail.recipient);
	(void)world_ask(world, KEEPER_TUPLE, &mail);
	event = newest(world->attempts, mail.addr, 2);
	assert_event(&event, EVENT_EARLY, EVENT_BY_CLIENT, mail.recipient);
	world_sleep_ms(2100);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &mail).host, CACHE_WHITE);
	event = newest(world->turns, mail.addr, 1);
	assert_event(&event, EVENT_PASSED, EVENT_BY_CLIENT, mail.recipient);
	(void)world_ask(world, KEEPER_TUPLE, &mail);
	event = newest(world->attempts, mail.addr, 2); /* of a white host none is */
	assert_event(&event, EVENT_EARLY, EVENT_BY_CLIENT, mail.recipient);
}

static void a_trap_hit_is_noted_with_its_recipient(void **state)
{
	struct world *world = *state;
	struct world_tuple hit = mail;
	hit.flags = KEEPER_IS_TRAP;
	hit.recipient = "<bait@mx.example>";
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &hit);
	struct event event = newest(world->turns, hit.addr, 1);
	assert_event(&event, EVENT_TRAPPED, EVENT_BY_CLIENT, hit.recipient);
}

static void changes_from_outside_are_noted_with_their_author(void **state)
{
	struct world *world = *state;
	const struct addr addr = world_addr("192.0.2.7");
	const struct wall in_an_hour = {world_now_secs() + 3600};
	const struct wall soon = {world_now_secs() + 10};
	const struct {
		struct change change;
		enum event_kind kind;
		enum event_by by;
	} rows[] = {
	        {{.kind = CHANGE_WHITE}, EVENT_WHITE, EVENT_BY_ADMIN},
	        {{.kind = CHANGE_SEEN, .count = 1, .life_secs = 3600},
	         EVENT_WHITE,
	         EVENT_BY_TRAFFIC},
	        {{.kind = CHANGE_DELIST}, EVENT_DELISTED, EVENT_BY_LIST},
	        {{.kind = CHANGE_TRAPPED}, EVENT_TRAPPED, EVENT_BY_ADMIN},
	        {{.kind = CHANGE_DELETE}, EVENT_DELETED, EVENT_BY_ADMIN},
	        {{.kind = CHANGE_PEER_HOST,
	          .record_kind = RECORD_WHITE,
	          .record = {.expire = in_an_hour, .changed_at = soon}},
	         EVENT_WHITE,
	         EVENT_BY_PEER},
	};
	world_start(world);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct change change = rows[i].change;
		change.has_addr = true;
		change.addr = addr;
		assert_int_equal(world_change(world, 0, &change, i + 1).ret, 0);
		struct event event = newest(world->turns, "192.0.2.7", (unsigned)i + 1);
		assert_event(&event, rows[i].kind, rows[i].by, "");
	}
}

static void what_changes_nothing_is_not_noted(void **state)
{
	struct world *world = *state;
	struct event found[KEPT];
	const struct change deletion = {
	        .kind = CHANGE_DELETE, .has_addr = true, .addr = world_addr("192.0.2.8")};
	world_start(world);
	assert_int_not_equal(world_change(world, 0, &deletion, 1).ret, 0);
	assert_int_equal(events_find(world->turns, &deletion.addr, V6_BITS, found, KEPT), 0);
}

static void the_end_of_a_life_is_noted(void **state)
{
	struct world *world = *state;
	struct event found[KEPT];
	const struct addr addr = world_addr(mail.addr);
	world->conf.passtime_secs = 1;
	world->conf.greyexp_secs = 1;
	world_start(world);
	(void)world_ask(world, KEEPER_TUPLE, &mail);
	assert_true(world_reaches(world, COUNTER_expired_tuples, 1));
	unsigned n = 0;
	for (int i = 0; i < WORLD_WAIT_MS && n < 2; i++) {
		n = events_find(world->attempts, &addr, V6_BITS, found, KEPT);
		world_sleep_ms(1);
	}
	assert_int_equal(n, 2);
	assert_event(&found[0], EVENT_FORGOTTEN, EVENT_BY_TIME, "");
}

static void a_white_host_that_is_asserted_again_is_noted(void **state)
{
	struct world *world = *state;
	const struct change white = {
	        .kind = CHANGE_WHITE, .has_addr = true, .addr = world_addr(mail.addr)};
	world_start(world);
	assert_int_equal(world_change(world, 0, &white, 1).ret, 0);
	assert_int_equal(world_ask(world, KEEPER_HOST, &mail).host, CACHE_WHITE);
	assert_int_equal(world_ask(world, KEEPER_TUPLE, &mail).host, CACHE_WHITE);
	struct event event = newest(world->turns, mail.addr, 2);
	assert_event(&event, EVENT_REASSERTED, EVENT_BY_CLIENT, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(attempts_are_noted_and_a_promotion_is_a_turn, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_trap_hit_is_noted_with_its_recipient, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(changes_from_outside_are_noted_with_their_author,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(what_changes_nothing_is_not_noted, setup, teardown),
	        cmocka_unit_test_setup_teardown(the_end_of_a_life_is_noted, setup, teardown),
	        cmocka_unit_test_setup_teardown(a_white_host_that_is_asserted_again_is_noted, setup,
	                                        teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
