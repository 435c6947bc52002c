/* Rows of the report from readings and a clock that the test brings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "mired/report.h"

#define HALF_HOUR INT64_C(1800)

/* 2023-11-14 22:30:00 UTC */
static const int64_t T0 = 1700001000;

struct fixture {
	struct report *report;
	struct report_reading counters;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	assert_non_null(fixture);
	fixture->report = report_new(HALF_HOUR);
	assert_non_null(fixture->report);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	report_free(fixture->report);
	free(fixture);
	return 0;
}

/* n more connections were offered by now. */
static void count_to(struct fixture *fixture, uint64_t n, int64_t now)
{
	fixture->counters.offered += n;
	report_read(fixture->report, &fixture->counters, (struct wall){now});
}

struct wanted {
	int64_t began;
	uint64_t offered;
};

static void assert_rows(const struct report *report, const struct wanted *rows, size_t n)
{
	assert_int_equal(report_count(report), n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(report_row(report, i)->began.secs, rows[i].began);
		assert_int_equal(report_row(report, i)->sums.offered, rows[i].offered);
	}
}

#define ASSERT_ROWS(report, ...)                                  \
	do {                                                      \
		const struct wanted wanted_[] = {__VA_ARGS__};    \
		assert_rows(report, wanted_, ARRAY_LEN(wanted_)); \
	} while (0)

static void assert_reads_back(const struct report *report)
{
	char *text;
	size_t len;
	struct report *again = report_new(HALF_HOUR);
	assert_non_null(again);
	assert_int_equal(report_print(report, &text, &len), 0);
	assert_int_equal(report_parse(again, span_of(text, len)), 0);
	assert_int_equal(report_count(again), report_count(report));
	for (size_t i = 0; i < report_count(report); i++) {
		assert_memory_equal(report_row(again, i), report_row(report, i),
		                    sizeof *report_row(report, i));
	}
	free(text);
	report_free(again);
}

/* --- rows ------------------------------------------------------------------------------------- */

static void a_row_begins_at_each_half_hour_of_the_clock(void **state)
{
	struct fixture *fixture = *state;
	count_to(fixture, 5, T0 + 700);
	count_to(fixture, 7, T0 + 1799);
	assert_false(report_is_row_over(fixture->report, (struct wall){T0 + 1799}));
	assert_true(report_is_row_over(fixture->report, (struct wall){T0 + 1800}));
	count_to(fixture, 11, T0 + 1800); /* counted before, noticed now */
	count_to(fixture, 13, T0 + 1860);
	ASSERT_ROWS(fixture->report, {T0, 23}, {T0 + 1800, 13});
	assert_int_equal(report_row(fixture->report, 0)->secs, HALF_HOUR);
}

static void each_counter_has_its_own_sum(void **state)
{
	struct fixture *fixture = *state;
	const struct report_reading first = {10, 20, 30, 40, 50};
	const struct report_reading second = {11, 22, 33, 44, 55};
	report_read(fixture->report, &first, (struct wall){T0});
	report_read(fixture->report, &second, (struct wall){T0 + 60});
	assert_int_equal(report_count(fixture->report), 1);
	assert_memory_equal(&report_row(fixture->report, 0)->sums, &second, sizeof second);
	report_read(fixture->report, &second, (struct wall){T0 + 1800});
	report_read(fixture->report, &(struct report_reading){12, 24, 36, 48, 60},
	            (struct wall){T0 + 1801});
	const struct report_reading wanted = {1, 2, 3, 4, 5};
	assert_memory_equal(&report_row(fixture->report, 1)->sums, &wanted, sizeof wanted);
}

static void time_in_which_nobody_read_has_no_row(void **state)
{
	struct fixture *fixture = *state;
	count_to(fixture, 1, T0);
	count_to(fixture, 2, T0 + 5 * HALF_HOUR + 3);
	count_to(fixture, 4, T0 + 5 * HALF_HOUR + 4);
	ASSERT_ROWS(fixture->report, {T0, 3}, {T0 + 5 * HALF_HOUR, 4});
}

