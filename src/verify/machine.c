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
        [MACHINE_URING_DISABLED] = "kernel.io_uring_disabled",
        [MACHINE_MIGRATE_REQ] = "net.ipv4.tcp_migrate_req",
};

const char *machine_sysctl(enum machine_item item)
{
	return sysctls[item];
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
	(void)fw_input_drops(conf, machine->input);
}
