/* Journal and syslog as they see the logger: real sockets at the real paths, in a mount namespace.
 * The parser of entries is the test's own. */
#include <sched.h>
#include <time.h>

#include "log_fixture.h"

static const struct log_options to_auto = {
        .ident = "mired-test", .target = LOG_TARGET_AUTO, .level = LOG_LEVEL_DEBUG};
static const struct log_options to_journal = {
        .ident = "mired-test", .target = LOG_TARGET_JOURNAL, .level = LOG_LEVEL_DEBUG};
static const struct log_options to_syslog = {
        .ident = "mired-test", .target = LOG_TARGET_SYSLOG, .level = LOG_LEVEL_DEBUG};

/* Whether an entry holds NAME=value as one of its lines. */
static bool has_field(const char *entry, const char *field)
{
	size_t len = strlen(field);
	for (const char *at = entry; *at;) {
		const char *end = strchr(at, '\n');
		if (!end) {
			return false; /* an entry ends with a line feed */
		}
		if ((size_t)(end - at) == len && memcmp(at, field, len) == 0) {
			return true;
		}
		at = end + 1;
	}
	return false;
}

/* --- journal ---------------------------------------------------------------------------------- */

static int entries_carry_fields(void)
{
	char pid[32];
	char id[64];
	int journal = listen_at(JOURNAL_PATH);
	int syslog = listen_at(SYSLOG_PATH);
	(void)snprintf(pid, sizeof pid, "SYSLOG_PID=%d", (int)getpid());
	(void)snprintf(id, sizeof id, "MESSAGE_ID=%s",
	               log_event_row(LOG_EVENT_connected)->message_id);
	if (log_open(&to_auto) != 0 || !log_takes(LOG_EVENT_connected)) {
		return 1;
	}
	log_event(LOG_EVENT_connected,
	          &(struct log_fields){.client = "192.0.2.1", .list = " one two"},
	          "192.0.2.1: connected (1/1), lists: one two");
	log_error("plain");
	log_close();
	const char *const wanted[] = {"PRIORITY=6",
	                              "SYSLOG_FACILITY=3",
	                              "SYSLOG_IDENTIFIER=mired-test",
	                              pid,
	                              id,
	                              "EVENT=connected",
	                              "CLIENT=192.0.2.1",
	                              "LIST=one",
	                              "LIST=two",
	                              "MESSAGE=192.0.2.1: connected (1/1), lists: one two"};
	const char *entry = next_line(journal);
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		if (!has_field(entry, wanted[i])) {
			return 10 + (int)i;
		}
	}
	entry = next_line(journal);
	if (!has_field(entry, "PRIORITY=3") || !has_field(entry, "MESSAGE=plain") ||
	    strstr(entry, "MESSAGE_ID=") || strstr(entry, "EVENT=")) {
		return 2;
	}
	return recv(syslog, pid, sizeof pid, MSG_DONTWAIT) >= 0 ? 3 : 0;
}

static int no_line_can_forge_another(void)
{
	int journal = listen_at(JOURNAL_PATH);
	int syslog = listen_at(SYSLOG_PATH);
	const struct log_fields fields = {.client = "192.0.2.1",
	                                  .sender = "x\nMESSAGE=forged\nPRIORITY=0"};
	const struct log_options *const targets[] = {&to_journal, &to_syslog};
	for (int i = 0; i < 2; i++) {
		if (log_open(targets[i]) != 0 || !log_takes(LOG_EVENT_attempt)) {
			return 1;
		}
		log_event(LOG_EVENT_attempt, &fields, "%s", "a\nb\r\x1b[2Jc\x7f \\ %n \xc3\xa9");
		log_close();
	}
	const char *entry = next_line(journal);
	if (!has_field(entry, "MESSAGE=a\\x0ab\\x0d\\x1b[2Jc\\x7f \\ %n \xc3\xa9") ||
	    has_field(entry, "MESSAGE=forged") || has_field(entry, "PRIORITY=0") ||
	    !has_field(entry, "SENDER=x?MESSAGE=forged?PRIORITY=0")) {
		return 2;
	}
	const char *line = next_line(syslog);
	return strchr(line, '\n') || !strstr(line, ": a\\x0ab\\x0d\\x1b[2Jc\\x7f \\ %n ") ? 3 : 0;
}

/* The journal is stopped and started: what is logged meanwhile waits. */
static int a_new_journal_gets_what_was_logged_without_one(void)
{
	int journal = listen_at(JOURNAL_PATH);
	uint64_t dropped = log_dropped();
	if (log_open(&to_journal) != 0) {
		return 1;
	}
	log_info("first");
	if (!has_field(next_line(journal), "MESSAGE=first")) {
		return 2;
	}
	(void)close(journal);
	(void)unlink(JOURNAL_PATH);
	log_info("second");
	(void)usleep(300000);
	journal = listen_at(JOURNAL_PATH);
	log_info("third");
	if (!has_field(next_line(journal), "MESSAGE=second") ||
	    !has_field(next_line(journal), "MESSAGE=third")) {
		return 3;
	}
	log_close();
	return log_dropped() == dropped ? 0 : 4;
}

