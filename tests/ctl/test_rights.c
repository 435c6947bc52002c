/* Who gets which right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "ctl/rights.h"

enum { READ = 1, EVENT = 2, ADMIN = 4, DAEMON = 100, LOGD = 101, STATS = 200, MANAGERS = 201 };

static const struct rights rights = {.daemon_uid = DAEMON,
                                     .logd_uid = LOGD,
                                     .has_logd = true,
                                     .stats_gid = STATS,
                                     .admin_gid = MANAGERS,
                                     .has_stats = true,
                                     .has_admin = true};

static void rights_follow_from_user_and_groups(void **state)
{
	static const struct {
		uid_t uid;
		gid_t gids[3];
		unsigned granted;
	} rows[] = {
	        {0, {0}, READ | EVENT | ADMIN},
	        {DAEMON, {5}, READ},
	        {LOGD, {5}, EVENT},
	        {LOGD, {STATS}, READ | EVENT},
	        {1000, {5, 6, 7}, 0},
	        {1000, {5, 6, STATS}, READ},
	        {1000, {MANAGERS, 6, 7}, READ | ADMIN},
	        {DAEMON, {STATS, MANAGERS, 1}, READ | ADMIN},
	        {1000, {0, 0, 0}, 0},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_int_equal(rights_of(&rights, rows[i].uid, rows[i].gids, 3), rows[i].granted);
	}
}

static void a_user_or_group_that_does_not_exist_grants_nothing(void **state)
{
	const struct rights none = {.daemon_uid = DAEMON};
	const gid_t gids[] = {0};
	struct conf conf = {.stats_group = "no-such-group-1",
	                    .admin_group = "no-such-group-2",
	                    .logd_user = "no-such-user"};
	struct rights resolved;
	(void)state;
	assert_int_equal(rights_of(&none, 1000, gids, 1), 0);
	rights_init(&resolved, &conf);
	assert_false(resolved.has_stats);
	assert_false(resolved.has_admin);
	assert_false(resolved.has_logd);
	conf.stats_group = "root";
	rights_init(&resolved, &conf);
	assert_true(resolved.has_stats);
	assert_int_equal(resolved.stats_gid, 0);
	conf.logd_user = "daemon";
	rights_init(&resolved, &conf);
	assert_int_equal(rights_of(&resolved, resolved.logd_uid, gids, 0), EVENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(rights_follow_from_user_and_groups),
	        cmocka_unit_test(a_user_or_group_that_does_not_exist_grants_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
