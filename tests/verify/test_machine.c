/* The texts that values are read from, and a reading of the machine the test runs on. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "verify/machine.h"

static void numbers_are_words_between_white_space(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t last;
	} rows[] = {
	        {"4096\n", 1, 4096},
	        {"287853\t383807\t575706\n", 3, 575706},
	        {"18446744073709551615\n", 1, UINT64_MAX},
	        {"", 0, 0},
	        {" \n", 0, 0},
	        {"1 2 3 4", ERR_SYNTAX, 0},
	        {"-1\n", ERR_RANGE, 0},
	        {"18446744073709551616\n", ERR_RANGE, 0},
	        {"12x\n", ERR_SYNTAX, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t out[3] = {0};
		int ret = machine_parse_numbers(span_of_str(rows[i].text), out, 3);
		assert_int_equal(ret, rows[i].ret);
		if (ret > 0) {
			assert_int_equal(out[ret - 1], rows[i].last);
		}
	}
}

static void the_hard_limit_is_the_second(void **state)
{
	static const char head[] =
	        "Limit                     Soft Limit           Hard Limit           Units     \n"
	        "Max processes             95956                95956                processes \n";
	static const struct {
		const char *line;
		int ret;
		uint64_t hard;
	} rows[] = {
	        {"Max open files            1024                 20000                files     \n",
	         0, 20000},
	        {"Max open files            1024                 unlimited            files     ",
	         0, UINT64_MAX},
	        {"Max open files            1024", ERR_SYNTAX, 0},
	        {"Max open files            1024 many files", ERR_SYNTAX, 0},
	        {"Max open filets           1024                 20000                files     \n",
	         ERR_SYNTAX, 0},
	        {"", ERR_SYNTAX, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char text[512];
		uint64_t hard = 0;
		(void)snprintf(text, sizeof text, "%s%s", head, rows[i].line);
		assert_int_equal(machine_parse_limits(span_of_str(text), &hard), rows[i].ret);
		assert_int_equal(hard, rows[i].hard);
	}
}

static void a_unit_that_is_not_there_has_no_limit(void **state)
{
	static const struct {
		const char *text;
		int ret;
		uint64_t hard;
	} rows[] = {
	        {"LimitNOFILE=1048576\nLoadState=loaded\n", 0, 1048576},
	        {"LoadState=loaded\nLimitNOFILE=infinity", 0, UINT64_MAX},
	        {"LimitNOFILE=524288\nLoadState=not-found\n", ERR_NOT_FOUND, 0},
	        {"LimitNOFILE=524288\n", ERR_SYNTAX, 0},
	        {"LoadState=loaded\n", ERR_SYNTAX, 0},
	        {"LimitNOFILE=\nLoadState=loaded\n", ERR_SYNTAX, 0},
	        {"", ERR_SYNTAX, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint64_t hard = 0;
		assert_int_equal(machine_parse_unit(span_of_str(rows[i].text), &hard), rows[i].ret);
		assert_int_equal(hard, rows[i].hard);
	}
}

static void this_machine_is_read(void **state)
{
	struct conf conf = {.rules = CONF_RULES_NONE};
	struct machine machine = {.daemon = getpid()};
	struct rlimit limit;
	(void)state;
	machine_read(&machine, &conf);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(machine.nofile_of, MACHINE_OF_DAEMON);
	assert_int_equal(machine.values[MACHINE_NOFILE].n, limit.rlim_max);
	assert_int_equal(machine.routes_ret, 0);
	static const enum machine_item always_there[] = {
	        MACHINE_SOMAXCONN, MACHINE_SYN_BACKLOG, MACHINE_SYNCOOKIES,   MACHINE_NR_OPEN,
	        MACHINE_FILE_MAX,  MACHINE_CORES,       MACHINE_MEMORY_BYTES,
	};
	for (size_t i = 0; i < ARRAY_LEN(always_there); i++) {
		assert_true(machine.values[always_there[i]].is_known);
	}
	assert_true(machine.values[MACHINE_MEMORY_BYTES].n > UINT64_C(64) << 20);
	assert_in_range(machine.values[MACHINE_CORES].n, 1, 4096);
	/* all three or none of them */
	assert_int_equal(machine.values[MACHINE_TCP_MEM].is_known,
	                 machine.values[MACHINE_TCP_MEM_HIGH].is_known);
	assert_true(machine.values[MACHINE_TCP_MEM].n <= machine.values[MACHINE_TCP_MEM_HIGH].n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(numbers_are_words_between_white_space),
	        cmocka_unit_test(the_hard_limit_is_the_second),
	        cmocka_unit_test(a_unit_that_is_not_there_has_no_limit),
	        cmocka_unit_test(this_machine_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
