/* The engine as one: started on loopback, spoken to, stopped. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "../keeper/keeper_world.h"
#include "base/err.h"
#include "engine/engine.h"
#include "engine/listener.h"

enum { WORKERS = 2, CLIENTS = 200, RELOADS = 30, STOP_MAX_MS = 2000 };

struct fixture {
	struct conf conf;
	char dir[64];
	char db[80];
	uint16_t port;
	struct engine_listener listeners[WORKERS];
	struct engine *engine;
	struct span domains;
	struct sync_setup sync; /* with open_sync */
	int sync_socket;
	int peer;
};

static void open_listeners(struct fixture *fix)
{
	struct addr addr = world_addr("127.0.0.1");
	char why[LISTENER_WHY_MAX] = "";
	for (uint32_t w = 0; w < WORKERS; w++) {
		struct sockaddr_in sin = {.sin_port = 0};
		socklen_t len = sizeof sin;
		int fd = listener_open(&addr, fix->port, &fix->conf, true, why);
		assert_true(fd >= 0);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
		fix->port = ntohs(sin.sin_port);
		fix->listeners[w] = (struct engine_listener){.fd = fd, .worker = w};
	}
}

/* A peer at another loopback address and the same port: the test. */
static int open_udp(uint32_t addr_be, uint16_t *port)
{
	struct sockaddr_in sin = {
	        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = addr_be};
	socklen_t len = sizeof sin;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static void open_sync(struct fixture *fix)
{
	uint32_t own_be = htonl(0x7f000000U | ((uint32_t)getpid() & 0xffff) << 8 | 1);
	uint32_t peer_be = own_be + htonl(1);
	if (fix->peer > 0) {
		(void)close(fix->peer);
	}
	fix->sync = (struct sync_setup){
	        .key = sync_key_of(span_of_str("secret")), .n_peers = 1, .must_receive = true};
	fix->sync.peers[0] = (struct sync_peer){.addr_be = peer_be, .name = "peer"};
	fix->sync_socket = open_udp(own_be, &fix->sync.port);
	fix->peer = open_udp(peer_be, &fix->sync.port);
}

static int setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	(void)snprintf(fix->dir, sizeof fix->dir, "/tmp/mired-test-XXXXXX");
	assert_non_null(mkdtemp(fix->dir));
	(void)snprintf(fix->db, sizeof fix->db, "%s/db", fix->dir);
	char path[80];
	char why[CONF_ERROR_MAX] = "";
	(void)snprintf(path, sizeof path, "%s/conf", fix->dir);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fprintf(file,
	                    "state-dir = \"%s\"\nworkers = %d\nmax-connections = 1000\n"
	                    "grey-stutter = 0s\nstore-map = 64m\n"
	                    "host-cache = 4096\ntuple-cache = 4096\nverbose = yes\n",
	                    fix->dir, WORKERS) > 0);
	assert_int_equal(fclose(file), 0);
	struct conf_cli cli;
	if (conf_load(&fix->conf, &cli, path, 0, NULL, why) != 0) {
		fail_msg("%s", why);
	}
	*state = fix;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fix = *state;
	if (fix->peer > 0) {
		(void)close(fix->peer);
	}
	if (fix->engine) {
		engine_stop(fix->engine);
	}
	conf_fini(&fix->conf);
	world_remove_dir(fix->dir);
	free(fix);
	return 0;
}

static void start(struct fixture *fix)
{
	char why[ENGINE_WHY_MAX] = "";
	open_listeners(fix);
	struct engine_given given = {.listeners = fix->listeners,
	                             .n_listeners = WORKERS,
	                             .domains = fix->domains,
	                             .sync = fix->sync.n_peers > 0 ? &fix->sync : NULL,
	                             .sync_socket = fix->sync_socket};
	if (engine_start(&fix->engine, &fix->conf, &given, why) != 0) {
		fail_msg("%s", why);
	}
}

/* --- a client --------------------------------------------------------------------------------- */

static int dial(const struct fixture *fix)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
	                          .sin_port = htons(fix->port),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	return fd;
}

