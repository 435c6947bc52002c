/* What an engine says of an address, over a real store that the keeper fills. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../keeper/keeper_world.h"
#include "base/compiler.h"
#include "engine/engine.h"
#include "engine/why.h"

enum { PASSTIME = 1500, GREYEXP = 14400, SHOWN_MAX = 8, ABOUT_SECS = 60 };

static const char HOST[] = "192.0.2.1";

struct shown {
	char lists[128]; /* their names, a blank behind each */
	struct why_tuple tuples[SHOWN_MAX];
	char helos[SHOWN_MAX][32];
	unsigned n_tuples;
	unsigned n_others; /* of the many */
	struct event events[SHOWN_MAX];
	unsigned n_events;
};

struct fixture {
	struct conf conf;
	char dir[64];
	struct engine *engine;
	uint64_t cookie;
	struct shown shown;
	struct why why;
};

static void load_conf(struct fixture *fix)
{
	char path[80];
	char why[CONF_ERROR_MAX] = "";
	(void)snprintf(path, sizeof path, "%s/conf", fix->dir);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fprintf(file,
	                    "state-dir = \"%s\"\nworkers = 1\nmax-connections = 1000\n"
	                    "store-map = 64m\npasstime = %ds\ngreyexp = %ds\n"
	                    "host-cache = 4096\ntuple-cache = 4096\ntrap-text = \"Trapped %%A\"\n",
	                    fix->dir, PASSTIME, GREYEXP) > 0);
	assert_int_equal(fclose(file), 0);
	if (conf_load(&fix->conf, NULL, path, 0, NULL, why) != 0) {
		fail_msg("%s", why);
	}
}

static void start(struct fixture *fix, const char *domains)
{
	char why[ENGINE_WHY_MAX] = "";
	struct engine_given given = {.domains = span_of_str(domains), .sync_socket = -1};
	if (engine_start(&fix->engine, &fix->conf, &given, why) != 0) {
		fail_msg("%s", why);
	}
}

static int setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	(void)snprintf(fix->dir, sizeof fix->dir, "/tmp/mired-test-XXXXXX");
	assert_non_null(mkdtemp(fix->dir));
	load_conf(fix);
	*state = fix;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fix = *state;
	if (fix->engine) {
		engine_stop(fix->engine);
	}
	conf_fini(&fix->conf);
	world_remove_dir(fix->dir);
	free(fix);
	return 0;
}

/* --- filling ---------------------------------------------------------------------------------- */

/* Until the last thing that was handed over is. */
static void wait_until_answered(struct fixture *fix)
{
	struct engine_result result = {.cookie = 0};
	for (int i = 0; i < WORLD_WAIT_MS && result.cookie != fix->cookie;) {
		if (engine_next_result(fix->engine, &result)) {
			assert_int_equal(result.is_list ? result.list.ret : result.ret, 0);
		} else {
			world_sleep_ms(1);
			i++;
		}
	}
	assert_int_equal(result.cookie, fix->cookie);
}

static void change(struct fixture *fix, const char *line)
{
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change parsed;
	if (change_parse(span_of_str(line), buf, &parsed, why) != 0) {
		fail_msg("%s", why);
	}
	assert_int_equal(engine_change(fix->engine, &parsed, ++fix->cookie), 0);
	engine_flush_changes(fix->engine);
	wait_until_answered(fix);
}

/* A tuple that began so many seconds ago, with the end of its life so far ahead. */
static void put_tuple(struct fixture *fix, const char *recipient, int64_t age_secs,
                      int64_t left_secs)
{
	char line[256];
	long long now = clock_wall().secs;
	(void)snprintf(line, sizeof line,
	               "put GREY|%s|helo.example|<A@sender.example>|%s|%lld|%lld|%lld|3|0", HOST,
	               recipient, now - (long long)age_secs, now + (long long)left_secs,
	               now + (long long)left_secs);
	change(fix, line);
}

static void put_list(struct fixture *fix, const char *line)
{
	char *text = strdup(line);
	assert_non_null(text);
	assert_int_equal(engine_list(fix->engine, LISTER_LINES, text, strlen(text), ++fix->cookie),
	                 0);
	wait_until_answered(fix);
}

/* --- asking ----------------------------------------------------------------------------------- */

static void show_list(void *ctx, struct span tag)
{
	struct shown *shown = ctx;
	size_t len = strlen(shown->lists);
	(void)snprintf(shown->lists + len, sizeof shown->lists - len, "%.*s ", (int)tag.len,
	               (const char *)tag.ptr);
}

