#include "mired/processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum {
	PATH_BYTES = 64,
	STAT_BYTES = 1024,
	FILES_MAX = 65536, /* counted */
};

/* Field numbers of proc(5), /proc/pid/stat. */
enum { FIELD_STATE = 3, FIELD_UTIME = 14, FIELD_STIME = 15, FIELD_RSS = 24 };

/* The first bytes of a file, with a NUL behind them. */
static bool read_start(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");
	if (!file) {
		return false;
	}
	size_t n = fread(out, 1, size - 1, file);
	(void)fclose(file);
	out[n] = '\0';
	return n > 0;
}

/* The name in the second field may hold anything, a ')' as well: fields are counted from the last
 * one on. */
static bool parse_stat(const char *text, unsigned long long fields[static FIELD_RSS + 1])
{
	const char *at = strrchr(text, ')');
	for (int i = FIELD_STATE; i <= FIELD_RSS; i++) {
		at = at ? strchr(at + 1, ' ') : NULL;
		if (!at) {
			return false;
		}
		fields[i] = strtoull(at + 1, NULL, 10); /* 0 where it is no number */
	}
	return true;
}

static uint64_t count_entries(const char *path)
{
	DIR *dir = opendir(path);
	if (!dir) {
		return 0;
	}
	uint64_t n_entries = 0;
	while (n_entries < FILES_MAX && readdir(dir)) {
		n_entries++;
	}
	(void)closedir(dir);
	return n_entries > 3 ? n_entries - 3 : 0; /* ".", ".." and the directory itself */
}

/* Those of another user cannot be listed, but from Linux 6.2 on their number is the size of the
 * directory. */
static uint64_t count_files(pid_t pid)
{
	char path[PATH_BYTES];
	struct stat stat_buf;
	(void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	if (pid == getpid()) {
		return count_entries(path);
	}
	return stat(path, &stat_buf) == 0 ? (uint64_t)stat_buf.st_size : 0;
}

bool process_read(pid_t pid, const char *role, struct process *out)
{
	char path[PATH_BYTES];
	char text[STAT_BYTES];
	unsigned long long fields[FIELD_RSS + 1];
	(void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	if (!read_start(path, text, sizeof text) || !parse_stat(text, fields)) {
		return false;
	}
	*out = (struct process){
	        .role = role,
	        .cpu_ms = (fields[FIELD_UTIME] + fields[FIELD_STIME]) * MS_PER_SEC /
	                  (uint64_t)sysconf(_SC_CLK_TCK),
	        .resident_bytes = fields[FIELD_RSS] * (uint64_t)sysconf(_SC_PAGESIZE),
	        .n_files = count_files(pid),
	};
	return true;
}

static void add(struct processes *out, pid_t pid, const char *role)
{
	if (process_read(pid, role, &out->process[out->n])) {
		out->n++;
	}
}

void processes_read(struct processes *out, const struct msg_figures *firewall)
{
	*out = (struct processes){.n = 0};
	add(out, getpid(), "engine");
	add(out, getppid(), "supervisor");
	if (firewall && firewall->resident_bytes > 0) {
		out->process[out->n++] =
		        (struct process){.role = "firewall",
		                         .cpu_ms = firewall->cpu_ms,
		                         .resident_bytes = firewall->resident_bytes,
		                         .n_files = firewall->open_files};
	}
}