/* Reads one line; its code. */
static int read_code(int fd)
{
	char line[512] = "";
	size_t len = 0;
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	while (len < sizeof line - 1 && !strchr(line, '\n')) {
		assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
		ssize_t n = read(fd, line + len, 1);
		assert_int_equal(n, 1);
		len++;
	}
	return (int)strtol(line, NULL, 10);
}

static int command(int fd, const char *line)
{
	assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	return read_code(fd);
}

static void defer_one(const struct fixture *fix)
{
	int fd = dial(fix);
	assert_int_equal(read_code(fd), 220);
	assert_int_equal(command(fd, "HELO client.example\r\n"), 250);
	assert_int_equal(command(fd, "MAIL FROM:<a@example.org>\r\n"), 250);
	assert_int_equal(command(fd, "RCPT TO:<b@example.net>\r\n"), 250);
	assert_int_equal(command(fd, "DATA\r\n"), 451);
	(void)close(fd);
}

static uint64_t stored_tuples(struct fixture *fix, bool *was_clean)
{
	struct store *store = NULL;
	struct store_reader *reader = NULL;
	struct store_stats stats;
	struct store_conf conf = {
	        .dir = fix->db, .map_bytes = 64 << 20, .readers_max = 16, .read_only = true};
	char why[STORE_WHY_MAX];
	assert_int_equal(store_open(&store, &conf, why), 0);
	assert_int_equal(store_reader_open(store, &reader), 0);
	assert_int_equal(store_stats_get(reader, &stats), 0);
	*was_clean = store_was_clean(store);
	store_reader_close(reader);
	store_close(store);
	return stats.n_tuples;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void a_deferred_mail_is_in_the_store(void **state)
{
	struct fixture *fix = *state;
	start(fix);
	defer_one(fix);
	defer_one(fix);
	struct engine_figures *figures = calloc(1, sizeof *figures);
	assert_non_null(figures);
	engine_figures_get(fix->engine, figures);
	assert_int_equal(figures->store.n_tuples, 1);
	assert_int_equal(counters_get(&figures->totals, COUNTER_tuples_new), 1);
	assert_int_equal(counters_get(&figures->totals, COUNTER_tuples_early), 1);
	assert_int_equal(counters_get(&figures->totals, COUNTER_accepted), 2);
	assert_int_equal(figures->capacity.max_connections, 1000);
	assert_false(figures->is_store_degraded);
	assert_true(figures->accept_mode[0] != '\0');
	free(figures);
	engine_stop(fix->engine);
	fix->engine = NULL;
	bool was_clean = false;
	assert_int_equal(stored_tuples(fix, &was_clean), 1);
	assert_true(was_clean);
}

/* With this greeting and so many connections. */
static void reload(struct fixture *fix, const char *banner, uint32_t max_connections)
{
	struct conf conf;
	assert_int_equal(conf_copy(&conf, &fix->conf), 0);
	free(conf.banner);
	conf.banner = strdup(banner);
	conf.max_connections = max_connections;
	conf.passtime_secs = max_connections;
	assert_int_equal(engine_reload(fix->engine, &conf), 0);
	assert_null(conf.banner);
	assert_string_equal(engine_conf(fix->engine)->banner, banner);
}

static void assert_greeted(const struct fixture *fix, const char *greeting)
{
	char line[128] = "";
	int fd = dial(fix);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
	assert_true(read(fd, line, sizeof line - 1) > 0);
	assert_string_equal(line, greeting);
	(void)close(fd);
}

static void assert_held(struct fixture *fix, uint64_t n, uint32_t max)
{
	struct engine_figures *figures = calloc(1, sizeof *figures);
	assert_non_null(figures);
	for (int i = 0; i < WORLD_WAIT_MS && figures->conns_now != n; i++) {
		engine_figures_get(fix->engine, figures);
		(void)poll(NULL, 0, 1);
	}
	assert_int_equal(figures->conns_now, n);
	assert_int_equal(figures->capacity.max_connections, max);
	free(figures);
}

static void reloads_reach_new_connections_and_close_none(void **state)
{
	struct fixture *fix = *state;
	int fds[CLIENTS];
	start(fix);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = dial(fix);
	}
	assert_held(fix, CLIENTS, 1000);
	for (uint32_t i = 0; i < RELOADS; i++) {
		reload(fix, i % 2 ? "odd" : "even", 500 + i);
		assert_greeted(fix, i % 2 ? "220 odd\r\n" : "220 even\r\n");
	}
	defer_one(fix);
	assert_held(fix, CLIENTS, 500 + RELOADS - 1);
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(read_code(fds[i]), 220);
		assert_int_equal(write(fds[i], "NOOP\r\n", 6), 6);
	}
	for (int i = 0; i < CLIENTS; i++) {
		assert_int_equal(read_code(fds[i]), 250);
		(void)close(fds[i]);
	}
}