static void show_tuple(void *ctx, const struct why_tuple *tuple)
{
	struct shown *shown = ctx;
	if (shown->n_tuples == SHOWN_MAX || tuple->text->helo.len == 1) {
		shown->n_others += !tuple->is_asked;
		shown->n_tuples += tuple->is_asked;
		return;
	}
	(void)span_to_str(tuple->text->helo, shown->helos[shown->n_tuples], sizeof shown->helos[0]);
	shown->tuples[shown->n_tuples++] = *tuple;
}

static void show_event(void *ctx, const struct event *event)
{
	struct shown *shown = ctx;
	assert_true(shown->n_events < SHOWN_MAX);
	shown->events[shown->n_events++] = *event;
}

static void ask_mail(struct fixture *fix, const char *host, const char *sender,
                     const char *recipient)
{
	const struct why_query query = {.addr = world_addr(host),
	                                .has_mail = sender != NULL,
	                                .sender = span_of_str(sender ? sender : ""),
	                                .recipient = span_of_str(recipient ? recipient : "")};
	const struct why_sink sink = {
	        .ctx = &fix->shown, .list = show_list, .tuple = show_tuple, .event = show_event};
	fix->shown = (struct shown){.n_tuples = 0};
	assert_int_equal(engine_why(fix->engine, &query, &sink, &fix->why), 0);
}

static void ask(struct fixture *fix, const char *host)
{
	ask_mail(fix, host, NULL, NULL);
}

static bool is_told(const struct why *why, const char *text)
{
	return memmem(why->reply, why->reply_len, text, strlen(text)) != NULL;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void of_a_stranger_the_times_of_a_first_mail_are_told(void **state)
{
	struct fixture *fix = *state;
	const struct why *why = &fix->why;
	start(fix, "");
	ask(fix, HOST);
	assert_int_equal(why->cls, SESSION_GREY);
	assert_int_equal(why->verdict, VERDICT_NEW);
	assert_int_equal(why->passes_at.secs, why->now.secs + PASSTIME + 1);
	assert_int_equal(why->passes_until.secs, why->now.secs + GREYEXP);
	assert_false(why->has_white || why->has_trapped || why->is_cut || why->is_clock_paused);
	assert_int_equal(why->n_tuples, 0);
	assert_int_equal(why->reply_len, 0);
	assert_int_equal(fix->shown.n_events, 0);
	assert_string_equal(fix->shown.lists, "");
}

static void a_mail_is_found_among_the_tuples_and_judged(void **state)
{
	struct fixture *fix = *state;
	const struct why *why = &fix->why;
	static const struct {
		const char *recipient;
		enum verdict verdict;
		unsigned n_asked;
	} rows[] = {
	        {"early@mx.example", VERDICT_EARLY, 1},
	        {"<LATE@mx.example>", VERDICT_PROMOTE, 1},
	        {"<future@mx.example>", VERDICT_NEW, 1}, /* of a clock that was set back */
	        {"<other@mx.example>", VERDICT_NEW, 0},
	};
	start(fix, "");
	put_tuple(fix, "<early@mx.example>", 100, 3600);
	put_tuple(fix, "<late@mx.example>", PASSTIME + 100, 3600);
	put_tuple(fix, "<future@mx.example>", -2LL * PASSTIME, 3600);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		ask_mail(fix, HOST, "a@Sender.example", rows[i].recipient);
		assert_int_equal(why->verdict, rows[i].verdict);
		assert_int_equal(why->n_asked, rows[i].n_asked);
		assert_int_equal(why->n_tuples, 3);
	}
	ask_mail(fix, HOST, "<a@sender.example>", "<early@mx.example>");
	assert_in_range(why->passes_at.secs, why->now.secs + PASSTIME - 100 + 1 - ABOUT_SECS,
	                why->now.secs + PASSTIME - 100 + 1);
	assert_in_range(why->passes_until.secs, why->now.secs + 3600 - ABOUT_SECS,
	                why->now.secs + 3600);
	unsigned n_asked = 0;
	for (unsigned i = 0; i < fix->shown.n_tuples; i++) {
		n_asked += fix->shown.tuples[i].is_asked;
		assert_string_equal(fix->shown.helos[i], "helo.example");
		assert_int_equal(fix->shown.tuples[i].record.bcount, 3);
	}
	assert_int_equal(n_asked, 1);
}

