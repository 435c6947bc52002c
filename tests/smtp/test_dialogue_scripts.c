/* Runs every tests/dialogue/X.smtp against the session in virtual time. The language is described
 * in tests/dialogue/README.md; a script is one test, named after its file. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "driver.h"

enum {
	SCRIPTS_MAX = 256,
	LINE_MAX_BYTES = 2048,
	LISTS_MAX = 8,
	PATIENCE_MS = 1000 * 1000,
	REPEAT_MAX = 100000,
};

struct script {
	struct driver driver;
	FILE *file;
	const char *name;
	unsigned line_no;
	size_t n_read;   /* of driver.received */
	unsigned n_seen; /* of driver.events */
	enum session_class cls;
	char lists[LISTS_MAX][LINE_MAX_BYTES];
	struct span messages[LISTS_MAX];
	struct addr client;
	size_t n_lists;
	bool is_store_manual;
	bool is_started;
};

#define SCRIPT_FAIL(script, ...)                                           \
	do {                                                               \
		print_error("%s:%u: ", (script)->name, (script)->line_no); \
		print_error(__VA_ARGS__);                                  \
		print_error("\n");                                         \
		fail();                                                    \
	} while (0)

static bool starts(const char *text, const char *word, const char **rest)
{
	size_t len = strlen(word);
	if (strncmp(text, word, len) != 0) {
		return false;
	}
	*rest = text + len;
	return true;
}

static uint32_t parse_ms(struct script *script, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (end == text || (strcmp(end, "s") != 0 && strcmp(end, "ms") != 0)) {
		SCRIPT_FAIL(script, "not a time: %s", text);
	}
	return (uint32_t)(*end == 's' ? n * MS_PER_SEC : n);
}

static enum session_class parse_class(struct script *script, const char *text)
{
	for (unsigned i = 0; i <= SESSION_PASSIVE; i++) {
		if (strcmp(dialogue_classes[i].name, text) == 0) {
			return (enum session_class)i;
		}
	}
	SCRIPT_FAIL(script, "no such class: %s", text);
	return SESSION_UNKNOWN;
}

/* Turns \r \n \t \\ \xHH into bytes, in place; returns the length. */
static size_t unescape(char *text)
{
	size_t n = 0;
	for (const char *p = text; *p; n++) {
		unsigned byte;
		if (p[0] != '\\') {
			text[n] = *p++;
		} else if (p[1] == 'x' && sscanf(p + 2, "%2x", &byte) == 1) {
			text[n] = (char)byte;
			p += 4;
		} else {
			text[n] = (char)(p[1] == 'r'   ? '\r'
			                 : p[1] == 'n' ? '\n'
			                 : p[1] == 't' ? '\t'
			                               : p[1]);
			p += 2;
		}
	}
	return n;
}

static void set_option(struct script *script, const char *text)
{
	const char *value;
	if (starts(text, "# class: ", &value)) {
		script->cls = parse_class(script, value);
	} else if (starts(text, "# stutter: ", &value)) {
		script->driver.conf.stutter_ms = parse_ms(script, value);
	} else if (starts(text, "# grey-stutter: ", &value)) {
		script->driver.conf.grey_stutter_ms = parse_ms(script, value);
	} else if (starts(text, "# store: ", &value)) {
		script->is_store_manual = strcmp(value, "manual") == 0;
	} else if (starts(text, "# list: ", &value)) {
		assert_true(script->n_lists < LISTS_MAX);
		(void)snprintf(script->lists[script->n_lists++], LINE_MAX_BYTES, "%s", value);
	}
}

static void start(struct script *script)
{
	script->is_started = true;
	driver_start(&script->driver, script->cls, (struct mono_ms){UINT32_MAX - 5000});
	script->driver.auto_store = !script->is_store_manual;
	for (size_t i = 0; i < script->n_lists; i++) {
		script->messages[i] = span_of_str(script->lists[i]);
	}
	assert_int_equal(addr_parse(SPAN("192.0.2.1"), &script->client), 0);
	script->driver.lists = (struct reply_lists){
	        .messages = script->messages,
	        .n = script->n_lists,
	        .code = 450,
	        .addr = &script->client,
	};
}

/* Bytes received and not yet expected. */
static struct span unread(const struct script *script)
{
	return span_of(script->driver.received + script->n_read,
	               script->driver.n_received - script->n_read);
}

/* Runs until the server has said a whole line, or cannot any more. */
static struct span next_line(struct script *script)
{
	struct mono_ms until = mono_ms_add(script->driver.now, PATIENCE_MS);
	while (!memchr(unread(script).ptr, '\n', unread(script).len)) {
		if (script->driver.is_closed ||
		    mono_ms_diff(script->driver.session.due, until) > 0) {
			SCRIPT_FAIL(script, "the server said no line, only '%.*s'",
			            (int)unread(script).len, (const char *)unread(script).ptr);
		}
		driver_wake(&script->driver);
	}
	struct span rest;
	struct span line = span_cut(unread(script), '\n', &rest);
	script->n_read += line.len + 1;
	if (line.len == 0 || line.ptr[line.len - 1] != '\r') {
		SCRIPT_FAIL(script, "a line without CR: '%.*s'", (int)line.len,
		            (const char *)line.ptr);
	}
	line.len--;
	return line;
}