static void a_stop_with_open_connections_is_quick(void **state)
{
	struct fixture *fix = *state;
	int fds[CLIENTS];
	start(fix);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = dial(fix);
	}
	assert_int_equal(read_code(fds[CLIENTS - 1]), 220);
	struct mono begun = clock_mono();
	engine_stop(fix->engine);
	fix->engine = NULL;
	assert_in_range(mono_diff_ms(clock_mono(), begun), 0, STOP_MAX_MS);
	for (int i = 0; i < CLIENTS; i++) {
		(void)close(fds[i]);
	}
}

/* Holds the store for a while and dies. */
_Noreturn static void hold_store(const struct fixture *fix, int ready, int ms)
{
	struct store *store = NULL;
	struct store_conf conf = {.dir = fix->db,
	                          .map_bytes = 64 << 20,
	                          .journal_max = 1000,
	                          .readers_max = 16,
	                          .create = true};
	char why[STORE_WHY_MAX];
	if (store_open(&store, &conf, why) != 0 || write(ready, "", 1) != 1) {
		_exit(1);
	}
	world_sleep_ms(ms);
	_exit(0);
}

static void a_new_engine_waits_for_the_old_one_to_let_go(void **state)
{
	struct fixture *fix = *state;
	int pipe_fds[2];
	char byte = 0;
	assert_int_equal(pipe(pipe_fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		hold_store(fix, pipe_fds[1], 700);
	}
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	struct mono begun = clock_mono();
	start(fix);
	assert_in_range(mono_diff_ms(clock_mono(), begun), 500, 5000);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	defer_one(fix);
}

/* The engine that is killed. */
_Noreturn static void doomed(struct fixture *fix, int ready)
{
	start(fix);
	if (write(ready, &fix->port, sizeof fix->port) < 0) {
		_exit(1);
	}
	for (;;) {
		(void)pause();
	}
}

static void a_killed_engine_leaves_a_store_that_serves_on(void **state)
{
	struct fixture *fix = *state;
	int pipe_fds[2];
	bool was_clean = true;
	assert_int_equal(pipe(pipe_fds), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		doomed(fix, pipe_fds[1]);
	}
	assert_int_equal(read(pipe_fds[0], &fix->port, sizeof fix->port), sizeof fix->port);
	defer_one(fix);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	assert_int_equal(stored_tuples(fix, &was_clean), 1);
	assert_false(was_clean);
	fix->port = 0;
	start(fix);
	defer_one(fix);
	engine_stop(fix->engine);
	fix->engine = NULL;
	assert_int_equal(stored_tuples(fix, &was_clean), 1);
	assert_true(was_clean);
}

/* A client that comes in the first millisecond meets them. */
static void allowed_domains_are_in_force_when_the_start_returns(void **state)
{
	struct fixture *fix = *state;
	struct engine_figures figures;
	fix->domains = SPAN("example.com\nexample.org\n");
	start(fix);
	engine_figures_get(fix->engine, &figures);
	assert_int_equal(figures.lists.n_domains, 2);
}

static void assert_start_fails(struct fixture *fix, int code, const char *words)
{
	char why[ENGINE_WHY_MAX] = "";
	open_listeners(fix);
	open_sync(fix);
	struct engine_given given = {.listeners = fix->listeners,
	                             .n_listeners = WORKERS,
	                             .sync = &fix->sync,
	                             .sync_socket = fix->sync_socket};
	assert_int_equal(engine_start(&fix->engine, &fix->conf, &given, why), code);
	if (!strstr(why, words)) {
		fail_msg("\"%s\" lacks \"%s\"", why, words);
	}
	for (int w = 0; w < WORKERS; w++) {
		assert_int_equal(fcntl(fix->listeners[w].fd, F_GETFD), -1);
	}
	assert_int_equal(fcntl(fix->sync_socket, F_GETFD), -1);
}

static void a_failed_start_says_why_and_closes_its_listeners(void **state)
{
	struct fixture *fix = *state;
	char *banner = fix->conf.banner;
	char bad[] = "%x";
	fix->conf.banner = bad;
	assert_start_fails(fix, ERR_SYNTAX, "banner");
	fix->conf.banner = banner;
	char *dir = fix->conf.state_dir;
	char missing[] = "/nonexistent/mired";
	fix->conf.state_dir = missing;
	assert_start_fails(fix, ERR_NOT_FOUND, missing);
	fix->conf.state_dir = dir;
	fix->conf.workers = 1; /* fewer than there are listeners for */
	assert_start_fails(fix, ERR_RANGE, "listener");
}

/* --- in step with others ---------------------------------------------------------------------- */

static void a_deferred_mail_is_told_to_the_peer(void **state)
{
	struct fixture *fix = *state;
	uint8_t bytes[WIRE_BYTES_MAX];
	static struct wire_block blocks[WIRE_BLOCKS_MAX];
	size_t n = 0;
	open_sync(fix);
	start(fix);
	defer_one(fix);
	struct pollfd pfd = {.fd = fix->peer, .events = POLLIN};
	assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
	ssize_t len = recv(fix->peer, bytes, sizeof bytes, 0);
	assert_true(len > 0);
	assert_int_equal(wire_decode(span_of(bytes, (size_t)len), &fix->sync.key, blocks, &n),
	                 WIRE_OK);
	assert_int_equal(n, 1);
	assert_int_equal(blocks[0].type, WIRE_GREY);
	assert_true(span_equal(blocks[0].recipient, span_of_str("<b@example.net>")));
	struct engine_figures *figures = calloc(1, sizeof *figures);
	assert_non_null(figures);
	engine_figures_get(fix->engine, figures);
	assert_true(figures->has_sync);
	assert_true(figures->sync.is_sending && figures->sync.is_receiving);
	assert_string_equal(figures->sync.peers[0].name, "peer");
	free(figures);
}

static void blacklist_mode_sends_and_takes_nothing(void **state)
{
	struct fixture *fix = *state;
	fix->conf.blacklist_only = true;
	open_sync(fix);
	start(fix);
	/* its port is free */
	(void)close(open_udp(fix->sync.peers[0].addr_be - htonl(1), &fix->sync.port));
	struct engine_figures *figures = calloc(1, sizeof *figures);
	assert_non_null(figures);
	engine_figures_get(fix->engine, figures);
	assert_false(figures->has_sync);
	free(figures);
}

/* --- from outside ----------------------------------------------------------------------------- */

static struct engine_result next_result(const struct fixture *fix)
{
	struct engine_result result;
	struct pollfd pfd = {.fd = engine_results_fd(fix->engine), .events = POLLIN};
	while (!engine_next_result(fix->engine, &result)) {
		assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
	}
	return result;
}

static struct engine_result put_lists(const struct fixture *fix, const char *lines)
{
	char *copy = strdup(lines);
	assert_int_equal(engine_list(fix->engine, LISTER_LINES, copy, strlen(copy), 5), 0);
	struct engine_result result = next_result(fix);
	assert_true(result.is_list);
	assert_int_equal(result.cookie, 5);
	return result;
}

static void count_list(void *ctx, struct span tag, size_t n_networks, int64_t loaded_secs)
{
	size_t *n = ctx;
	assert_true(span_equal(tag, SPAN("bad")));
	assert_true(loaded_secs > 0);
	*n += n_networks;
}

static void make_change(const struct fixture *fix, const char *line, uint64_t cookie)
{
	struct change change;
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX] = "";
	if (change_parse(span_of_str(line), buf, &change, why) != 0) {
		fail_msg("%s", why);
	}
	assert_int_equal(engine_change(fix->engine, &change, cookie), 0);
}