static void a_clock_that_jumps_back_opens_the_old_row_again(void **state)
{
	struct fixture *fixture = *state;
	count_to(fixture, 1, T0);
	count_to(fixture, 0, T0 + HALF_HOUR);
	count_to(fixture, 2, T0 + HALF_HOUR + 60);
	count_to(fixture, 4, T0 + 60); /* counted before the jump */
	count_to(fixture, 8, T0 + 120);
	count_to(fixture, 16, T0 + HALF_HOUR);
	count_to(fixture, 32, T0 + HALF_HOUR + 1);
	ASSERT_ROWS(fixture->report, {T0, 1 + 8 + 16}, {T0 + HALF_HOUR, 2 + 4 + 32});
}

static void a_clock_that_was_ahead_leaves_rows_in_order(void **state)
{
	struct fixture *fixture = *state;
	count_to(fixture, 1, T0 + 1000 * HALF_HOUR);
	count_to(fixture, 0, T0);
	count_to(fixture, 2, T0 + 10);
	count_to(fixture, 0, T0 - HALF_HOUR);
	count_to(fixture, 4, T0 - HALF_HOUR);
	ASSERT_ROWS(fixture->report, {T0 - HALF_HOUR, 4}, {T0, 2}, {T0 + 1000 * HALF_HOUR, 1});
	assert_reads_back(fixture->report);
}

static void clocks_before_1970_and_after_9999_have_rows_within(void **state)
{
	struct fixture *fixture = *state;
	count_to(fixture, 1, -5);
	count_to(fixture, 2, INT64_MAX);
	assert_int_equal(report_count(fixture->report), 2);
	assert_int_equal(report_row(fixture->report, 0)->began.secs, 0);
	assert_reads_back(fixture->report);
}

static void a_counter_that_became_smaller_counts_as_unchanged(void **state)
{
	struct fixture *fixture = *state;
	report_read(fixture->report, &(struct report_reading){.offered = 9}, (struct wall){T0});
	report_read(fixture->report, &(struct report_reading){.offered = 4}, (struct wall){T0});
	report_read(fixture->report, &(struct report_reading){.offered = 5}, (struct wall){T0});
	ASSERT_ROWS(fixture->report, {T0, 10});
}

static void loads_are_summed_with_their_number(void **state)
{
	struct fixture *fixture = *state;
	report_add_load(fixture->report, 77); /* no row is open */
	assert_int_equal(report_count(fixture->report), 0);
	count_to(fixture, 0, T0);
	report_add_load(fixture->report, 500);
	report_add_load(fixture->report, 1500);
	assert_int_equal(report_row(fixture->report, 0)->load_milli, 2000);
	assert_int_equal(report_row(fixture->report, 0)->n_loads, 2);
}

static void a_full_report_loses_its_oldest_row(void **state)
{
	struct fixture *fixture = *state;
	for (int64_t i = 0; i < REPORT_ROWS_MAX + 3; i++) {
		count_to(fixture, 1, T0 + i * HALF_HOUR);
	}
	assert_int_equal(report_count(fixture->report), REPORT_ROWS_MAX);
	assert_int_equal(report_row(fixture->report, 0)->began.secs, T0 + 3 * HALF_HOUR);
	count_to(fixture, 5, T0); /* older than all: no place */
	count_to(fixture, 7, T0);
	assert_int_equal(report_count(fixture->report), REPORT_ROWS_MAX);
	assert_int_equal(report_row(fixture->report, 0)->began.secs, T0 + 3 * HALF_HOUR);
	assert_reads_back(fixture->report);
}

/* --- the file --------------------------------------------------------------------------------- */

#define HEAD "mired report 1\n"

static void a_row_goes_on_after_a_restart(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(
	        report_parse(fixture->report, SPAN(HEAD "1700001000 1800 10 1 2 3 4 500 2\n")), 0);
	report_read(fixture->report, &(struct report_reading){1, 1, 1, 1, 1},
	            (struct wall){T0 + 900});
	report_add_load(fixture->report, 250);
	const struct report_reading wanted = {11, 2, 3, 4, 5};
	assert_int_equal(report_count(fixture->report), 1);
	assert_memory_equal(&report_row(fixture->report, 0)->sums, &wanted, sizeof wanted);
	assert_int_equal(report_row(fixture->report, 0)->load_milli, 750);
	assert_int_equal(report_row(fixture->report, 0)->n_loads, 3);
}

static void a_row_of_another_interval_is_carried_on_under_the_new_one(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(report_parse(fixture->report, SPAN(HEAD "1700001000 60 1 0 0 0 0 0 0\n")),
	                 0);
	count_to(fixture, 2, T0 + 5);
	ASSERT_ROWS(fixture->report, {T0, 3});
	assert_int_equal(report_row(fixture->report, 0)->secs, HALF_HOUR);
}

