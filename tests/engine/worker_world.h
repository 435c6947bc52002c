/* A worker on a real loopback listener, a keeper played by the test through real mailboxes, and
 * plain blocking clients. Included by the tests of the worker only. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../support/quiet_log.h"
#include "base/clock.h"
#include "base/mailbox.h"
#include "engine/listener.h"
#include "engine/worker.h"
#include "keeper/keeper.h"
#include "store/cache.h"
#include "store/record.h"

enum { WORLD_TUPLES_MAX = 4096, WORLD_TEXT_MAX = 4096, PATIENCE_MS = 10000 };

/* What the played keeper does with requests. */
struct world_keeper {
	pthread_t thread;
	bool is_running;
	_Atomic bool stop;
	_Atomic bool hold;              /* leaves requests in the mailbox */
	_Atomic uint32_t host_answer;   /* enum cache_kind, to questions */
	_Atomic uint32_t stored_answer; /* likewise, to tuples */
	_Atomic uint32_t n_hosts, n_tuples, n_seen;
	/* the last tuple; read it only after n_tuples told of it, with the keeper held or idle */
	pthread_mutex_t lock;
	char last[WORLD_TEXT_MAX]; /* "helo sender recipient" */
	struct addr last_addr;
	struct addr last_peer;
	uint16_t last_flags;
};

struct world {
	struct conf conf;
	struct session_conf session;
	struct worker_env env;
	struct keeper_port port;
	struct cache *hosts;
	struct cache *tuples;
	struct worker *worker;
	struct world_keeper keeper;
	_Atomic uint32_t n_connections;
	_Atomic uint32_t n_listed;
	struct sockaddr_storage at;
	socklen_t at_len;
	struct worker_listener listener;
	uint8_t hash_key[RECORD_HASH_KEY_BYTES];
};

static _Atomic uint32_t n_wakes;
static char world_trap_text[] = "%A wrote to a trap";

/* Stands in for the real one, which is not linked then. */
void keeper_wake(struct keeper *keeper)
{
	(void)keeper;
	atomic_fetch_add_explicit(&n_wakes, 1, memory_order_relaxed);
}

/* --- the keeper's side --- */

static inline void world_note_tuple(struct world_keeper *keeper,
                                    const struct keeper_request *request)
{
	const char *text = (const char *)request->strings;
	pthread_mutex_lock(&keeper->lock);
	snprintf(keeper->last, sizeof keeper->last, "%.*s %.*s %.*s", request->helo_len, text,
	         request->sender_len, text + request->helo_len, request->recipient_len,
	         text + request->helo_len + request->sender_len);
	keeper->last_addr = request->addr;
	keeper->last_peer = request->peer;
	keeper->last_flags = request->flags;
	pthread_mutex_unlock(&keeper->lock);
	atomic_fetch_add(&keeper->n_tuples, 1);
}

static inline void world_answer(struct world *world, const struct keeper_request *request)
{
	struct keeper_answer answer = {.conn = request->conn};
	if (request->kind == KEEPER_SEEN) {
		atomic_fetch_add(&world->keeper.n_seen, 1);
		return;
	}
	if (request->kind == KEEPER_HOST) {
		answer.kind = KEEPER_ANSWER_HOST;
		answer.host = atomic_load(&world->keeper.host_answer);
		atomic_fetch_add(&world->keeper.n_hosts, 1);
	} else {
		answer.kind = KEEPER_ANSWER_STORED;
		answer.host = atomic_load(&world->keeper.stored_answer);
		world_note_tuple(&world->keeper, request);
	}
	struct keeper_answer *out = mailbox_reserve(world->port.answers, sizeof answer);
	while (!out && !atomic_load(&world->keeper.stop)) {
		usleep(1000); /* as the real one: what finds no room waits */
		out = mailbox_reserve(world->port.answers, sizeof answer);
	}
	if (out) {
		*out = answer;
		mailbox_post(world->port.answers);
	}
}

static inline void *world_keeper_run(void *arg)
{
	struct world *world = arg;
	while (!atomic_load(&world->keeper.stop)) {
		size_t len;
		const void *request = NULL;
		if (!atomic_load(&world->keeper.hold)) {
			request = mailbox_peek(world->port.requests, &len);
		}
		if (request) {
			world_answer(world, request);
			mailbox_release(world->port.requests);
		} else {
			usleep(1000);
		}
	}
	return NULL;
}

/* --- start and stop --- */