static void changes_and_lists_are_answered_when_they_are_on_disk(void **state)
{
	struct fixture *fix = *state;
	start(fix);
	make_change(fix, "white 192.0.2.7", 1);
	make_change(fix, "delete 192.0.2.8", 2);
	make_change(fix, "spamtrap trap@example.com", 3);
	engine_flush_changes(fix->engine);
	for (uint64_t i = 1; i <= 3; i++) {
		struct engine_result result = next_result(fix);
		assert_false(result.is_list);
		assert_int_equal(result.cookie, i);
		assert_int_equal(result.ret, i == 2 ? ERR_NOT_FOUND : 0);
	}
	assert_int_equal(put_lists(fix, "bad;\"x\";inet;1;127.0.0.0/8;\nworse\n").ret, ERR_SYNTAX);
	struct engine_figures *figures = calloc(1, sizeof *figures);
	assert_non_null(figures);
	engine_figures_get(fix->engine, figures);
	assert_int_equal(figures->store.n_hosts, 1);
	assert_int_equal(figures->trap_addresses, 1);
	assert_true(figures->trap_address_bytes > 0);
	assert_int_equal(figures->lists.n_lists, 1);
	assert_int_equal(figures->capacity.max_listed, 900);
	assert_int_equal(counters_get(&figures->totals, COUNTER_lists_refused), 1);
	free(figures);
}