static void white_and_trapped_are_told_with_what_follows(void **state)
{
	struct fixture *fix = *state;
	const struct why *why = &fix->why;
	start(fix, "");
	change(fix, "white 192.0.2.1");
	ask(fix, HOST);
	assert_true(why->has_white && why->is_white);
	assert_int_equal(why->cls, SESSION_WHITE);
	assert_int_equal(why->verdict, VERDICT_WHITE);
	assert_int_equal(why->passes_at.secs, 0);
	change(fix, "trapped 192.0.2.1");
	ask(fix, HOST);
	assert_true(why->is_trapped && !why->is_white && !why->has_white);
	assert_int_equal(why->cls, SESSION_LISTED);
	assert_int_equal(why->verdict, VERDICT_TRAPPED);
	assert_true(is_told(why, "Trapped 192.0.2.1"));
	assert_int_equal(fix->shown.n_events, 2);
	assert_int_equal(fix->shown.events[0].kind, EVENT_TRAPPED);
	assert_int_equal(fix->shown.events[1].kind, EVENT_WHITE);
	assert_int_equal(fix->shown.events[1].by, EVENT_BY_ADMIN);
	change(fix, "delete 192.0.2.1");
	ask(fix, HOST);
	assert_int_equal(why->cls, SESSION_GREY);
	assert_int_equal(why->verdict, VERDICT_NEW);
}

static void lists_are_named_in_load_order_with_what_is_said(void **state)
{
	struct fixture *fix = *state;
	start(fix, "");
	put_list(fix, "one;\"First %A\";inet;1;192.0.2.0/24;\n");
	put_list(fix, "two;\"Second\";inet;1;192.0.2.1/32;\n");
	ask(fix, HOST);
	assert_string_equal(fix->shown.lists, "one two ");
	assert_int_equal(fix->why.cls, SESSION_LISTED);
	assert_true(is_told(&fix->why, "First 192.0.2.1") && is_told(&fix->why, "Second"));
	ask(fix, "192.0.2.2");
	assert_string_equal(fix->shown.lists, "one ");
	ask(fix, "192.0.3.1");
	assert_string_equal(fix->shown.lists, "");
	assert_int_equal(fix->why.cls, SESSION_GREY);
}

static void a_list_comes_before_white(void **state)
{
	struct fixture *fix = *state;
	start(fix, "");
	put_list(fix, "one;\"First\";inet;1;192.0.2.0/24;\n");
	change(fix, "white 192.0.2.1");
	ask(fix, HOST);
	assert_true(fix->why.is_white);
	assert_int_equal(fix->why.cls, SESSION_LISTED);
}

static void recipients_that_trap_are_told(void **state)
{
	struct fixture *fix = *state;
	start(fix, "mx.example\n");
	change(fix, "spamtrap bait@mx.example");
	ask_mail(fix, HOST, "<a@b.example>", "<Bait@mx.example>");
	assert_true(fix->why.is_spamtrap && !fix->why.is_foreign_domain);
	ask_mail(fix, HOST, "<a@b.example>", "<x@elsewhere.example>");
	assert_true(!fix->why.is_spamtrap && fix->why.is_foreign_domain);
	ask_mail(fix, HOST, "<a@b.example>", "<x@mx.example>");
	assert_true(!fix->why.is_spamtrap && !fix->why.is_foreign_domain);
}

static void ipv6_hosts_are_white_by_network_and_trapped_by_themselves(void **state)
{
	struct fixture *fix = *state;
	const struct addr group = world_addr("2001:db8:0:1::");
	start(fix, "");
	change(fix, "white 2001:db8:0:1::a");
	change(fix, "trapped 2001:db8:0:1::b");
	ask(fix, "2001:db8:0:1::c");
	assert_true(addr_equal(&fix->why.group, &group));
	assert_false(fix->why.is_trapped);
	assert_int_equal(fix->shown.n_events, 2);
	ask(fix, "2001:db8:0:1::b");
	assert_true(fix->why.is_trapped);
	ask(fix, "2001:db8:0:2::b");
	assert_false(fix->why.is_trapped || fix->why.has_white);
}

static void in_blacklist_only_mode_others_are_not_held(void **state)
{
	struct fixture *fix = *state;
	fix->conf.blacklist_only = true;
	start(fix, "");
	put_list(fix, "one;\"First\";inet;1;192.0.2.0/24;\n");
	ask(fix, HOST);
	assert_int_equal(fix->why.cls, SESSION_LISTED);
	ask(fix, "192.0.3.1");
	assert_int_equal(fix->why.cls, SESSION_PASSIVE);
}