static inline void world_raise_limits(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Settings for quick tests; change them before world_start. */
static inline struct world *world_new(enum conf_feature accept_feature)
{
	struct world *world = calloc(1, sizeof *world);
	assert_non_null(world);
	world_raise_limits();
	world->conf = (struct conf){
	        .tick_ms = 20,
	        .receive_buffer_bytes = 2304,
	        .send_buffer_bytes = 4608,
	        .user_timeout_ms = 120000,
	        .backlog = 4096,
	        .accept_feature = accept_feature,
	        .passtime_secs = 1500,
	        .ipv6_prefix = 64,
	        .trap_text = world_trap_text,
	};
	world->session = (struct session_conf){
	        .read_timeout_ms = 60000,
	        .write_timeout_ms = 60000,
	        .store_wait_ms = 5000,
	        .close_wait_ms = 500,
	        .close_discard_bytes = 65536,
	        .look_min_ms = 20,
	        .look_max_ms = 100,
	        .bad_commands_max = 20,
	};
	assert_int_equal(reply_set_init(&world->session.replies[0], "%h ESMTP %n", "mx.example.org",
	                                "service"),
	                 0);
	atomic_init(&world->keeper.host_answer, CACHE_NONE);
	world->env.table_size = 1000;
	world->env.max_connections = 100000;
	world->env.max_listed = 100000;
	world->env.bytes_per_sec = 100000;
	return world;
}

static inline void world_listen(struct world *world, const char *text)
{
	char why[LISTENER_WHY_MAX] = "";
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	world->listener.fd = listener_open(&addr, 0, &world->conf, true, why);
	if (world->listener.fd < 0) {
		fail_msg("%s", why);
	}
	world->at_len = sizeof world->at;
	assert_int_equal(
	        getsockname(world->listener.fd, (struct sockaddr *)&world->at, &world->at_len), 0);
}

static inline void world_start_sized(struct world *world, const char *addr, size_t mailbox_bytes)
{
	world_listen(world, addr);
	world->hosts = cache_new(1024);
	world->tuples = cache_new(1024);
	world->port.requests = mailbox_new(mailbox_bytes);
	world->port.answers = mailbox_new(KEEPER_ANSWER_BYTES);
	pthread_mutex_init(&world->keeper.lock, NULL);
	world->env.conf = &world->conf;
	world->env.session = &world->session;
	world->env.hosts = world->hosts;
	world->env.tuples = world->tuples;
	world->env.hash_key = world->hash_key;
	world->env.port = &world->port;
	world->env.n_connections = &world->n_connections;
	world->env.n_listed = &world->n_listed;
	world->env.listeners = &world->listener;
	world->env.n_listeners = 1;
	assert_int_equal(worker_start(&world->worker, &world->env), 0);
	assert_int_equal(pthread_create(&world->keeper.thread, NULL, world_keeper_run, world), 0);
	world->keeper.is_running = true;
}

static inline void world_start(struct world *world)
{
	world_start_sized(world, "127.0.0.1", KEEPER_MAILBOX_BYTES);
}

static inline void world_stop_worker(struct world *world)
{
	worker_stop(world->worker);
	world->worker = NULL;
	assert_int_equal(atomic_load(&world->n_connections), 0);
	assert_int_equal(atomic_load(&world->n_listed), 0);
}

static inline void world_restart_worker(struct world *world)
{
	world_listen(world, "127.0.0.1");
	assert_int_equal(worker_start(&world->worker, &world->env), 0);
}

/* Also of a world whose test failed before its start. */
static inline void world_end(struct world *world)
{
	world_stop_worker(world);
	if (world->keeper.is_running) {
		atomic_store(&world->keeper.stop, true);
		pthread_join(world->keeper.thread, NULL);
		pthread_mutex_destroy(&world->keeper.lock);
	}
	mailbox_free(world->port.requests);
	mailbox_free(world->port.answers);
	cache_free(world->hosts);
	cache_free(world->tuples);
	free(world);
}

/* The state of a test is its feature before, its world from then on. */
static inline int world_setup(void **state)
{
	*state = world_new((enum conf_feature)(uintptr_t)*state);
	return 0;
}

static inline int world_teardown(void **state)
{
	world_end(*state);
	return 0;
}

// clang-format off
#define WORLD_WAY(test, feature)                                                                   \
	{#test " (" #feature ")", test, world_setup, world_teardown,                               \
	 (void *)(uintptr_t)CONF_FEATURE_##feature}
/* A test's two rows: with the ways of accepting that a worker has. */
#define WORLD_BOTH_WAYS(test) WORLD_WAY(test, AUTO), WORLD_WAY(test, FALLBACK)
// clang-format on

static inline uint64_t world_count(const struct world *world, enum counter which)
{
	return counters_get(worker_counters(world->worker), which);
}

/* Waits until the counter is at least n. */
static inline void world_wait_count(const struct world *world, enum counter which, uint64_t n)
{
	struct mono until = mono_add_ms(clock_mono(), PATIENCE_MS);
	while (world_count(world, which) < n && clock_mono().ns < until.ns) {
		usleep(2000);
	}
	if (world_count(world, which) < n) {
		fail_msg("%s is %llu, not %llu", counter_name(which),
		         (unsigned long long)world_count(world, which), (unsigned long long)n);
	}
}

static inline void world_wait_now(const struct world *world, uint32_t n)
{
	struct worker_figures figures = {0};
	struct mono until = mono_add_ms(clock_mono(), PATIENCE_MS);
	do {
		usleep(2000);
		worker_figures_get(world->worker, &figures);
	} while (figures.n_now != n && clock_mono().ns < until.ns);
	assert_int_equal(figures.n_now, n);
}

static inline void world_wait_atomic(_Atomic uint32_t *value, uint32_t n)
{
	struct mono until = mono_add_ms(clock_mono(), PATIENCE_MS);
	while (atomic_load(value) < n && clock_mono().ns < until.ns) {
		usleep(2000);
	}
	assert_true(atomic_load(value) >= n);
}

/* Puts the clients' own address into the host cache. */
static inline void world_put_host(struct world *world, const char *text, enum cache_kind kind,
                                  int64_t expire_in_secs)
{
	struct addr addr;
	struct cache_key key = {0};
	assert_int_equal(addr_parse(span_of_str(text), &addr), 0);
	memcpy(key.bytes, addr.bytes, sizeof addr.bytes);
	struct cache_entry entry = {
	        .kind = (uint8_t)kind,
	        .is_committed = true,
	        .first_secs = (uint32_t)clock_wall().secs,
	        .expire_secs = (uint32_t)(clock_wall().secs + expire_in_secs),
	};
	assert_true(cache_put(world->hosts, &key, &entry, NULL, NULL));
}

/* Puts a tuple into the tuple cache that is on disk and too early. */
static inline void world_put_tuple(struct world *world, const struct addr *host,
                                   const struct tuple_text *text)
{
	struct tuple_key tuple = record_tuple_key(world->hash_key, host, text);
	struct cache_key key;
	memcpy(&key, &tuple, sizeof key);
	struct cache_entry entry = {
	        .kind = CACHE_GREY,
	        .is_committed = true,
	        .first_secs = (uint32_t)clock_wall().secs,
	        .expire_secs = (uint32_t)clock_wall().secs + 1000,
	};
	assert_true(cache_put(world->tuples, &key, &entry, NULL, NULL));
}

/* --- clients --- */

static const char client_mail[] =
        "HELO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n";

static inline int client_open(const struct world *world)
{
	struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	int fd = socket(world->at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)&world->at, world->at_len) < 0) {
		fail_msg("connect: %s", strerror(errno));
	}
	return fd;
}

