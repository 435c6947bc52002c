/* The screen of `top` for terminals of any size, from answers as a daemon gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "miredctl/top_screen.h"

static const char STATUS[] =
        "{\"version\":\"0.1.0\",\"pid\":7,\"uptime_secs\":93784,"
        "\"connections\":{\"now\":1234,\"max\":100000,\"grey\":900,\"white\":4,\"listed\":320,"
        "\"unknown\":10,\"total\":5000,\"closed\":3766,\"passed\":50,\"per_worker\":[600,634]},"
        "\"bytes\":{\"stuttered\":9000,\"received\":100},"
        "\"greylist\":{\"tuples\":1234567,\"hosts\":4321,\"deferred\":300,\"new\":20},"
        "\"traps\":{\"addresses\":17,\"hosts_trapped\":3,\"hits\":5},"
        "\"pace\":{\"stuttered_per_sec\":1200,\"budget_per_sec\":200000,"
        "\"carried_per_sec\":200000,\"stretch_listed\":1.0,\"stretch_grey\":1.0},"
        "\"store\":{\"used_bytes\":600,\"free_bytes\":100,\"map_bytes\":1000,\"commits\":10,"
        "\"commit_p50_ms\":1.5,\"commit_p99_ms\":12.0,\"requests_waiting\":2,\"last_seq\":90,"
        "\"degraded\":false,\"space\":\"fine\"},"
        "\"firewall\":{\"wanted\":true,\"connected\":true,\"complete\":true,\"done_seq\":88,"
        "\"delay_p50_ms\":2.25,\"delay_p99_ms\":30.0,\"elements_added\":5},"
        "\"lists\":{\"in_force\":2,\"networks\":600000},"
        "\"sync\":{\"active\":true,\"peers\":[{\"address\":\"192.0.2.9\",\"name\":\"mx2\","
        "\"silent_secs\":3}]},"
        "\"drops\":{\"over_limit\":0,\"read_timeouts\":23},"
        "\"engine\":{\"listen\":[\"0.0.0.0:8025\",\"[::]:8025\"],\"workers\":2,"
        "\"accept_mode\":\"multishot\",\"cpu_ms\":5000},"
        "\"memory\":{\"rss_bytes\":123000000},\"clock\":{\"paused\":false}}";

static const char HELD[] =
        "{\"age_ms\":20,\"connections\":1234,\"classes\":{\"unknown\":10,\"grey\":900,"
        "\"white\":4,\"listed\":300,\"trapped\":20,\"passive\":0},"
        "\"states\":{\"banner\":1000,\"start\":234},"
        "\"lists\":[{\"name\":\"uatraps\",\"connections\":200}],\"other_lists\":0,"
        "\"longest\":[{\"address\":\"192.0.2.1\",\"held_secs\":312,\"class\":\"listed\","
        "\"list\":\"uatraps\",\"lists\":1,\"state\":\"banner\",\"sent_bytes\":31},"
        "{\"address\":\"2001:db8:1111:2222:3333:4444:5555:6666\",\"held_secs\":60,"
        "\"class\":\"grey\",\"list\":\"\",\"lists\":0,\"state\":\"start\",\"sent_bytes\":80}],"
        "\"networks\":[{\"network\":\"192.0.2.0/24\",\"connections\":700}],"
        "\"networks_exact\":true}";

struct fixture {
	json_t *status, *before, *held;
	struct top_view view;
	struct top_screen screen;
};

static json_t *json_of(const char *text)
{
	json_error_t error;
	json_t *object = json_loads(text, JSON_ALLOW_NUL, &error);
	if (!object) {
		fail_msg("%s at %d", error.text, error.position);
	}
	return object;
}

static void set_number(json_t *status, const char *group, const char *key, json_int_t n)
{
	assert_int_equal(json_object_set_new(json_object_get(status, group), key, json_integer(n)),
	                 0);
}

static int setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	fix->status = json_of(STATUS);
	fix->before = json_of(STATUS);
	fix->held = json_of(HELD);
	set_number(fix->before, "connections", "total", 4000);
	set_number(fix->before, "bytes", "stuttered", 4000);
	set_number(fix->before, "engine", "cpu_ms", 4000);
	fix->view = (struct top_view){
	        .now = {fix->status, fix->held, 102},
	        .before = {fix->before, fix->held, 100},
	        .clock = {.tm_year = 126, .tm_mon = 10, .tm_mday = 23, .tm_hour = 6},
	        .delay_secs = 2,
	};
	*state = fix;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fix = *state;
	json_decref(fix->status);
	json_decref(fix->before);
	json_decref(fix->held);
	free(fix);
	return 0;
}

/* What of a line there is room for, and nothing that is not printable ASCII. */
static void assert_fits(const struct top_screen *screen, size_t width, size_t height)
{
	size_t n_max = height < TOP_HEIGHT_MAX ? height : TOP_HEIGHT_MAX;
	assert_true(screen->n_lines <= n_max);
	for (size_t i = 0; i < screen->n_lines; i++) {
		const char *text = screen->lines[i].text;
		assert_true(strlen(text) <= width && strlen(text) <= TOP_WIDTH_MAX);
		for (; *text; text++) {
			assert_in_range(*text, ' ', '~');
		}
	}
}

