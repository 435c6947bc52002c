/* What a log line costs the thread that says it, and the process with its writer: with its text and
 * fields made and written, and beyond log-rate, where it is only counted. The baseline makes the
 * same text and writes it itself, line by line, to the same /dev/null.
 *
 * usage: bench_log [BURSTS] */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/log.h"

enum {
	BURSTS_DEFAULT = 300,
	BURST = 500,      /* lines at once: as many as a worker says in a turn of a flood */
	PAUSE_US = 15000, /* for the writer, as between two turns */
	RATE = 1000,
};

static int64_t cpu_ns(clockid_t clock)
{
	struct timespec at;
	(void)clock_gettime(clock, &at);
	return at.tv_sec * NS_PER_SEC + at.tv_nsec;
}

static void say_logged(const struct addr *addr, unsigned i)
{
	char ip[ADDR_TEXT_MAX];
	if (log_takes(LOG_EVENT_connected)) {
		const struct log_fields fields = {.client = addr_format(addr, ip),
		                                  .verdict = "GREY"};
		log_event(LOG_EVENT_connected, &fields, "%s: connected (%u/%u)", ip, i, 3U);
	}
}

static void say_bare(const struct addr *addr, unsigned i)
{
	char ip[ADDR_TEXT_MAX];
	char line[LOG_LINE_MAX];
	int len = snprintf(line, sizeof line, "mired[%d]: %s: connected (%u/%u)\n", (int)getpid(),
	                   addr_format(addr, ip), i, 3U);
	(void)!write(STDERR_FILENO, line, (size_t)len);
}

static void measure(const char *what, unsigned bursts,
                    void (*say)(const struct addr *addr, unsigned i))
{
	const struct addr addr = addr_from_v4_be(0x0100a8c0);
	int64_t process_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
	int64_t thread_ns = 0;
	for (unsigned n = 0; n < bursts; n++) {
		int64_t begun_ns = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
		for (unsigned i = 0; i < BURST; i++) {
			say(&addr, i);
		}
		thread_ns += cpu_ns(CLOCK_THREAD_CPUTIME_ID) - begun_ns;
		(void)usleep(PAUSE_US);
	}
	process_ns = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - process_ns;
	double lines = (double)bursts * BURST;
	(void)printf("%-28s thread %4.0f ns a line, process %4.0f ns\n", what,
	             (double)thread_ns / lines, (double)process_ns / lines);
}

static int measure_logged(const char *what, unsigned bursts, uint32_t rate)
{
	const struct log_options options = {.ident = "mired",
	                                    .target = LOG_TARGET_STDERR,
	                                    .level = LOG_LEVEL_INFO,
	                                    .rate = rate};
	if (log_open(&options) != 0) {
		return EXIT_FAILURE;
	}
	measure(what, bursts, say_logged);
	log_close();
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct utsname host;
	unsigned bursts = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : BURSTS_DEFAULT;
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (bursts == 0 || null < 0 || dup2(null, STDERR_FILENO) < 0 || uname(&host) != 0) {
		(void)fputs("usage: bench_log [BURSTS]\n", stdout);
		return EXIT_FAILURE;
	}
	(void)printf("bench_log %u, Linux %s\n", bursts, host.release);
	measure("one write a line", bursts, say_bare);
	int status = measure_logged("logged", bursts, LOG_RATE_NONE);
	status |= measure_logged("beyond log-rate, counted", bursts, RATE);
	if (log_dropped() > 0) {
		(void)printf("%llu lines found no room\n", (unsigned long long)log_dropped());
	}
	return status;
}