static inline void client_reset(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
	close(fd);
}

static inline void client_say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* One byte; false at EOF or reset. */
static inline bool client_byte(int fd, char *out)
{
	ssize_t n;
	do {
		n = recv(fd, out, 1, 0); /* the end of the worker's probing ring may interrupt it */
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN) {
		fail_msg("nothing came for %d ms", PATIENCE_MS);
	}
	return n == 1;
}

/* One line without its CRLF, "" at the end. */
static inline const char *client_line(int fd, char line[static WORLD_TEXT_MAX])
{
	size_t n = 0;
	while (n + 1 < WORLD_TEXT_MAX && client_byte(fd, &line[n])) {
		n++;
		if (n >= 2 && line[n - 2] == '\r' && line[n - 1] == '\n') {
			n -= 2;
			break;
		}
	}
	line[n] = '\0';
	return line;
}

static inline void client_expect(int fd, const char *prefix)
{
	char line[WORLD_TEXT_MAX];
	client_line(fd, line);
	if (strncmp(line, prefix, strlen(prefix)) != 0) {
		fail_msg("expected \"%s\", got \"%s\"", prefix, line);
	}
}

/* Replies to a mail's envelope; the one to DATA comes next. */
static inline void client_expect_envelope(int fd)
{
	client_expect(fd, "220 mx.example.org ESMTP service");
	client_expect(fd, "250 ");
	client_expect(fd, "250 ");
	client_expect(fd, "250 ");
}

static inline void client_expect_end(int fd)
{
	char byte = 0;
	assert_false(client_byte(fd, &byte));
}

/* True when something (data or end) comes within ms. */
static inline bool client_has_news(int fd, int ms)
{
	struct pollfd pollfd = {.fd = fd, .events = POLLIN};
	return poll(&pollfd, 1, ms) > 0;
}
