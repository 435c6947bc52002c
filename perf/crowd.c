/* The first process of a crowd (crowd.h): starts the others, leads them through the phases, prints
 * what they do as one JSON object a line, and ends them. It always stops by itself.
 *
 *   crowd --connect ADDR:PORT --source ADDR:0 --sources N --seconds S
 *         ( --hold N [--rate R] [--opening-seconds S] [--look-seconds S] [--sample N]
 *         | --visit N ) [--processes N] [--report-seconds S] */
#include "crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/compiler.h"

enum {
	STEP_MS = 100,
	LAST_MS = 1000,      /* whoever reads the last report still finds all of them held */
	GRACE_SECONDS = 120, /* then the alarm ends what should have ended by itself */
	SECONDS_MAX = 86400,
	CONNECTIONS_MAX = 100000000,
	PERCENT = 100,
};

static volatile sig_atomic_t is_interrupted;

/* --- what the others use --------------------------------------------------------------------- */

enum crowd_phase crowd_phase(const struct crowd_member *member)
{
	return (enum crowd_phase)atomic_load_explicit(&member->shared->phase, memory_order_relaxed);
}

void crowd_add(_Atomic uint64_t *figure, uint64_t n)
{
	atomic_fetch_add_explicit(figure, n, memory_order_relaxed);
}

void crowd_note_cpu(const struct crowd_member *member)
{
	struct timespec at;
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
	atomic_store_explicit(&member->figures->cpu_ns,
	                      (uint64_t)(at.tv_sec * NS_PER_SEC + at.tv_nsec),
	                      memory_order_relaxed);
}

static struct sockaddr_in source_of(const struct crowd_options *options, uint64_t n)
{
	struct sockaddr_in name = *(const struct sockaddr_in *)&options->source.name;
	uint32_t offset = (uint32_t)(n % options->n_sources);
	name.sin_addr.s_addr = htonl(ntohl(name.sin_addr.s_addr) + offset);
	name.sin_port = 0;
	return name;
}

int crowd_connect(const struct crowd_member *member, uint64_t n)
{
	const struct crowd_options *options = member->options;
	const struct linger reset = {.l_onoff = 1};
	const int one = 1;
	struct sockaddr_in source = source_of(options, n);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	/* the port is chosen at connect: each source has all of them for this server */
	(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)&source, sizeof source) == 0 &&
	    connect(fd, (const struct sockaddr *)&options->server.name, options->server.len) == 0) {
		return fd;
	}
	int ret = -errno;
	close(fd);
	return ret;
}

/* --- figures --------------------------------------------------------------------------------- */

struct sum {
	uint64_t n_open, n_opened, n_failed, n_lost, n_bytes, cpu_ns, n_gaps;
	uint32_t gaps[CROWD_GAP_BUCKETS];
};

static void add_up(const struct crowd_shared *shared, uint64_t n_processes, struct sum *sum)
{
	*sum = (struct sum){0};
	for (uint64_t i = 0; i < n_processes; i++) {
		const struct crowd_figures *figures = &shared->figures[i];
		sum->n_open += atomic_load_explicit(&figures->n_open, memory_order_relaxed);
		sum->n_opened += atomic_load_explicit(&figures->n_opened, memory_order_relaxed);
		sum->n_failed += atomic_load_explicit(&figures->n_failed, memory_order_relaxed);
		sum->n_lost += atomic_load_explicit(&figures->n_lost, memory_order_relaxed);
		sum->n_bytes += atomic_load_explicit(&figures->n_bytes, memory_order_relaxed);
		sum->cpu_ns += atomic_load_explicit(&figures->cpu_ns, memory_order_relaxed);
		for (size_t j = 0; j < CROWD_GAP_BUCKETS; j++) {
			uint32_t n = atomic_load_explicit(&figures->gaps[j], memory_order_relaxed);
			sum->gaps[j] += n;
			sum->n_gaps += n;
		}
	}
}

/* The middle of the histogram's step in which it lies. */
static double gap_secs(const struct sum *sum, unsigned percent)
{
	uint64_t n = 0;
	for (size_t i = 0; i < CROWD_GAP_BUCKETS; i++) {
		n += sum->gaps[i];
		if (n > 0 && n * PERCENT >= sum->n_gaps * percent) {
			return ((double)i + 0.5) * CROWD_GAP_STEP_MS / MS_PER_SEC;
		}
	}
	return 0;
}

static void report(const struct crowd_shared *shared, const struct crowd_options *options,
                   struct mono start)
{
	static const char *const names[] = {"opening", "holding", "ended"};
	struct sum sum;
	add_up(shared, options->n_processes, &sum);
	printf("{\"phase\": \"%s\", \"seconds\": %.3f, ",
	       names[atomic_load_explicit(&shared->phase, memory_order_relaxed)],
	       (double)mono_diff_ms(clock_mono(), start) / MS_PER_SEC);
	printf("\"open\": %llu, \"opened\": %llu, \"failed\": %llu, \"lost\": %llu, ",
	       (unsigned long long)sum.n_open, (unsigned long long)sum.n_opened,
	       (unsigned long long)sum.n_failed, (unsigned long long)sum.n_lost);
	printf("\"bytes\": %llu, \"cpu_secs\": %.3f, \"gaps\": %llu, \"gap_p1\": %.2f, "
	       "\"gap_p50\": %.2f, \"gap_p99\": %.2f}\n",
	       (unsigned long long)sum.n_bytes, (double)sum.cpu_ns / NS_PER_SEC,
	       (unsigned long long)sum.n_gaps, gap_secs(&sum, 1), gap_secs(&sum, PERCENT / 2),
	       gap_secs(&sum, PERCENT - 1));
	(void)fflush(stdout);
}

