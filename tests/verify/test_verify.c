/* What mired --check-config finds beyond the configuration file itself. */
#include "verify/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

struct fixture {
	char path[64]; /* of the list of exempt networks */
	const char *domains_path;
	const char *fetch_user;
	const char *peer; /* NULL: none */
	const char *key_path;
	bool is_blacklist_only;
	char *said;
};

static int setup(void **state)
{
	static struct fixture fixture;
	fixture = (struct fixture){.path = "/tmp/mired-verify-XXXXXX",
	                           .domains_path = "/dev/null",
	                           .fetch_user = "nobody"};
	int fd = mkstemp(fixture.path);
	*state = &fixture;
	return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	free(fixture->said);
	return unlink(fixture->path);
}

/* Number of faults; what was written about them is in fixture->said. */
static int verify(struct fixture *fixture, const char *user)
{
	size_t len;
	struct conf conf = {.user = (char *)user,
	                    .firewall_user = "nobody",
	                    .stats_group = "root",
	                    .admin_group = "root",
	                    .nospamd_file = fixture->path,
	                    .allowed_domains_file = (char *)fixture->domains_path,
	                    .fetch_user = (char *)fixture->fetch_user,
	                    .logd_user = "nobody",
	                    .firewall = true,
	                    .blacklist_only = fixture->is_blacklist_only,
	                    .sync_peers = {(char *)(uintptr_t)fixture->peer},
	                    .n_sync_peers = fixture->peer ? 1 : 0,
	                    .sync_key_file = (char *)(uintptr_t)fixture->key_path,
	                    .rules = CONF_RULES_NONE};
	free(fixture->said);
	FILE *out = open_memstream(&fixture->said, &len);
	assert_non_null(out);
	int n_faults = verify_conf(&conf, out);
	assert_int_equal(fclose(out), 0);
	return n_faults;
}

static void write_list(const struct fixture *fixture, const char *line, size_t n)
{
	FILE *file = fopen(fixture->path, "w");
	assert_non_null(file);
	for (size_t i = 0; i < n; i++) {
		assert_true(fputs(line, file) >= 0);
	}
	assert_int_equal(fclose(file), 0);
}

static void nothing_wrong_is_nothing_said(void **state)
{
	struct fixture *fixture = *state;
	write_list(fixture, "192.0.2.0/24\n", 1);
	assert_int_equal(verify(fixture, "nobody"), 0);
	assert_string_equal(fixture->said, "");
}

static void each_fault_is_a_line_with_its_name(void **state)
{
	struct fixture *fixture = *state;
	char wanted[160];
	write_list(fixture, "nobody.example\n", 2);
	assert_int_equal(verify(fixture, "mired-no-such-user"), 3);
	assert_non_null(strstr(fixture->said, "user mired-no-such-user does not exist"));
	(void)snprintf(wanted, sizeof wanted, "%s:2: neither an address nor a network: nobody",
	               fixture->path);
	assert_non_null(strstr(fixture->said, wanted));
}

static void root_is_no_user_for_a_role(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(verify(fixture, "root"), 1);
	assert_non_null(strstr(fixture->said, "user root is root"));
}

/* What the check lets pass, the start must not refuse. */
static void a_list_too_long_for_the_start_does_not_pass_the_check(void **state)
{
	struct fixture *fixture = *state;
	write_list(fixture, "# sixteen bytes\n", (65 << 20) / 16);
	assert_int_equal(verify(fixture, "nobody"), 1);
	assert_non_null(strstr(fixture->said, fixture->path));
	write_list(fixture, "192.0.2.1\n", 100001);
	assert_int_equal(verify(fixture, "nobody"), 1);
	assert_non_null(strstr(fixture->said, "more than 100000 entries"));
}

static void the_users_of_other_programs_are_only_noted(void **state)
{
	struct fixture *fixture = *state;
	fixture->fetch_user = "mired-no-such-user";
	assert_int_equal(verify(fixture, "nobody"), 0);
	assert_string_equal(fixture->said,
	                    "note: user mired-no-such-user does not exist (useradd --system "
	                    "mired-no-such-user makes it); mired-setup needs it\n");
}

static void allowed_domains_are_checked_line_by_line(void **state)
{
	struct fixture *fixture = *state;
	char wanted[80];
	fixture->domains_path = fixture->path;
	write_list(fixture, "# no network and no domain\na b.example\n", 1);
	assert_int_equal(verify(fixture, "nobody"), 2);
	(void)snprintf(wanted, sizeof wanted, "%s:2: ", fixture->path);
	const char *first = strstr(fixture->said, wanted);
	assert_non_null(first);
	assert_non_null(strstr(first + 1, wanted));
	fixture->domains_path = "/nonexistent/domains";
	assert_int_equal(verify(fixture, "nobody"), 2);
	assert_non_null(strstr(fixture->said, "/nonexistent/domains: No such file"));
}

/* Opening a pipe would wait for somebody to write. */
static void a_pipe_is_not_waited_for(void **state)
{
	struct fixture *fixture = *state;
	assert_int_equal(unlink(fixture->path), 0);
	assert_int_equal(mkfifo(fixture->path, 0600), 0);
	(void)alarm(20);
	assert_int_equal(verify(fixture, "nobody"), 1);
	(void)alarm(0);
	assert_non_null(strstr(fixture->said, fixture->path));
	assert_non_null(strstr(fixture->said, "is a pipe"));
}

static void a_missing_key_is_noted_and_hides_no_other_fault(void **state)
{
	struct fixture *fixture = *state;
	fixture->key_path = "/nonexistent/key";
	fixture->peer = "127.0.0.1";
	assert_int_equal(verify(fixture, "nobody"), 0);
	assert_int_equal(strncmp(fixture->said, "note: ", 6), 0);
	assert_non_null(strstr(fixture->said, "/nonexistent/key; miredctl sync-key makes one"));
	fixture->peer = "nosuch0:1";
	assert_int_equal(verify(fixture, "nobody"), 1);
	assert_non_null(strstr(fixture->said, "miredctl sync-key"));
	assert_non_null(strstr(fixture->said, "nosuch0:1"));
	fixture->is_blacklist_only = true;
	assert_int_equal(verify(fixture, "nobody"), 0);
	assert_non_null(strstr(fixture->said, "no greylist to keep in step"));
}

static void a_key_that_may_not_be_used_is_a_fault(void **state)
{
	struct fixture *fixture = *state;
	write_list(fixture, "192.0.2.1\n", 1);
	fixture->key_path = fixture->path;
	fixture->peer = "127.0.0.1";
	assert_int_equal(verify(fixture, "nobody"), 0);
	assert_string_equal(fixture->said, "");
	assert_int_equal(chmod(fixture->path, 0644), 0);
	assert_int_equal(verify(fixture, "nobody"), 1);
	assert_non_null(strstr(fixture->said, fixture->path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(nothing_wrong_is_nothing_said),
	        TEST(each_fault_is_a_line_with_its_name),
	        TEST(root_is_no_user_for_a_role),
	        TEST(a_list_too_long_for_the_start_does_not_pass_the_check),
	        TEST(the_users_of_other_programs_are_only_noted),
	        TEST(allowed_domains_are_checked_line_by_line),
	        TEST(a_pipe_is_not_waited_for),
	        TEST(a_missing_key_is_noted_and_hides_no_other_fault),
	        TEST(a_key_that_may_not_be_used_is_a_fault),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
