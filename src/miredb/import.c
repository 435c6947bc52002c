/* miredb import, with --merge or without: the whole input is read and parsed before anything is
 * changed; then its lines go to the store in batches. What cannot be read twice is kept in an
 * unlinked temporary file. Each record replaces the one under its key, or joins it (--merge), so an
 * import that was cut off is simply run again. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "mired/ctl.h"
#include "miredb/sink.h"
#include "miredb/stamp.h"
#include "store/change.h"

enum {
	SHOWN_MAX = 20, /* messages about lines, the rest is counted */
	COPY_BYTES = 1 << 16,
	/* one byte more than a line may have, and its end */
	LINE_BYTES = DUMP_LINE_MAX + 2,
	CHANGE_BYTES = CHANGE_LINE_MAX + 2,
};

struct import {
	const char *name;
	FILE *in;            /* can be read twice */
	struct stat at_open; /* of it */
	struct sink *sink;
	bool is_merge;
	struct stamp_conf stamp_conf;                   /* is_merge */
	uint64_t line_no;                               /* of the last line read */
	uint64_t batch_line_nos[MIRED_CTL_CHANGES_MAX]; /* of the sink's lines */
	unsigned n_batch;
	uint64_t n_sent;
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

static FILE *spool(const char *name, FILE *from)
{
	FILE *to = tmpfile();
	int ret = to ? copy(from, to) : -errno;
	if (ret) {
		(void)fail("%s: keeping it in a temporary file: %s", name, err_text(ret));
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

static FILE *open_input(const char *name, const char *path)
{
	FILE *in = path ? fopen(path, "re") : stdin;
	if (!in) {
		(void)fail("%s: %s", name, strerror(errno));
		return NULL;
	}
	if (is_regular(in)) {
		return in;
	}
	FILE *kept = spool(name, in);
	if (path) {
		(void)fclose(in);
	}
	return kept;
}

static bool is_same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static int changed(const struct import *import)
{
	return fail("%s: somebody writes to it: try again when that is done", import->name);
}

/* What was checked must be what is stored. */
static int check_unchanged(const struct import *import)
{
	struct stat st;
	const struct stat *old = &import->at_open;
	if (fstat(fileno(import->in), &st) == 0 && st.st_size == old->st_size &&
	    is_same_time(st.st_mtim, old->st_mtim)) {
		return 0;
	}
	return changed(import);
}

/* --- lines ------------------------------------------------------------------------------------ */

/* Reads to the next LF and keeps what finds room. -1: there is nothing more. */
static ssize_t read_line(FILE *in, char line[static LINE_BYTES])
{
	ssize_t len = 0;
	int c = getc_unlocked(in);
	if (c == EOF) {
		return -1;
	}
	for (; c != EOF && c != '\n'; c = getc_unlocked(in)) {
		if (len < LINE_BYTES) {
			line[len++] = (char)c;
		}
	}
	return len;
}

/* Takes a line without its end. 0, or the exit status. */
typedef int take_line(struct import *import, struct span line);

static int each_line(struct import *import, take_line *take)
{
	char line[LINE_BYTES];
	ssize_t len = 0;
	int status = 0;
	import->line_no = 0;
	rewind(import->in);
	while (status == 0 && (len = read_line(import->in, line)) >= 0) {
		import->line_no++;
		len -= len > 0 && line[len - 1] == '\r';
		if (len > 0) {
			status = take(import, span_of(line, (size_t)len));
		}
	}
	if (status == 0 && ferror(import->in)) {
		status = fail("%s: %s", import->name, strerror(errno));
	}
	return status ? status : check_unchanged(import);
}

static int read_record(const struct import *import, struct span line,
                       uint8_t buf[static DUMP_TEXT_BYTES], struct dump_record *out,
                       char why[static DUMP_WHY_MAX])
{
	if (!import->is_merge) {
		return dump_parse(line, buf, out, why);
	}
	if (feof(import->in)) { /* of a number nobody knows whether that is all of it */
		(void)snprintf(why, DUMP_WHY_MAX, "no end: the input was cut off");
		return ERR_SYNTAX;
	}
	return stamp_read(&import->stamp_conf, line, buf, out, why);
}

static int check_line(struct import *import, struct span line)
{
	uint8_t buf[DUMP_TEXT_BYTES];
	char why[DUMP_WHY_MAX];
	struct dump_record record;
	int ret = read_record(import, line, buf, &record, why);
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

/* The change that stores a line, without an end. */
static size_t print_put(struct span line, FILE *out)
{
	(void)fputs("put ", out);
	(void)fwrite(line.ptr, 1, line.len, out);
	return (size_t)ftell(out);
}

static size_t print_merge(const struct dump_record *record, FILE *out)
{
	struct store_row row = {.kind = record->kind,
	                        .key.addr = record->addr,
	                        .record = record->record,
	                        .text = record->text};
	(void)fputs("merge ", out);
	int ret = dump_print_merge(&row, out);
	return ret ? 0 : (size_t)ftell(out) - 1;
}

/* Into text; 0 without memory. */
static size_t print_change(const struct import *import, struct span line,
                           const struct dump_record *record, char text[static CHANGE_BYTES])
{
	FILE *out = fmemopen(text, CHANGE_BYTES, "w");
	if (!out) {
		return 0;
	}
	size_t len = import->is_merge ? print_merge(record, out) : print_put(line, out);
	return fclose(out) ? 0 : len;
}

static int add_change(struct import *import, struct span text)
{
	int status = sink_is_full(import->sink, text.len + 1) ? flush_lines(import) : 0;
	if (status == 0) {
		import->batch_line_nos[import->n_batch++] = import->line_no;
		import->n_sent++;
		sink_add(import->sink, text);
	}
	return status;
}

static int send_line(struct import *import, struct span line)
{
	char text[CHANGE_BYTES];
	uint8_t buf[DUMP_TEXT_BYTES];
	char why[DUMP_WHY_MAX];
	struct dump_record record;
	int ret = read_record(import, line, buf, &record, why);
	if (ret) {
		return ret == ERR_UNSUPPORTED ? 0 : changed(import);
	}
	size_t len = print_change(import, line, &record, text);
	return len > 0 ? add_change(import, span_of(text, len)) : fail("out of memory");
}

static int send_lines(struct import *import)
{
	int status = each_line(import, send_line);
	status = status ? status : flush_lines(import);
	if (status == 0 && import->n_failed > 0) {
		status = fail("%s: %llu records failed", import->name,
		              (unsigned long long)import->n_failed);
	}
	if (status == 0 && import->is_merge) {
		(void)fprintf(stderr, "miredb: %llu records joined\n",
		              (unsigned long long)import->n_sent);
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
	struct import import = {.name = path ? path : "stdin", .is_merge = run->options->is_merge};
	import.stamp_conf = (struct stamp_conf){.now = clock_wall(),
	                                        .whiteexp_secs = run->conf.whiteexp_secs,
	                                        .trapexp_secs = run->conf.trapexp_secs,
	                                        .skew_secs = run->conf.sync_skew_secs};
	import.in = open_input(import.name, path);
	if (!import.in) {
		return 1;
	}
	int status = fstat(fileno(import.in), &import.at_open)
	                     ? fail("%s: %s", import.name, strerror(errno))
	                     : import_all(&import, run);
	if (import.in != stdin) {
		(void)fclose(import.in);
	}
	return status;
}
