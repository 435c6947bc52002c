/* The process's two outputs. They are one mutable global, as base/log's are, because every module
 * reports; base/log itself is not used: it writes to one of the two and has a thread, which a
 * program that forks does without. */
#include "mired-setup/say.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

static struct {
	bool is_debug;
	bool is_detached;
	bool is_terminal;
	bool has_progress; /* the cursor stands behind a progress line */
} say;

void say_open(bool is_debug)
{
	say.is_debug = is_debug;
	say.is_terminal = isatty(STDERR_FILENO) == 1;
	openlog("mired-setup", LOG_PID, LOG_DAEMON);
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

static void say_problem(int level, const char *format, va_list args)
{
	char text[2 * SAY_WHY_MAX];
	(void)vsnprintf(text, sizeof text, format, args);
	if (!say.is_detached) {
		begin_line();
		(void)fprintf(stderr, "mired-setup: %s\n", text);
	}
	syslog(level, "%s", text);
}

void say_error(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_problem(LOG_ERR, format, args);
	va_end(args);
}

void say_warning(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	say_problem(LOG_WARNING, format, args);
	va_end(args);
}

void say_note(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsyslog(LOG_INFO, format, args);
	va_end(args);
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