/* --- the crowd ------------------------------------------------------------------------------- */

_Noreturn static void run_member(const struct crowd_options *options, struct crowd_shared *shared,
                                 uint32_t idx, struct mono start)
{
	struct crowd_member member = {.options = options,
	                              .shared = shared,
	                              .figures = &shared->figures[idx],
	                              .idx = idx,
	                              .start = start};
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_IGN); /* the first process says when it ends */
	(void)signal(SIGTERM, SIG_IGN);
	if (options->n_hold > 0) {
		crowd_hold(&member);
	} else {
		crowd_visit(&member);
	}
	crowd_note_cpu(&member);
	_exit(0); /* closes all of them */
}

static void set_phase(struct crowd_shared *shared, enum crowd_phase phase)
{
	atomic_store_explicit(&shared->phase, phase, memory_order_relaxed);
}

static bool is_all_open(const struct crowd_shared *shared, const struct crowd_options *options)
{
	uint64_t n = 0;
	for (uint64_t i = 0; i < options->n_processes; i++) {
		n += atomic_load_explicit(&shared->figures[i].n_opened, memory_order_relaxed);
	}
	return n >= options->n_hold;
}

static void lead(struct crowd_shared *shared, const struct crowd_options *options,
                 struct mono start)
{
	struct mono opened_by = mono_add_ms(start, (int64_t)options->opening_secs * MS_PER_SEC);
	struct mono next_report = start;
	struct mono until = {INT64_MAX};
	enum crowd_phase phase = CROWD_OPENING;
	while (!is_interrupted && clock_mono().ns < until.ns) {
		const struct timespec pause = {.tv_nsec = STEP_MS * NS_PER_MS};
		(void)nanosleep(&pause, NULL);
		struct mono now = clock_mono();
		if (phase == CROWD_OPENING &&
		    (now.ns >= opened_by.ns || is_all_open(shared, options))) {
			phase = CROWD_HOLDING;
			set_phase(shared, phase);
			until = mono_add_ms(now, (int64_t)options->seconds * MS_PER_SEC + LAST_MS);
			next_report = now;
		}
		if (now.ns >= next_report.ns) {
			report(shared, options, start);
			next_report = mono_add_ms(now, (int64_t)options->report_secs * MS_PER_SEC -
			                                       STEP_MS / 2);
		}
	}
	set_phase(shared, CROWD_ENDING);
}

static void on_signal(int number)
{
	(void)number;
	is_interrupted = 1;
}

static bool read_options(char **argv, struct crowd_options *out)
{
	*out = (struct crowd_options){.n_sources = 1,
	                              .n_processes = 1,
	                              .rate = CONNECTIONS_MAX,
	                              .opening_secs = 240,
	                              .look_secs = 20,
	                              .report_secs = 10};
	const struct args_row rows[] = {
	        {.name = "connect", .place = &out->server},
	        {.name = "source", .place = &out->source},
	        {"sources", .number = &out->n_sources, .number_max = UINT32_MAX},
	        {"hold", .number = &out->n_hold, .number_max = CONNECTIONS_MAX},
	        {"visit", .number = &out->n_visit, .number_max = CONNECTIONS_MAX},
	        {"processes", .number = &out->n_processes, .number_max = CROWD_PROCESSES_MAX},
	        {"rate", .number = &out->rate, .number_max = CONNECTIONS_MAX},
	        {"opening-seconds", .number = &out->opening_secs, .number_max = SECONDS_MAX},
	        {"seconds", .number = &out->seconds, .number_max = SECONDS_MAX},
	        {"look-seconds", .number = &out->look_secs, .number_max = SECONDS_MAX},
	        {"sample", .number = &out->n_sample, .number_max = CONNECTIONS_MAX},
	        {"report-seconds", .number = &out->report_secs, .number_max = SECONDS_MAX},
	};
	bool is_right = args_read(argv, rows, ARRAY_LEN(rows));
	return is_right && out->server.len > 0 && out->source.len > 0 && out->n_sources > 0 &&
	       out->n_processes > 0 && out->look_secs > 0 && out->report_secs > 0 &&
	       (out->n_hold > 0) != (out->n_visit > 0);
}

static void raise_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	struct crowd_options options;
	struct sigaction action = {.sa_handler = on_signal};
	if (argc < 2 || !read_options(argv, &options)) {
		(void)fprintf(stderr, "crowd: see the head of crowd.c for its options\n");
		return 2;
	}
	struct crowd_shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
	                                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("crowd");
		return 1;
	}
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	raise_limit();
	(void)alarm((unsigned)(options.opening_secs + options.seconds) + GRACE_SECONDS);
	struct mono start = clock_mono();
	for (uint32_t i = 0; i < options.n_processes; i++) {
		if (fork() == 0) {
			run_member(&options, shared, i, start);
		}
	}
	lead(shared, &options, start);
	while (wait(NULL) > 0 || errno == EINTR) {
	}
	report(shared, &options, start);
	return 0;
}