/* Of a network: more than a slice of the store's walk. */
static void many_tuples_are_counted_and_the_one_that_is_asked_for_is_told(void **state)
{
	struct fixture *fix = *state;
	enum { N = 2500 };
	uint8_t buf[CHANGE_TEXT_BYTES];
	char reason[CHANGE_WHY_MAX];
	char line[256];
	long long now = clock_wall().secs;
	start(fix, "");
	for (unsigned i = 0; i < N; i++) {
		struct change parsed;
		(void)snprintf(
		        line, sizeof line,
		        "put GREY|2001:db8::|h|<a@b.example>|<%u@mx.example>|%lld|%lld|%lld|1|0", i,
		        now, now + 3600, now + 3600);
		assert_int_equal(change_parse(span_of_str(line), buf, &parsed, reason), 0);
		assert_int_equal(engine_change(fix->engine, &parsed, ++fix->cookie), 0);
		if (i % 256 == 255 || i + 1 == N) {
			engine_flush_changes(fix->engine);
			wait_until_answered(fix);
		}
	}
	ask_mail(fix, "2001:db8::7", "a@b.example", "1234@mx.example");
	assert_int_equal(fix->why.n_tuples, N);
	assert_int_equal(fix->why.n_asked, 1);
	assert_int_equal(fix->why.verdict, VERDICT_EARLY);
	assert_false(fix->why.is_cut);
	assert_int_equal(fix->shown.n_others, WHY_TUPLES_MAX);
	assert_int_equal(fix->shown.n_tuples, 1);
}

/* --- a flood's tuples, which wait for their places -------------------------------------------- */

enum { N_WAITING = 20000 };

static void take_in(struct store_txn *txn, const struct addr *addr, struct wall now, unsigned n)
{
	char recipient[64];
	(void)snprintf(recipient, sizeof recipient, "<%u@mx.example>", n);
	const struct tuple_text text = {span_of_str("h"), span_of_str("<a@b.example>"),
	                                span_of_str(recipient)};
	const struct grey_record record = {.first = now,
	                                   .pass = {now.secs + GREYEXP},
	                                   .expire = {now.secs + GREYEXP},
	                                   .changed_at = now,
	                                   .bcount = 1,
	                                   .last = now};
	const struct tuple_key key = record_tuple_key(store_hash_key(txn->store), addr, &text);
	assert_true(store_take_in(txn, &key, &record, &text));
}

static void fill_store(const struct fixture *fix, const struct addr *addr)
{
	char dir[80];
	char why[STORE_WHY_MAX];
	struct store *store = NULL;
	struct store_txn txn;
	const struct wall now = clock_wall();
	(void)snprintf(dir, sizeof dir, "%s/db", fix->dir);
	const struct store_conf conf = {.dir = dir,
	                                .map_bytes = fix->conf.map_bytes,
	                                .journal_max = fix->conf.journal_max,
	                                .readers_max = 4,
	                                .create = true};
	if (store_open(&store, &conf, why) != 0) {
		fail_msg("%s", why);
	}
	store_begin(store, &txn, now);
	for (unsigned n = 0; n < N_WAITING; n++) {
		take_in(&txn, addr, now, n);
	}
	assert_int_equal(store_commit(&txn), 0);
	store_close(store);
}

static uint64_t n_waiting(const struct fixture *fix)
{
	static struct engine_figures figures; /* large */
	engine_figures_get(fix->engine, &figures);
	return figures.store.n_waiting;
}

static void a_tuple_is_found_before_and_while_it_gets_its_place(void **state)
{
	struct fixture *fix = *state;
	const struct addr addr = world_addr(HOST);
	unsigned n_early = 0;
	fill_store(fix, &addr);
	start(fix, "");
	bool has_waited = true;
	for (int i = 0; i < WORLD_WAIT_MS && has_waited; i++) {
		has_waited = n_waiting(fix) > 0;
		n_early += has_waited;
		ask_mail(fix, HOST, "a@b.example", "10000@mx.example");
		assert_int_equal(fix->why.n_asked, 1);
		assert_int_equal(fix->why.verdict, VERDICT_EARLY);
		assert_true(fix->why.n_tuples >= N_WAITING); /* one that moves may count twice */
	}
	assert_false(has_waited);
	assert_int_equal(fix->why.n_tuples, N_WAITING);
	if (n_early == 0) {
		skip(); /* this machine did not let us ask in time */
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_tuple_is_found_before_and_while_it_gets_its_place,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(of_a_stranger_the_times_of_a_first_mail_are_told,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_mail_is_found_among_the_tuples_and_judged, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(white_and_trapped_are_told_with_what_follows, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(lists_are_named_in_load_order_with_what_is_said,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_list_comes_before_white, setup, teardown),
	        cmocka_unit_test_setup_teardown(recipients_that_trap_are_told, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                ipv6_hosts_are_white_by_network_and_trapped_by_themselves, setup, teardown),
	        cmocka_unit_test_setup_teardown(in_blacklist_only_mode_others_are_not_held, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(
	                many_tuples_are_counted_and_the_one_that_is_asked_for_is_told, setup,
	                teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