/* The first line that holds text; -1: none does. */
static int line_with(const struct top_screen *screen, const char *text)
{
	for (size_t i = 0; i < screen->n_lines; i++) {
		if (strstr(screen->lines[i].text, text)) {
			return (int)i;
		}
	}
	return -1;
}

static const struct top_line *draw_and_find(struct fixture *fix, size_t width, size_t height,
                                            const char *text)
{
	top_screen_draw(&fix->screen, &fix->view, width, height);
	assert_fits(&fix->screen, width, height);
	int at = line_with(&fix->screen, text);
	if (at < 0) {
		for (size_t i = 0; i < fix->screen.n_lines; i++) {
			print_message("|%s\n", fix->screen.lines[i].text);
		}
		fail_msg("no line with \"%s\"", text);
	}
	return &fix->screen.lines[at];
}

static void assert_absent(struct fixture *fix, size_t width, size_t height, const char *text)
{
	top_screen_draw(&fix->screen, &fix->view, width, height);
	assert_fits(&fix->screen, width, height);
	assert_int_equal(line_with(&fix->screen, text), -1);
}

/* --- sizes --- */

static void every_size_of_terminal_is_filled_and_never_overrun(void **state)
{
	struct fixture *fix = *state;
	for (size_t width = 0; width <= 250; width++) {
		for (size_t height = 0; height <= 100; height += 1 + height / 12) {
			fix->view.tables = (enum top_tables)((width + height) % TOP_TABLES_COUNT);
			fix->view.shows_help = width % 7 == 0;
			top_screen_draw(&fix->screen, &fix->view, width, height);
			assert_fits(&fix->screen, width, height);
			assert_int_equal(fix->screen.n_lines > 0, height > 0);
		}
	}
	top_screen_draw(&fix->screen, &fix->view, 100000, 100000);
	assert_fits(&fix->screen, 100000, 100000);
}

