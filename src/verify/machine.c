/* One table of sysctls, and a function for each thing that is none. */
#include "verify/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/err.h"
#include "fw/fw_routes.h"

enum { TEXT_BYTES = 4096, PATH_BYTES = 128, TCP_MEM_VALUES = 3 };

/* A unit of this name is what the documentation installs. */
#define UNIT_COMMAND                                                                      \
	"exec /bin/systemctl show -p LoadState -p LimitNOFILE mired.service 2>/dev/null " \
	"</dev/null"
#define SYSTEMD_RUNS "/run/systemd/system" /* sd_booted(3) */

static const char *const sysctls[MACHINE_COUNT] = {
        [MACHINE_SOMAXCONN] = "net.core.somaxconn",
        [MACHINE_SYN_BACKLOG] = "net.ipv4.tcp_max_syn_backlog",
        [MACHINE_SYNCOOKIES] = "net.ipv4.tcp_syncookies",
        [MACHINE_TCP_MEM] = "net.ipv4.tcp_mem",
        [MACHINE_CONNTRACK_MAX] = "net.netfilter.nf_conntrack_max",
        [MACHINE_NR_OPEN] = "fs.nr_open",
        [MACHINE_FILE_MAX] = "fs.file-max",
        [MACHINE_FWMARK_ACCEPT] = "net.ipv4.tcp_fwmark_accept",
        [MACHINE_URING_DISABLED] = "kernel.io_uring_disabled",
};

const char *machine_sysctl(enum machine_item item)
{
	return sysctls[item];
}

/* --- texts ------------------------------------------------------------------------------------ */

/* The next word behind white space; empty at the end. */
static struct span take_word(struct span *text)
{
	static const char white[] = " \t\n";
	size_t begin = 0;
	while (begin < text->len && strchr(white, text->ptr[begin])) {
		begin++;
	}
	size_t end = begin;
	while (end < text->len && !strchr(white, text->ptr[end])) {
		end++;
	}
	struct span word = span_of(text->ptr + begin, end - begin);
	*text = span_of(text->ptr + end, text->len - end);
	return word;
}

int machine_parse_numbers(struct span text, uint64_t *out, size_t n_max)
{
	int n = 0;
	for (struct span word = take_word(&text); word.len > 0; word = take_word(&text)) {
		if ((size_t)n == n_max) {
			return ERR_SYNTAX;
		}
		if (word.ptr[0] == '-') {
			return ERR_RANGE;
		}
		int ret = span_to_u64(word, UINT64_MAX, &out[n]);
		if (ret) {
			return ret;
		}
		n++;
	}
	return n;
}

/* True, and *text is what follows on its line, when some line begins with the prefix. */
static bool find_line(struct span *text, const char *prefix)
{
	size_t len = strlen(prefix);
	while (text->len > 0) {
		const uint8_t *lf = memchr(text->ptr, '\n', text->len);
		size_t n = lf ? (size_t)(lf - text->ptr) : text->len;
		if (n >= len && memcmp(text->ptr, prefix, len) == 0) {
			*text = span_of(text->ptr + len, n - len);
			return true;
		}
		size_t skip = lf ? n + 1 : n;
		*text = span_of(text->ptr + skip, text->len - skip);
	}
	return false;
}

static int parse_limit(struct span word, const char *endless, uint64_t *out)
{
	if (span_equal(word, span_of_str(endless))) {
		*out = UINT64_MAX;
		return 0;
	}
	return span_to_u64(word, UINT64_MAX, out);
}

int machine_parse_limits(struct span text, uint64_t *hard)
{
	if (!find_line(&text, "Max open files ")) {
		return ERR_SYNTAX;
	}
	(void)take_word(&text); /* the soft one, which mired raises */
	return parse_limit(take_word(&text), "unlimited", hard) ? ERR_SYNTAX : 0;
}

int machine_parse_unit(struct span text, uint64_t *hard)
{
	struct span state = text;
	if (!find_line(&state, "LoadState=")) {
		return ERR_SYNTAX;
	}
	/* of a unit that is not there the line shows the default */
	if (!span_equal(state, span_of_str("loaded"))) {
		return ERR_NOT_FOUND;
	}
	return !find_line(&text, "LimitNOFILE=") || parse_limit(text, "infinity", hard) ? ERR_SYNTAX
	                                                                                : 0;
}

