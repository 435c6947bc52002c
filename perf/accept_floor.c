/* The baseline of perf/accept: the engine's own ring and listeners, and nothing else. Each worker
 * has a multishot accept, sends a greeting to whoever comes and closes: at once, or (--ticks 1) at
 * the next tick but one, when the client has reset, as the engine finds it. No address is asked
 * for, no state kept, no clock read but for the ticks.
 *
 *   accept_floor --listen ADDR:PORT --workers N --bytes N [--ticks 0|1] --seconds S
 *
 * Prints how many connections each worker took when SIGTERM or the time ends it. */
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "engine/listener.h"
#include "engine/ring.h"
#include "support/args.h"

enum {
	WORKERS_MAX = 64,
	TABLE_SIZE = 16384,
	BYTES_MAX = 512,
	TICK_MS = 50,
	BATCH_MAX = 128, /* connections between two submissions, as in the engine */
	SECONDS_MAX = 600,
	ERROR_PAUSE_US = 1000,
	BACKLOG = 4096, /* these three: the engine's defaults */
	RECEIVE_BUFFER_BYTES = 2304,
	SEND_BUFFER_BYTES = 4608,
	USER_TIMEOUT_MS = 120000,
};

struct floor_options {
	struct args_place listen;
	uint64_t n_workers, n_bytes, ticks, seconds;
};

/* Of one thread, except the count. */
struct floor_worker {
	_Alignas(CACHE_LINE) const struct floor_options *options;
	struct ring *ring;
	int listener;
	pthread_t thread;
	bool is_armed;
	uint32_t *waiting; /* slots to be closed: of the tick before, then of this one */
	uint32_t n_waiting;
	uint32_t n_old;
	uint64_t n_accepted;
	uint8_t greeting[BYTES_MAX];
};

static atomic_bool is_ending;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&is_ending, true);
}

static void close_slot(struct floor_worker *worker, uint32_t slot)
{
	(void)ring_close_slot(worker->ring, (struct ring_tag){.op = RING_OP_CLOSE, .slot = slot});
}

static void on_accepted(struct floor_worker *worker, uint32_t slot)
{
	struct ring_tag tag = {.op = RING_OP_BYTE, .slot = slot};
	struct span greeting = span_of(worker->greeting, worker->options->n_bytes);
	(void)ring_send(worker->ring, tag, greeting, true);
	worker->n_accepted++;
	if (worker->options->ticks == 0) {
		close_slot(worker, slot);
	} else {
		worker->waiting[worker->n_waiting++] = slot;
	}
}

static void take_events(struct floor_worker *worker)
{
	struct ring_event event;
	for (unsigned n = 0; n < BATCH_MAX && ring_next(worker->ring, &event); n++) {
		if (event.tag.op != RING_OP_ACCEPT) {
			continue;
		}
		worker->is_armed = event.has_more;
		if (event.res >= 0) {
			on_accepted(worker, (uint32_t)event.res);
		}
	}
}

static void close_old(struct floor_worker *worker)
{
	for (uint32_t i = 0; i < worker->n_old; i++) {
		close_slot(worker, worker->waiting[i]);
	}
	worker->n_waiting -= worker->n_old;
	memmove(worker->waiting, worker->waiting + worker->n_old,
	        worker->n_waiting * sizeof *worker->waiting);
	worker->n_old = worker->n_waiting;
}

static void *run(void *arg)
{
	struct floor_worker *worker = arg;
	struct mono next = clock_mono();
	if (ring_enable(worker->ring) < 0) {
		atomic_store(&is_ending, true);
	}
	while (!atomic_load_explicit(&is_ending, memory_order_relaxed)) {
		if (!worker->is_armed) {
			worker->is_armed =
			        ring_accept_multishot(worker->ring, worker->listener,
			                              (struct ring_tag){.op = RING_OP_ACCEPT});
		}
		int64_t left_ns = next.ns - clock_mono().ns;
		if (ring_wait(worker->ring, left_ns > 0 ? left_ns : 0) < 0) {
			(void)usleep(ERROR_PAUSE_US);
		}
		take_events(worker);
		if (left_ns <= 0) {
			close_old(worker);
			next = mono_add_ms(clock_mono(), TICK_MS);
		}
	}
	return NULL;
}

static int open_worker(struct floor_worker *worker, const struct floor_options *options)
{
	const struct sockaddr_in *name = (const struct sockaddr_in *)&options->listen.name;
	const struct conf conf = {.backlog = BACKLOG,
	                          .receive_buffer_bytes = RECEIVE_BUFFER_BYTES,
	                          .send_buffer_bytes = SEND_BUFFER_BYTES,
	                          .user_timeout_ms = USER_TIMEOUT_MS};
	struct addr addr = addr_from_v4_be(name->sin_addr.s_addr);
	char why[LISTENER_WHY_MAX] = "out of memory";
	worker->options = options;
	worker->waiting = calloc(TABLE_SIZE, sizeof *worker->waiting);
	memset(worker->greeting, '-', sizeof worker->greeting);
	worker->greeting[options->n_bytes - 1] = '\n';
	int ret = worker->waiting ? 0 : -1;
	if (ret == 0) {
		ret = ring_open(&worker->ring, &(struct ring_options){.table_size = TABLE_SIZE},
		                why);
	}
	if (ret == 0) {
		worker->listener = listener_open(&addr, ntohs(name->sin_port), &conf, true, why);
		ret = worker->listener;
	}
	if (ret < 0) {
		(void)fprintf(stderr, "accept_floor: %s\n", why);
	}
	return ret;
}

static bool read_options(char **argv, struct floor_options *out)
{
	*out = (struct floor_options){0};
	const struct args_row rows[] = {
	        {.name = "listen", .place = &out->listen},
	        {"workers", .number = &out->n_workers, .number_max = WORKERS_MAX},
	        {"bytes", .number = &out->n_bytes, .number_max = BYTES_MAX},
	        {"ticks", .number = &out->ticks, .number_max = 1},
	        {"seconds", .number = &out->seconds, .number_max = SECONDS_MAX},
	};
	return args_read(argv, rows, ARRAY_LEN(rows)) && out->listen.len > 0 &&
	       out->n_workers > 0 && out->n_bytes > 0 && out->seconds > 0;
}

int main(int argc, char **argv)
{
	static struct floor_worker workers[WORKERS_MAX];
	static struct floor_options options;
	struct sigaction action = {.sa_handler = on_signal};
	struct rlimit limit;
	if (argc < 2 || !read_options(argv, &options)) {
		(void)fprintf(stderr, "accept_floor: see the head of accept_floor.c\n");
		return 2;
	}
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)sigaction(SIGALRM, &action, NULL);
	(void)alarm((unsigned)options.seconds);
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	for (uint64_t i = 0; i < options.n_workers; i++) {
		if (open_worker(&workers[i], &options) < 0 ||
		    pthread_create(&workers[i].thread, NULL, run, &workers[i]) != 0) {
			return 1;
		}
	}
	for (uint64_t i = 0; i < options.n_workers; i++) {
		(void)pthread_join(workers[i].thread, NULL);
		printf("%llu\n", (unsigned long long)workers[i].n_accepted);
		ring_close(workers[i].ring);
		free(workers[i].waiting);
		close(workers[i].listener);
	}
	return 0;
}