static void a_terminal_of_80_by_24_shows_the_essentials(void **state)
{
	struct fixture *fix = *state;
	static const char *const essentials[] = {
	        "mired 0.1.0  up 1d02h",
	        "2026-11-23 06:00:00",
	        "listening 0.0.0.0:8025 [::]:8025",
	        "every 2 s",
	        "held     1234  of 100000  grey 900  white 4  listed 300  trapped 20",
	        "accepted 500  closed 0  deferred 0  passed 0  trapped 0  stutter 2.5kB",
	        "stuttered 1.2kB/s  of 200kB/s  stretch listed x1.00  grey x1.00",
	        "tuples 1.2M  hosts 4321  spamtraps 17  commit p50 1.50ms  p99 12ms",
	        "complete yes  behind 2  delay p50 2.25ms  p99 30ms",
	        "in force 2  networks 600000",
	        "active yes  mx2 3s",
	        "read_timeouts 23",
	        "memory 123MB  cpu 50.0%",
	        "  5m12s 192.0.2.1                 listed   banner       31B uatraps",
	        "192.0.2.0/24                        700  uatraps                             200",
	};
	for (size_t i = 0; i < ARRAY_LEN(essentials); i++) {
		(void)draw_and_find(fix, 80, 24, essentials[i]);
	}
}

static void a_larger_terminal_shows_more_figures_and_the_tables_beside_each_other(void **state)
{
	struct fixture *fix = *state;
	static const char *const more[] = {
	        "stutter 2.5kB",
	        "p50 1.50ms  p99 12ms",
	        "p99 12ms  map 60%",
	        "dialogue banner 1000  start 234",
	        "0: 600  1: 634",
	        "mx2 3s",
	        "1m00s 2001:db8:1111:2222:3333:4444:5555:6666  grey     start",
	};
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		(void)draw_and_find(fix, 200, 60, more[i]);
	}
	const struct top_line *line = draw_and_find(fix, 200, 60, "192.0.2.1 ");
	assert_non_null(strstr(line->text, "192.0.2.0/24"));
	assert_non_null(strstr(line->text, "uatraps    "));
	assert_absent(fix, 80, 24, "0: 600");
}

static void a_wider_terminal_never_shows_less_of_a_line(void **state)
{
	struct fixture *fix = *state;
	size_t before = 0;
	for (size_t width = 13; width < 200; width++) {
		const struct top_line *line = draw_and_find(fix, width, 24, "held  ");
		size_t len = strlen(line->text);
		assert_true(len >= before);
		before = len;
	}
}

/* --- what is shown --- */

static void only_the_chosen_table_is_shown(void **state)
{
	struct fixture *fix = *state;
	fix->view.tables = TOP_LONGEST;
	(void)draw_and_find(fix, 80, 24, "192.0.2.1 ");
	assert_absent(fix, 80, 24, "NETWORK");
	fix->view.tables = TOP_NETWORKS;
	(void)draw_and_find(fix, 80, 24, "192.0.2.0/24");
	assert_absent(fix, 80, 24, "ADDRESS");
	fix->view.tables = TOP_LISTS;
	(void)draw_and_find(fix, 80, 24, "uatraps");
	assert_absent(fix, 80, 24, "NETWORK");
}

static void rates_of_another_process_are_not_computed(void **state)
{
	struct fixture *fix = *state;
	assert_int_equal(json_object_set_new(fix->before, "pid", json_integer(8)), 0);
	(void)draw_and_find(fix, 80, 24, "accepted -  closed -");
	(void)draw_and_find(fix, 80, 24, "cpu -");
	fix->view.before = (struct top_sample){0};
	(void)draw_and_find(fix, 80, 24, "accepted -  closed -");
}

static void a_daemon_that_is_away_is_said_in_words_beside_what_was_known(void **state)
{
	struct fixture *fix = *state;
	fix->view.trouble = "/run/mired/mired.sock: no\x1b such file";
	const struct top_line *line = draw_and_find(fix, 80, 24, "NO ANSWER");
	assert_string_equal(line->text, "NO ANSWER, trying again: "
	                                "/run/mired/mired.sock: no\\x1b such file");
	assert_int_equal(line->look, TOP_WARNING);
	(void)draw_and_find(fix, 80, 24, "1234  of");
	fix->view.is_refused = true;
	(void)draw_and_find(fix, 80, 24, "REFUSED, trying again: /run/mired/mired.sock: no");
	assert_absent(fix, 80, 24, "NO ANSWER");
	fix->view.is_refused = false;
	fix->view.now = (struct top_sample){0};
	(void)draw_and_find(fix, 80, 24, "NO ANSWER");
	assert_absent(fix, 80, 24, "1234");
}

