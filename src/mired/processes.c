/* /proc is read anew each time: a role that was started again has another id. */
#include "mired/processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"

enum {
	PATH_BYTES = 64,
	STAT_BYTES = 1024,
	CHILDREN_MAX = 16, /* looked at; the supervisor has two */
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

static bool count_entries(const char *path, uint64_t *n)
{
	DIR *dir = opendir(path);
	if (!dir) {
		return false;
	}
	uint64_t n_entries = 0;
	while (n_entries < FILES_MAX && readdir(dir)) {
		n_entries++;
	}
	(void)closedir(dir);
	*n = n_entries > 3 ? n_entries - 3 : 0; /* ".", ".." and the directory itself */
	return true;
}

/* Those of another user cannot be listed, but their number is the size of the directory. */
static void read_files(pid_t pid, struct process *out)
{
	char path[PATH_BYTES];
	struct stat stat_buf;
	(void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	if (pid == getpid()) {
		out->has_files = count_entries(path, &out->n_files);
	} else if (stat(path, &stat_buf) == 0 && stat_buf.st_size > 0) {
		out->has_files = true;
		out->n_files = (uint64_t)stat_buf.st_size;
	}
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
	        .cpu_secs = (double)(fields[FIELD_UTIME] + fields[FIELD_STIME]) /
	                    (double)sysconf(_SC_CLK_TCK),
	        .resident_bytes = fields[FIELD_RSS] * (uint64_t)sysconf(_SC_PAGESIZE),
	};
	read_files(pid, out);
	return true;
}

static void add(struct processes *out, pid_t pid, const char *role)
{
	if (out->n < PROCESSES_MAX && process_read(pid, role, &out->process[out->n])) {
		out->n++;
	}
}

static bool is_firewall(pid_t pid)
{
	char path[PATH_BYTES];
	char text[STAT_BYTES];
	(void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
	return read_start(path, text, sizeof text) && strstr(text, "firewall") != NULL;
}

static void add_firewall(struct processes *out, pid_t supervisor)
{
	char path[PATH_BYTES];
	char text[STAT_BYTES];
	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)supervisor,
	               (int)supervisor);
	if (!read_start(path, text, sizeof text)) {
		return;
	}
	char *at = text;
	for (int i = 0; i < CHILDREN_MAX; i++) {
		char *end = NULL;
		long pid = strtol(at, &end, 10);
		if (end == at) {
			return;
		}
		if (pid != getpid() && is_firewall((pid_t)pid)) {
			add(out, (pid_t)pid, "firewall");
			return;
		}
		at = end;
	}
}

void processes_read(struct processes *out)
{
	pid_t supervisor = getppid();
	*out = (struct processes){.n = 0};
	add(out, getpid(), "engine");
	add(out, supervisor, "supervisor");
	add_firewall(out, supervisor);
}
