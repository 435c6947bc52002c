/* The process's two outputs, stderr and the log (base/log, without its thread, since this program
 * forks). They are one mutable global, as base/log is, because every module reports. */
#include "mired-setup/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "conf/conf_log.h"

enum { STREAM_NAME_BYTES = 48 }; /* two numbers of 64 bits */

static struct {
	bool is_debug;
	bool is_detached;
	bool is_terminal;
	bool is_logged;    /* stderr leads into the journal, as the log does */
	bool has_progress; /* the cursor stands behind a progress line */
} say;

#define IDENT "mired-setup"

/* Without a log there is still stderr. */
static void open_log(enum log_target target)
{
	const struct log_options options = {
	        .ident = IDENT, .target = target, .level = LOG_LEVEL_INFO, .is_direct = true};
	(void)!log_open(&options);
}

/* systemd.exec(5), JOURNAL_STREAM: device and inode of the stream that leads into the journal. */
static bool leads_to_journal(int fd)
{
	char name[STREAM_NAME_BYTES];
	struct stat st;
	const char *stream = getenv("JOURNAL_STREAM");
	if (!stream || fstat(fd, &st) != 0) {
		return false;
	}
	(void)snprintf(name, sizeof name, "%llu:%llu", (unsigned long long)st.st_dev,
	               (unsigned long long)st.st_ino);
	return strcmp(stream, name) == 0;
}

void say_open(bool is_debug)
{
	say.is_debug = is_debug;
	say.is_logged = leads_to_journal(STDERR_FILENO);
	say.is_terminal = isatty(STDERR_FILENO) == 1;
	open_log(LOG_TARGET_AUTO);
}

void say_configured(const struct conf *conf)
{
	struct log_options options = conf_log_options(conf, IDENT);
	log_close();
	/* `foreground` is about the daemons: here stderr is there anyway */
	open_log(options.target == LOG_TARGET_STDERR ? LOG_TARGET_AUTO : options.target);
}

void say_detached(void)
{
	say.is_detached = true;
	say.is_terminal = false;
}

/* A line of its own, whatever stands on the terminal. */
static void begin_line(void)
{
	if (say.has_progress) {
		(void)fputs("\r\033[K", stderr);
		say.has_progress = false;
	}
}

static void say_problem(enum log_level level, const char *format, va_list args)
{
	char text[2 * SAY_WHY_MAX];
	(void)vsnprintf(text, sizeof text, format, args);
	if (!say.is_detached && !say.is_logged) {
		begin_line();
		(void)fprintf(stderr, "mired-setup: %s\n", text);
	}
	log_write(level, "%s", text);
}

void say_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_problem(LOG_LEVEL_ERROR, format, args);
	va_end(args);
}

void say_warning(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_problem(LOG_LEVEL_WARNING, format, args);
	va_end(args);
}

void say_note(const char *format, ...)
{
	char text[2 * SAY_WHY_MAX];
	va_list args;
	va_start(args, format);
	(void)vsnprintf(text, sizeof text, format, args);
	va_end(args);
	log_info("%s", text);
}

void say_debug(const char *format, ...)
{
	if (!say.is_debug || say.is_detached) {
		return;
	}
	va_list args;
	va_start(args, format);
	begin_line();
	(void)vfprintf(stderr, format, args);
	(void)fputc('\n', stderr);
	va_end(args);
}

void say_progress(bool is_last, const char *format, ...)
{
	if (!say.is_terminal) {
		return;
	}
	va_list args;
	va_start(args, format);
	(void)fputs("\r\033[K", stderr);
	(void)vfprintf(stderr, format, args);
	if (is_last) {
		(void)fputc('\n', stderr);
	}
	(void)fflush(stderr);
	say.has_progress = !is_last;
	va_end(args);
}