static void what_is_readable_of_a_damaged_file_stays(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t n_refused;
		size_t n_rows;
	} cases[] = {
	        {"", 0, 0},
	        {HEAD, 0, 0},
	        {"mired rep", 1, 0},
	        {"mired report 2\n1700001000 1800 1 1 1 1 1 1 1\n", 1, 1},
	        {HEAD "1700001000 1800 1 1 1 1 1 1 1\n1700002800 1800 1 1 1", 1, 1},
	        {HEAD "1700001000 1800 1 1 1 1 1 1 1\n1700002800 1800 1 1 1 1 1 1 1", 1, 1},
	        {HEAD "1700001000 1800 1 1 1 1 1 1\n1700002800 1800 1 1 1 1 1 1 1\n", 1, 1},
	        {HEAD "1700001000 1800 1 1 1 1 1 1 1 1\n", 1, 0},
	        {HEAD "1700001000 0 1 1 1 1 1 1 1\n", 1, 0},
	        {HEAD "1700001000 86401 1 1 1 1 1 1 1\n", 1, 0},
	        {HEAD "1700001000 1800 1 1 x 1 1 1 1\n", 1, 0},
	        {HEAD "1700001000 1800 1 1 -1 1 1 1 1\n", 1, 0},
	        {HEAD "1700001000 1800 1 1 1000000000000001 1 1 1 1\n", 1, 0},
	        {HEAD "1700001000 1800 1 1 1 1 1 1 1\n\n1700001000 1800 2 2 2 2 2 2 2\n", 1, 1},
	};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct report *report = report_new(HALF_HOUR);
		assert_non_null(report);
		size_t n_refused = report_parse(report, span_of_str(cases[i].text));
		assert_int_equal(n_refused, cases[i].n_refused);
		assert_int_equal(report_count(report), cases[i].n_rows);
		assert_reads_back(report);
		report_free(report);
	}
}

/* A row for each second up to n, behind `head`; the caller's to free. */
static char *many_rows(const char *head, long n, size_t *len)
{
	char *text = malloc(strlen(head) + (size_t)n * REPORT_ROW_BYTES);
	assert_non_null(text);
	*len = strlen(head);
	memcpy(text, head, *len);
	for (long i = 1; i <= n; i++) {
		*len += (size_t)snprintf(text + *len, REPORT_ROW_BYTES, "%ld 1 1 1 1 1 1 1 1\n", i);
	}
	return text;
}

static void a_full_file_with_a_damaged_head_loses_no_row(void **state)
{
	struct fixture *fixture = *state;
	size_t len;
	char *text = many_rows("mired report\n\n", REPORT_ROWS_MAX, &len);
	assert_int_equal(report_parse(fixture->report, span_of(text, len)), 2);
	assert_int_equal(report_count(fixture->report), REPORT_ROWS_MAX);
	assert_int_equal(report_row(fixture->report, REPORT_ROWS_MAX - 1)->began.secs,
	                 REPORT_ROWS_MAX);
	free(text);
}

static void what_lies_behind_too_many_lines_is_told(void **state)
{
	struct fixture *fixture = *state;
	size_t len;
	char *text = many_rows(HEAD, 3L * REPORT_ROWS_MAX, &len);
	assert_int_equal(report_parse(fixture->report, span_of(text, len)), 1);
	assert_int_equal(report_count(fixture->report), REPORT_ROWS_MAX);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_row_begins_at_each_half_hour_of_the_clock, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(each_counter_has_its_own_sum, setup, teardown),
	        cmocka_unit_test_setup_teardown(time_in_which_nobody_read_has_no_row, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_clock_that_jumps_back_opens_the_old_row_again,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_clock_that_was_ahead_leaves_rows_in_order, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(clocks_before_1970_and_after_9999_have_rows_within,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_counter_that_became_smaller_counts_as_unchanged,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(loads_are_summed_with_their_number, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_full_report_loses_its_oldest_row, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_row_goes_on_after_a_restart, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                a_row_of_another_interval_is_carried_on_under_the_new_one, setup, teardown),
	        cmocka_unit_test(what_is_readable_of_a_damaged_file_stays),
	        cmocka_unit_test_setup_teardown(a_full_file_with_a_damaged_head_loses_no_row, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(what_lies_behind_too_many_lines_is_told, setup,
	                                        teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