static int64_t now_ms(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Nobody reads: lines are lost and counted, nobody waits, and the loss is told when it is over. */
static int a_log_that_stands_still_holds_nobody_up(void)
{
	int journal = listen_at(JOURNAL_PATH);
	uint64_t dropped = log_dropped();
	if (log_open(&to_journal) != 0) {
		return 1;
	}
	int64_t begun = now_ms();
	for (int i = 0; i < 100000; i++) {
		log_info("line %d of a flood that nobody reads at the moment", i);
	}
	int64_t took_ms = now_ms() - begun;
	if (log_dropped() - dropped < 50000) {
		return 2;
	}
	if (took_ms > 5000) { /* some 100 ms; each wait for the log would be 100 ms */
		return 3;
	}
	const char *entry = next_line(journal);
	while (*entry && !strstr(entry, "log lines dropped: the log did not take them")) {
		entry = next_line(journal);
	}
	if (!has_field(entry, "EVENT=lost") || !has_field(entry, "PRIORITY=4")) {
		return 4;
	}
	for (int i = 0; i < 100; i++) {
		log_info("at the end nobody reads either: %d", i);
	}
	begun = now_ms();
	log_close();
	return now_ms() - begun < 4000 ? 0 : 5;
}

/* --- which one -------------------------------------------------------------------------------- */

static int without_a_journal_auto_is_syslog(void)
{
	char wanted[64];
	int syslog = listen_at(SYSLOG_PATH);
	(void)snprintf(wanted, sizeof wanted, " mired-test[%d]: connected", (int)getpid());
	if (log_open(&to_auto) != 0) {
		return 1;
	}
	log_event(LOG_EVENT_connected, &(struct log_fields){.client = "192.0.2.1"}, "connected");
	log_close();
	const char *line = next_line(syslog);
	/* facility daemon (3), severity info (6); no field gets into the text */
	return strncmp(line, "<30>", 4) == 0 && strstr(line, wanted) && !strstr(line, "CLIENT") ? 0
	                                                                                        : 2;
}

static int syslog_has_ident_pid_and_priority(void)
{
	char wanted[64];
	char month[8];
	time_t now = time(NULL);
	int syslog = listen_at(SYSLOG_PATH);
	if (listen_at(JOURNAL_PATH) < 0 || log_open(&to_syslog) != 0) {
		return 1;
	}
	log_warning("%s", "50%s off");
	log_close();
	const char *line = next_line(syslog);
	(void)snprintf(wanted, sizeof wanted, " mired-test[%d]: 50%%s off", (int)getpid());
	(void)strftime(month, sizeof month, "%b ", localtime(&now));
	/* severity warning (4); the date begins with the month */
	return strncmp(line, "<28>", 4) == 0 && strncmp(line + 4, month, 4) == 0 &&
	                       strcmp(line + strlen(line) - strlen(wanted), wanted) == 0
	               ? 0
	               : 2;
}

/* Said on stderr, and no line is lost while the rings hold it. */
static int a_log_that_comes_later_gets_everything(void)
{
	char text[512] = "";
	int file = memfd_create("stderr", MFD_CLOEXEC);
	(void)dup2(file, STDERR_FILENO);
	if (log_open(&to_auto) != 0) {
		return 1;
	}
	log_info("early");
	ssize_t len = pread(file, text, sizeof text - 1, 0);
	if (len <= 0 || !strstr(text, "log-target")) {
		return 2;
	}
	int journal = listen_at(JOURNAL_PATH);
	const char *entry = next_line(journal);
	log_close();
	return has_field(entry, "MESSAGE=early") ? 0 : 3;
}

/* A program that forks: no thread, and a fork's child logs as well. */
static int direct_lines_need_no_thread(void)
{
	int status = 0;
	int journal = listen_at(JOURNAL_PATH);
	struct log_options options = to_journal;
	options.is_direct = true;
	options.rate = 1;
	if (log_open(&options) != 0) {
		return 1;
	}
	log_error("parent");
	pid_t pid = fork();
	if (pid == 0) {
		log_error("child");
		_exit(0);
	}
	(void)waitpid(pid, &status, 0);
	log_close();
	return has_field(next_line(journal), "MESSAGE=parent") &&
	                       has_field(next_line(journal), "MESSAGE=child")
	               ? 0
	               : 2;
}

/* Then a line costs nothing; what it says is on stderr anyway. */
static int direct_lines_without_a_log_are_dropped_at_once(void)
{
	struct log_options options = to_auto;
	options.is_direct = true;
	uint64_t dropped = log_dropped();
	if (log_open(&options) != 0) {
		return 1;
	}
	int64_t begun = now_ms();
	for (int i = 0; i < 100; i++) {
		log_error("nobody hears");
	}
	log_close();
	return log_dropped() - dropped == 100 && now_ms() - begun < 2000 ? 0 : 2;
}

#define IN_OWN_WORLD(name)                    \
	static void name##_test(void **state) \
	{                                     \
		(void)state;                  \
		in_own_world(name);           \
	}
#define ROW(name)                                    \
	{                                            \
#name, name##_test, NULL, NULL, NULL \
	}
IN_OWN_WORLD(entries_carry_fields)
IN_OWN_WORLD(no_line_can_forge_another)
IN_OWN_WORLD(a_new_journal_gets_what_was_logged_without_one)
IN_OWN_WORLD(a_log_that_stands_still_holds_nobody_up)
IN_OWN_WORLD(without_a_journal_auto_is_syslog)
IN_OWN_WORLD(syslog_has_ident_pid_and_priority)
IN_OWN_WORLD(a_log_that_comes_later_gets_everything)
IN_OWN_WORLD(direct_lines_need_no_thread)
IN_OWN_WORLD(direct_lines_without_a_log_are_dropped_at_once)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        ROW(entries_carry_fields),
	        ROW(no_line_can_forge_another),
	        ROW(a_new_journal_gets_what_was_logged_without_one),
	        ROW(a_log_that_stands_still_holds_nobody_up),
	        ROW(without_a_journal_auto_is_syslog),
	        ROW(syslog_has_ident_pid_and_priority),
	        ROW(a_log_that_comes_later_gets_everything),
	        ROW(direct_lines_need_no_thread),
	        ROW(direct_lines_without_a_log_are_dropped_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