static void what_needs_attention_is_said_in_words(void **state)
{
	struct fixture *fix = *state;
	assert_absent(fix, 80, 24, "ATTENTION");
	json_t *store = json_object_get(fix->status, "store");
	json_t *firewall = json_object_get(fix->status, "firewall");
	(void)json_object_set_new(store, "degraded", json_true());
	(void)json_object_set_new(store, "space", json_string("tight"));
	(void)json_object_set_new(firewall, "complete", json_false());
	const struct top_line *line = draw_and_find(
	        fix, 200, 24,
	        "ATTENTION: the store does not take commits; the store's map is nearly full; the "
	        "kernel's sets are not complete");
	assert_int_equal(line->look, TOP_WARNING);
	(void)json_object_set_new(firewall, "wanted", json_false());
	assert_absent(fix, 200, 24, "kernel's sets");
}

static void a_firewall_that_is_not_wanted_has_no_figures(void **state)
{
	struct fixture *fix = *state;
	(void)json_object_set_new(json_object_get(fix->status, "firewall"), "wanted", json_false());
	const struct top_line *line = draw_and_find(fix, 80, 24, "firewall ");
	assert_string_equal(line->text, "firewall not used");
}

static void attention_takes_as_many_lines_as_it_needs(void **state)
{
	struct fixture *fix = *state;
	json_t *store = json_object_get(fix->status, "store");
	(void)json_object_set_new(store, "degraded", json_true());
	(void)json_object_set_new(store, "space", json_string("full"));
	(void)json_object_set_new(json_object_get(fix->status, "firewall"), "complete",
	                          json_false());
	(void)json_object_set_new(json_object_get(fix->status, "clock"), "paused", json_true());
	(void)draw_and_find(
	        fix, 80, 24,
	        "ATTENTION: the store does not take commits; the store's map is nearly full");
	const struct top_line *line =
	        draw_and_find(fix, 90, 24,
	                      "ATTENTION: the kernel's sets are not complete; the clock jumped: "
	                      "miredctl clock-ok");
	assert_int_equal(line->look, TOP_WARNING);
	(void)draw_and_find(fix, 80, 24, "ATTENTION: the clock jumped: miredctl clock-ok");
	(void)draw_and_find(fix, 80, 24, "  5m12s 192.0.2.1 ");
}

static void the_peer_that_was_silent_longest_comes_first(void **state)
{
	struct fixture *fix = *state;
	json_t *peers = json_object_get(json_object_get(fix->status, "sync"), "peers");
	assert_int_equal(json_array_append_new(peers, json_of("{\"address\":\"192.0.2.7\","
	                                                      "\"name\":\"group\"}")),
	                 0);
	assert_int_equal(json_array_append_new(peers, json_of("{\"address\":\"192.0.2.8\","
	                                                      "\"name\":\"\","
	                                                      "\"silent_secs\":7200}")),
	                 0);
	(void)draw_and_find(fix, 80, 24, "active yes  192.0.2.8 2h00m  mx2 3s  group never");
}

static void a_pause_and_the_help_are_shown(void **state)
{
	struct fixture *fix = *state;
	fix->view.is_paused = true;
	(void)draw_and_find(fix, 80, 24, "PAUSED");
	fix->view.shows_help = true;
	(void)draw_and_find(fix, 80, 24, "q        leave");
	assert_absent(fix, 80, 24, "1234");
}

static void the_number_of_rows_is_bounded_by_what_is_asked_for(void **state)
{
	struct fixture *fix = *state;
	(void)draw_and_find(fix, 80, 60, "2001:db8:1111");
	fix->view.n_rows = 1;
	(void)draw_and_find(fix, 80, 60, "192.0.2.1 ");
	assert_absent(fix, 80, 60, "2001:db8:1111");
}