static void expect_line(struct script *script, const char *text, bool is_exact)
{
	struct span line = next_line(script);
	struct span wanted = span_of_str(text);
	struct span part = {line.ptr, is_exact || line.len < wanted.len ? line.len : wanted.len};
	if (!span_equal(part, wanted)) {
		SCRIPT_FAIL(script, "expected '%s', the server said '%.*s'", text, (int)line.len,
		            (const char *)line.ptr);
	}
}

static void type(struct script *script, char *text)
{
	const char *rest;
	size_t count = 1;
	if (starts(text, "repeat ", &rest)) {
		char *bytes;
		count = strtoul(rest, &bytes, 10);
		assert_in_range(count, 1, REPEAT_MAX);
		text = bytes + 1;
	} else if (starts(text, "raw ", &rest)) {
		text += rest - text;
	} else {
		(void)driver_put(&script->driver, span_of_str(text));
		(void)driver_put(&script->driver, SPAN("\r\n"));
		return;
	}
	size_t len = unescape(text);
	for (size_t i = 0; i < count && !script->driver.is_closed; i++) {
		if (!driver_put(&script->driver, span_of(text, len))) {
			driver_wait(&script->driver, 10 * MS_PER_SEC);
			bool fits = driver_put(&script->driver, span_of(text, len));
			assert_true(fits || script->driver.is_closed);
		}
	}
}

static const char *const end_names[] = {
        [SESSION_END_NONE] = "none",
        [SESSION_END_DONE] = "done",
        [SESSION_END_READ_TIMEOUT] = "read-timeout",
        [SESSION_END_WRITE_TIMEOUT] = "write-timeout",
        [SESSION_END_PEER] = "peer",
        [SESSION_END_NO_TEXT] = "no-text",
};

static void expect_nothing_unread(struct script *script)
{
	if (unread(script).len > 0) {
		SCRIPT_FAIL(script, "the server has said '%.*s'", (int)unread(script).len,
		            (const char *)unread(script).ptr);
	}
}

static void expect_end(struct script *script, const char *why)
{
	driver_wait(&script->driver, PATIENCE_MS);
	expect_nothing_unread(script);
	if (!script->driver.is_closed) {
		SCRIPT_FAIL(script, "still open");
	}
	if (*why && strcmp(why + 1, end_names[script->driver.why]) != 0) {
		SCRIPT_FAIL(script, "closed, but %s", end_names[script->driver.why]);
	}
}

static void expect_shut(struct script *script)
{
	struct mono_ms until = mono_ms_add(script->driver.now, PATIENCE_MS);
	while (!script->driver.is_shut) {
		if (script->driver.is_closed ||
		    mono_ms_diff(script->driver.session.due, until) > 0) {
			SCRIPT_FAIL(script, "the write side is not shut");
		}
		driver_wake(&script->driver);
	}
	expect_nothing_unread(script);
}

static void expect_event(struct script *script, enum session_event_kind kind, const char *text)
{
	if (script->n_seen == script->driver.n_events) {
		SCRIPT_FAIL(script, "no event");
	}
	const struct driver_event *event =
	        &script->driver.events[script->n_seen++ % DRIVER_EVENTS_MAX];
	if (event->kind != kind || strcmp(event->text, text) != 0) {
		SCRIPT_FAIL(script, "event %u '%s', expected %u '%s'", event->kind, event->text,
		            kind, text);
	}
}

/* "HELO SENDER RCPT" as the driver notes it; "-" is an empty one. */
static void expect_envelope(struct script *script, enum session_event_kind kind, const char *text)
{
	char words[3][LINE_MAX_BYTES / 4] = {"", "", ""};
	char joined[sizeof words + 3];
	assert_int_equal(sscanf(text, "%511s %511s %511s", words[0], words[1], words[2]), 3);
	for (size_t i = 0; i < 3; i++) {
		if (strcmp(words[i], "-") == 0) {
			words[i][0] = '\0';
		}
	}
	(void)snprintf(joined, sizeof joined, "%s|%s|%s", words[0], words[1], words[2]);
	expect_event(script, kind, joined);
}

static void expect_no_tuple(struct script *script)
{
	if (script->n_seen == script->driver.n_events ||
	    script->driver.events[script->n_seen++ % DRIVER_EVENTS_MAX].kind !=
	            SESSION_EVENT_NO_HELO) {
		SCRIPT_FAIL(script, "not a RCPT without tuple");
	}
}

static void expect_age(struct script *script, uint32_t ms)
{
	if (driver_age_ms(&script->driver) != ms) {
		SCRIPT_FAIL(script, "the age is %u ms", driver_age_ms(&script->driver));
	}
}

static void expect_count(struct script *script, const char *what, unsigned is, unsigned wanted)
{
	if (is != wanted) {
		SCRIPT_FAIL(script, "%s: %u, expected %u", what, is, wanted);
	}
}

