/* Reading and parsing are apart because a role reads as root and logs only after it has become
 * somebody else. */
#include "mired/nospamd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/span.h"
#include "mired/names.h"

enum {
	NOSPAMD_BYTES_MAX = 16 << 20,
	BAD_LINES_LOGGED = 100, /* the rest is counted */
};

/* A pipe would be waited for, and read by whoever looks first. */
static int open_file(const char *path, FILE **file)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		return -errno;
	}
	int ret = fstat(fd, &st) != 0 ? -errno : S_ISFIFO(st.st_mode) ? ERR_UNSUPPORTED : 0;
	*file = ret ? NULL : fdopen(fd, "r");
	if (*file) {
		return 0;
	}
	ret = ret ? ret : -errno;
	(void)close(fd);
	return ret;
}

static int read_file(struct nospamd *nospamd, FILE *file)
{
	nospamd->text = malloc(NOSPAMD_BYTES_MAX);
	if (!nospamd->text) {
		return -ENOMEM;
	}
	errno = 0;
	nospamd->len = fread(nospamd->text, 1, NOSPAMD_BYTES_MAX, file);
	if (ferror(file)) {
		return errno ? -errno : -EIO;
	}
	return nospamd->len == NOSPAMD_BYTES_MAX ? ERR_TOO_LONG : 0;
}

int nospamd_read(struct nospamd *nospamd, const char *path, char why[static FW_WHY_MAX])
{
	*nospamd = (struct nospamd){.path = path};
	FILE *file = NULL;
	int ret = open_file(path, &file);
	if (ret == -ENOENT && strcmp(path, MIRED_NOSPAMD_PATH) == 0) {
		return 0;
	}
	if (!ret) {
		ret = read_file(nospamd, file);
		(void)fclose(file);
	}
	if (ret) {
		(void)snprintf(why, FW_WHY_MAX, "%s: %s", path,
		               ret == ERR_UNSUPPORTED ? "is a pipe, not a file" : err_text(ret));
	}
	return ret;
}

struct bad_lines {
	const char *path;
	unsigned n;
};

static void log_bad_line(void *ctx, unsigned line_no, struct span line, const char *reason)
{
	struct bad_lines *bad = ctx;
	char text[200];
	if (bad->n++ < BAD_LINES_LOGGED) {
		log_warning("%s:%u: %s: %s", bad->path, line_no, reason,
		            span_escape(line, text, sizeof text));
	}
}

int nospamd_parse(struct nospamd *nospamd)
{
	struct bad_lines bad = {.path = nospamd->path};
	struct cidr *cidrs = calloc(FW_NOSPAMD_MAX, sizeof *cidrs);
	nospamd->ranges = calloc(FW_NOSPAMD_MAX, sizeof *nospamd->ranges);
	if (!cidrs || !nospamd->ranges) {
		free(cidrs);
		return -ENOMEM;
	}
	int n = cidr_parse_list(span_of(nospamd->text, nospamd->len), cidrs, FW_NOSPAMD_MAX,
	                        log_bad_line, &bad);
	if (n < 0) {
		log_warning("%s: only the first %d entries are used", bad.path, FW_NOSPAMD_MAX);
		n = FW_NOSPAMD_MAX;
	}
	if (bad.n > BAD_LINES_LOGGED) {
		log_warning("%s: %u bad lines in all", bad.path, bad.n);
	}
	nospamd->n = cidr_collapse(cidrs, (size_t)n, nospamd->ranges);
	free(cidrs);
	free(nospamd->text);
	nospamd->text = NULL;
	return 0;
}

void nospamd_fini(struct nospamd *nospamd)
{
	free(nospamd->text);
	free(nospamd->ranges);
	*nospamd = (struct nospamd){0};
}