static void lists_and_traps_are_in_force_again_before_the_first_client(void **state)
{
	struct fixture *fix = *state;
	start(fix);
	assert_int_equal(put_lists(fix, "bad;\"x\";inet;1;127.0.0.0/8;\n").ret, 0);
	make_change(fix, "spamtrap trap@example.com", 1);
	engine_flush_changes(fix->engine);
	assert_int_equal(next_result(fix).ret, 0);
	engine_stop(fix->engine);
	fix->engine = NULL;
	fix->port = 0;
	start(fix);
	size_t n_networks = 0;
	engine_describe_lists(fix->engine, count_list, &n_networks);
	assert_int_equal(n_networks, 1);
	struct engine_figures *figures = calloc(1, sizeof *figures);
	assert_non_null(figures);
	int fd = dial(fix);
	for (int i = 0; i < WORLD_WAIT_MS && figures->conns_listed == 0; i++) {
		engine_figures_get(fix->engine, figures);
		world_sleep_ms(1);
	}
	assert_int_equal(figures->conns_listed, 1);
	assert_int_equal(figures->trap_addresses, 1);
	(void)close(fd);
	free(figures);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(a_deferred_mail_is_in_the_store, setup, teardown),
	        cmocka_unit_test_setup_teardown(reloads_reach_new_connections_and_close_none, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_stop_with_open_connections_is_quick, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_new_engine_waits_for_the_old_one_to_let_go, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(a_killed_engine_leaves_a_store_that_serves_on,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(allowed_domains_are_in_force_when_the_start_returns,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_failed_start_says_why_and_closes_its_listeners,
	                                        setup, teardown),
	        cmocka_unit_test_setup_teardown(a_deferred_mail_is_told_to_the_peer, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(blacklist_mode_sends_and_takes_nothing, setup,
	                                        teardown),
	        cmocka_unit_test_setup_teardown(
	                changes_and_lists_are_answered_when_they_are_on_disk, setup, teardown),
	        cmocka_unit_test_setup_teardown(
	                lists_and_traps_are_in_force_again_before_the_first_client, setup,
	                teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