/* --- reading ---------------------------------------------------------------------------------- */

/* The first bytes of a small file; the count or -errno. */
static ssize_t read_text(const char *path, char text[static TEXT_BYTES])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	ssize_t n = read(fd, text, TEXT_BYTES);
	int err = errno;
	(void)close(fd);
	return n < 0 ? -err : n;
}

static void set(struct machine *machine, enum machine_item item, uint64_t n)
{
	machine->values[item] = (struct machine_value){.n = n, .is_known = true};
}

static void read_sysctl(struct machine *machine, enum machine_item item)
{
	char path[PATH_BYTES] = "/proc/sys/";
	char text[TEXT_BYTES];
	uint64_t numbers[TCP_MEM_VALUES];
	size_t begin = strlen(path);
	(void)snprintf(path + begin, sizeof path - begin, "%s", sysctls[item]);
	for (char *dot = path + begin; (dot = strchr(dot, '.'));) {
		*dot = '/';
	}
	ssize_t len = read_text(path, text);
	int n = len < 0 ? 0
	                : machine_parse_numbers(span_of(text, (size_t)len), numbers,
	                                        item == MACHINE_TCP_MEM ? TCP_MEM_VALUES : 1);
	for (int i = 0; i < n; i++) {
		set(machine, item + (enum machine_item)i, numbers[i]);
	}
}

static bool read_unit_limit(uint64_t *hard)
{
	char text[TEXT_BYTES];
	if (access(SYSTEMD_RUNS, F_OK) != 0) {
		return false;
	}
	FILE *pipe = popen(UNIT_COMMAND, "re");
	if (!pipe) {
		return false;
	}
	size_t n = fread(text, 1, sizeof text, pipe);
	return pclose(pipe) == 0 && machine_parse_unit(span_of(text, n), hard) == 0;
}

static bool read_daemon_limit(pid_t daemon, uint64_t *hard)
{
	char path[PATH_BYTES];
	char text[TEXT_BYTES];
	(void)snprintf(path, sizeof path, "/proc/%d/limits", (int)daemon);
	ssize_t n = daemon > 0 ? read_text(path, text) : -1;
	return n > 0 && machine_parse_limits(span_of(text, (size_t)n), hard) == 0;
}

static void read_nofile(struct machine *machine)
{
	uint64_t hard = 0;
	struct rlimit limit = {0};
	if (read_daemon_limit(machine->daemon, &hard)) {
		machine->nofile_of = MACHINE_OF_DAEMON;
	} else if (read_unit_limit(&hard)) {
		machine->nofile_of = MACHINE_OF_UNIT;
	} else {
		(void)getrlimit(RLIMIT_NOFILE, &limit);
		hard = limit.rlim_max;
		machine->nofile_of = MACHINE_OF_CALLER;
	}
	set(machine, MACHINE_NOFILE, hard);
}

/* Containers forbid it without a sysctl saying so. */
static int try_uring(void)
{
	struct io_uring_params params = {0};
	int fd = (int)syscall(__NR_io_uring_setup, 1, &params);
	if (fd < 0) {
		return -errno;
	}
	(void)close(fd);
	return 0;
}

static void read_size(struct machine *machine)
{
	struct sysinfo info = {0};
	cpu_set_t cores;
	CPU_ZERO(&cores);
	if (sysinfo(&info) == 0) {
		set(machine, MACHINE_MEMORY_BYTES, (uint64_t)info.totalram * info.mem_unit);
	}
	set(machine, MACHINE_CORES,
	    sched_getaffinity(0, sizeof cores, &cores) == 0 ? (uint64_t)CPU_COUNT(&cores) : 1);
}

void machine_read(struct machine *machine, const struct conf *conf)
{
	for (enum machine_item item = 0; item < MACHINE_COUNT; item++) {
		if (sysctls[item]) {
			read_sysctl(machine, item);
		}
	}
	read_nofile(machine);
	read_size(machine);
	machine->uring_ret = try_uring();
	machine->routes_ret = fw_routes_check(conf, machine->routes_why);
}