/* --- answers nobody expects --- */

static void huge_numbers_and_foreign_bytes_stay_within_the_lines(void **state)
{
	struct fixture *fix = *state;
	set_number(fix->status, "connections", "now", INT64_MAX);
	set_number(fix->status, "bytes", "stuttered", INT64_MAX);
	set_number(fix->status, "drops", "a\x1b[31mb\xc3\xbc", INT64_MAX);
	(void)json_object_set_new(fix->status, "version", json_string("\xc3\xa4\n\x1b]0;x\a"));
	(void)draw_and_find(fix, 80, 24, "held     9.2E");
	(void)draw_and_find(fix, 80, 24, "mired \\xc3\\xa4\\x0a\\x1b]0;x\\x07");
	(void)draw_and_find(fix, 80, 24, "a\\x1b[31mb\\xc3\\xbc 9.2E");
}

static void lists_with_long_names_and_a_thousand_drops_fit(void **state)
{
	struct fixture *fix = *state;
	char name[300];
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	json_t *lists = json_object_get(fix->held, "lists");
	for (unsigned i = 0; i < 1000; i++) {
		char drop[16];
		(void)json_array_append_new(lists,
		                            json_pack("{s:s,s:i}", "name", name, "connections", 1));
		(void)snprintf(drop, sizeof drop, "drop%u", i);
		set_number(fix->status, "drops", drop, 1);
	}
	(void)draw_and_find(fix, 80, 24, "nnnnnnnnnnnnnnn~");
	(void)draw_and_find(fix, 200, 60, "drop5 1");
}

static void answers_of_other_types_are_shown_as_nothing(void **state)
{
	struct fixture *fix = *state;
	static const char *const groups[] = {"connections", "store", "firewall", "sync", "drops",
	                                     "engine",      "pace",  "memory",   "bytes"};
	for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
		(void)json_object_set_new(fix->status, groups[i], json_string("no object"));
	}
	(void)json_object_set_new(fix->held, "longest", json_integer(3));
	(void)json_object_set_new(fix->held, "lists", json_null());
	(void)draw_and_find(fix, 80, 24, "mired 0.1.0");
	fix->view.now.held = NULL;
	(void)draw_and_find(fix, 200, 60, "mired 0.1.0");
	fix->view.now.status = fix->held; /* an object with nothing that is expected */
	(void)draw_and_find(fix, 200, 60, "mired");
}

#define SCREEN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        SCREEN_TEST(every_size_of_terminal_is_filled_and_never_overrun),
	        SCREEN_TEST(a_terminal_of_80_by_24_shows_the_essentials),
	        SCREEN_TEST(a_larger_terminal_shows_more_figures_and_the_tables_beside_each_other),
	        SCREEN_TEST(a_wider_terminal_never_shows_less_of_a_line),
	        SCREEN_TEST(only_the_chosen_table_is_shown),
	        SCREEN_TEST(rates_of_another_process_are_not_computed),
	        SCREEN_TEST(a_daemon_that_is_away_is_said_in_words_beside_what_was_known),
	        SCREEN_TEST(what_needs_attention_is_said_in_words),
	        SCREEN_TEST(a_firewall_that_is_not_wanted_has_no_figures),
	        SCREEN_TEST(attention_takes_as_many_lines_as_it_needs),
	        SCREEN_TEST(the_peer_that_was_silent_longest_comes_first),
	        SCREEN_TEST(a_pause_and_the_help_are_shown),
	        SCREEN_TEST(the_number_of_rows_is_bounded_by_what_is_asked_for),
	        SCREEN_TEST(huge_numbers_and_foreign_bytes_stay_within_the_lines),
	        SCREEN_TEST(lists_with_long_names_and_a_thousand_drops_fit),
	        SCREEN_TEST(answers_of_other_types_are_shown_as_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
