/* miredb import: the whole input is read and parsed before anything is changed; then its lines go
 * to the store in batches. What cannot be read twice is kept in an unlinked temporary file. Each
 * record replaces the one under its key, so an import that was cut off is simply run again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "mired/ctl.h"
#include "miredb/sink.h"
#include "store/change.h"

enum {
	SHOWN_MAX = 20, /* messages about lines, the rest is counted */
	COPY_BYTES = 1 << 16,
};

struct import {
	const char *name;
	FILE *in; /* can be read twice */
	struct sink *sink;
	uint64_t line_no;                               /* of the last line read */
	uint64_t batch_line_nos[MIRED_CTL_CHANGES_MAX]; /* of the sink's lines */
	unsigned n_batch;
	uint64_t n_failed;
	uint64_t n_skipped;
};

/* --- the input -------------------------------------------------------------------------------- */

static int copy(FILE *from, FILE *to)
{
	static char buf[COPY_BYTES];
	size_t n = 0;
	while ((n = fread(buf, 1, sizeof buf, from)) > 0) {
		if (fwrite(buf, 1, n, to) != n) {
			return -errno;
		}
	}
	return ferror(from) || fflush(to) ? -errno : 0;
}

static FILE *spool(FILE *from)
{
	FILE *to = tmpfile();
	int ret = to ? copy(from, to) : -errno;
	if (ret) {
		(void)fail("keeping the input in a temporary file: %s", err_text(ret));
		if (to) {
			(void)fclose(to);
		}
		return NULL;
	}
	return to;
}

static bool is_regular(FILE *file)
{
	struct stat st;
	return fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) && ftello(file) == 0;
}

static FILE *open_input(const char *path)
{
	FILE *in = path ? fopen(path, "re") : stdin;
	if (!in) {
		(void)fail("%s: %s", path, strerror(errno));
		return NULL;
	}
	if (is_regular(in)) {
		return in;
	}
	FILE *kept = spool(in);
	if (path) {
		(void)fclose(in);
	}
	return kept;
}

/* --- lines ------------------------------------------------------------------------------------ */

/* Takes a line without its end. 0, or the exit status. */
typedef int take_line(struct import *import, struct span line);

static int each_line(struct import *import, take_line *take)
{
	char *text = NULL;
	size_t size = 0;
	ssize_t len = 0;
	int status = 0;
	import->line_no = 0;
	rewind(import->in);
	while (status == 0 && (len = getline(&text, &size, import->in)) >= 0) {
		import->line_no++;
		len -= len > 0 && text[len - 1] == '\n';
		len -= len > 0 && text[len - 1] == '\r';
		if (len > 0) {
			status = take(import, span_of(text, (size_t)len));
		}
	}
	if (status == 0 && ferror(import->in)) {
		status = fail("%s: %s", import->name, strerror(errno));
	}
	free(text);
	return status;
}

static int check_line(struct import *import, struct span line)
{
	uint8_t buf[DUMP_TEXT_BYTES];
	char why[DUMP_WHY_MAX];
	struct dump_record record;
	int ret = dump_parse(line, buf, &record, why);
	uint64_t *n = ret == ERR_UNSUPPORTED ? &import->n_skipped : &import->n_failed;
	if (ret && ++*n <= SHOWN_MAX) {
		(void)fail("%s:%llu: %s%s", import->name, (unsigned long long)import->line_no, why,
		           ret == ERR_UNSUPPORTED ? ": left out" : "");
	}
	return 0;
}

static int check_lines(struct import *import)
{
	int status = each_line(import, check_line);
	if (status == 0 && import->n_failed > 0) {
		status = fail("%s: %llu bad lines: nothing was imported", import->name,
		              (unsigned long long)import->n_failed);
	}
	return status;
}

static void on_failed(void *ctx, unsigned idx, const char *error, bool is_absent)
{
	struct import *import = ctx;
	(void)is_absent;
	if (++import->n_failed <= SHOWN_MAX && idx < import->n_batch) {
		(void)fail("%s:%llu: %s", import->name,
		           (unsigned long long)import->batch_line_nos[idx], error);
	}
}

static int flush_lines(struct import *import)
{
	int status = sink_flush(import->sink, on_failed, import);
	import->n_batch = 0;
	return status;
}

static int send_line(struct import *import, struct span line)
{
	static const char verb[] = "put ";
	char text[CHANGE_LINE_MAX];
	uint8_t buf[DUMP_TEXT_BYTES];
	char why[DUMP_WHY_MAX];
	struct dump_record record;
	if (dump_parse(line, buf, &record, why) == ERR_UNSUPPORTED) {
		return 0;
	}
	size_t len = sizeof verb - 1 + line.len;
	if (len > sizeof text) {
		return fail("%s:%llu: changed since it was checked", import->name,
		            (unsigned long long)import->line_no);
	}
	memcpy(text, verb, sizeof verb - 1);
	memcpy(text + sizeof verb - 1, line.ptr, line.len);
	if (sink_is_full(import->sink, len + 1)) {
		int status = flush_lines(import);
		if (status) {
			return status;
		}
	}
	import->batch_line_nos[import->n_batch++] = import->line_no;
	sink_add(import->sink, span_of(text, len));
	return 0;
}

static int send_lines(struct import *import)
{
	int status = each_line(import, send_line);
	status = status ? status : flush_lines(import);
	if (status == 0 && import->n_failed > 0) {
		status = fail("%s: %llu records failed", import->name,
		              (unsigned long long)import->n_failed);
	}
	return status;
}

static int import_all(struct import *import, const struct run *run)
{
	int status = check_lines(import);
	status = status ? status : sink_open(&import->sink, run);
	if (status) {
		return status;
	}
	status = send_lines(import);
	sink_close(import->sink);
	return status;
}

int import_main(const struct run *run)
{
	const char *path = run->options->file;
	path = path && strcmp(path, "-") == 0 ? NULL : path;
	struct import import = {.name = path ? path : "stdin", .in = open_input(path)};
	if (!import.in) {
		return 1;
	}
	int status = import_all(&import, run);
	if (import.in != stdin) {
		(void)fclose(import.in);
	}
	return status;
}