static void expect(struct script *script, const char *text)
{
	const char *rest;
	if (starts(text, "tuple ", &rest)) {
		expect_envelope(script, SESSION_EVENT_TUPLE, rest);
	} else if (starts(text, "rcpt ", &rest)) {
		expect_envelope(script, SESSION_EVENT_RCPT, rest);
	} else if (starts(text, "no-tuple", &rest)) {
		expect_no_tuple(script);
	} else if (starts(text, "header ", &rest)) {
		expect_event(script, SESSION_EVENT_HEADER, rest);
	} else if (starts(text, "body ", &rest)) {
		expect_event(script, SESSION_EVENT_BODY, rest);
	} else if (starts(text, "deferred", &rest)) {
		expect_event(script, SESSION_EVENT_DEFERRED, "");
	} else if (starts(text, "no-event", &rest)) {
		expect_count(script, "events", script->driver.n_events, script->n_seen);
	} else if (starts(text, "silence ", &rest)) {
		driver_wait(&script->driver, parse_ms(script, rest));
		expect_nothing_unread(script);
	} else if (starts(text, "shut", &rest)) {
		expect_shut(script);
	} else if (starts(text, "close", &rest)) {
		expect_end(script, rest);
	} else if (starts(text, "age ", &rest)) {
		expect_age(script, parse_ms(script, rest));
	} else if (starts(text, "unstored ", &rest)) {
		expect_count(script, "unstored", script->driver.n_unstored,
		             (unsigned)strtoul(rest, NULL, 10));
	} else {
		SCRIPT_FAIL(script, "not understood: expect %s", text);
	}
}

static void step(struct script *script, char *text)
{
	const char *rest;
	if (starts(text, "C: ", &rest)) {
		type(script, text + 3);
	} else if (strcmp(text, "C:") == 0) {
		type(script, text + 2);
	} else if (starts(text, "S: ", &rest)) {
		expect_line(script, rest, false);
	} else if (starts(text, "S= ", &rest)) {
		expect_line(script, rest, true);
	} else if (starts(text, "wait ", &rest)) {
		driver_wait(&script->driver, parse_ms(script, rest));
	} else if (starts(text, "expect ", &rest)) {
		expect(script, rest);
	} else if (starts(text, "classify ", &rest)) {
		session_classify(&script->driver.session, &script->driver.conf,
		                 parse_class(script, rest), script->driver.now);
	} else if (strcmp(text, "trap") == 0) {
		session_list(&script->driver.session, &script->driver.conf, script->driver.now);
	} else if (strcmp(text, "stop-stutter") == 0) {
		session_stop_stutter(&script->driver.session);
	} else if (strcmp(text, "eof") == 0) {
		script->driver.is_eof = true;
	} else if (strcmp(text, "reset") == 0) {
		session_dead(&script->driver.session);
	} else if (strcmp(text, "block") == 0 || strcmp(text, "unblock") == 0) {
		script->driver.is_blocked = text[0] == 'b';
	} else if (strcmp(text, "stored") == 0) {
		driver_store_all(&script->driver);
	} else {
		SCRIPT_FAIL(script, "not understood: %s", text);
	}
}

static void run(struct script *script)
{
	char line[LINE_MAX_BYTES];
	while (fgets(line, sizeof line, script->file)) {
		script->line_no++;
		line[strcspn(line, "\n")] = '\0';
		if (line[0] == '\0') {
			continue;
		}
		if (line[0] == '#') {
			set_option(script, line);
			continue;
		}
		if (!script->is_started) {
			start(script);
		}
		step(script, line);
	}
	assert_true(script->is_started);
	expect_nothing_unread(script);
}

static void script_runs_as_written(void **state)
{
	const char *name = *state;
	char path[4096];
	(void)snprintf(path, sizeof path, "%s/dialogue/%s", TEST_SOURCE_DIR, name);
	struct script *script = calloc(1, sizeof *script);
	assert_non_null(script);
	script->name = name;
	script->cls = SESSION_GREY;
	driver_conf(&script->driver.conf);
	script->driver.conf.stutter_ms = 0;
	script->file = fopen(path, "r");
	assert_non_null(script->file);
	run(script);
	(void)fclose(script->file);
	driver_stop(&script->driver);
	free(script);
}

static size_t find_scripts(char names[SCRIPTS_MAX][256])
{
	size_t n = 0;
	DIR *dir = opendir(TEST_SOURCE_DIR "/dialogue");
	for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL && n < SCRIPTS_MAX;) {
		const char *dot = strrchr(entry->d_name, '.');
		if (dot && strcmp(dot, ".smtp") == 0) {
			(void)snprintf(names[n++], 256, "%.255s", entry->d_name);
		}
	}
	if (dir) {
		(void)closedir(dir);
	}
	return n;
}

int main(void)
{
	static char names[SCRIPTS_MAX][256];
	static struct CMUnitTest tests[SCRIPTS_MAX];
	size_t n = find_scripts(names);
	if (n == 0) {
		print_error("no scripts\n");
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		tests[i] =
		        (struct CMUnitTest){names[i], script_runs_as_written, NULL, NULL, names[i]};
	}
	return _cmocka_run_group_tests("dialogue scripts", tests, n, NULL, NULL);
}
