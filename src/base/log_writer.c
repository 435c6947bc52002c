/* The writer thread: rings to sink, in turns, so that no thread's flood holds up another's line.
 * After work it naps before it says that it sleeps: in a rush of lines one in NAP_MS pays for a
 * wake-up, not each. While the log takes nothing the lines stay in their rings; those that find no
 * room there are counted by their threads, and the sum is said when the log is back. */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log_impl.h"

enum {
	BATCH_MAX = 64, /* lines of one thread before the next one's turn */
	NAP_MS = 10,    /* a rush of 100,000 lines a second of one thread fits into its ring */
	DROP_REPORT_MS = 10000,
	SHARE_MS = 1000, /* the second of log-rate */
	STOP_TRIES = 5,  /* of LOG_POLL_MS for a log that takes nothing at the end */
	REPORT_BYTES_MAX = 256,
};

/* --- lines ------------------------------------------------------------------------------------ */

static bool emit(const struct log_line *line)
{
	struct log_sink *sink = &log_the.sink;
	if (!log_sink_is_up(sink)) {
		return false;
	}
	return log_sink_add(sink, line) || (log_sink_flush(sink) && log_sink_add(sink, line));
}

static bool drain_slot(struct log_slot *slot)
{
	/* acquire: partner of the releases of those who set it */
	int state = atomic_load_explicit(&slot->state, memory_order_acquire);
	bool has_worked = false;
	if (state == LOG_SLOT_FREE) {
		return false;
	}
	for (int i = 0; i < BATCH_MAX; i++) {
		size_t len;
		const struct log_line *line = mailbox_peek(slot->ring, &len);
		if (!line || !emit(line)) {
			break;
		}
		mailbox_release(slot->ring);
		has_worked = true;
	}
	if (state == LOG_SLOT_ENDED && mailbox_is_empty(slot->ring)) {
		/* release: partner of the acquire in find_free_slot */
		atomic_store_explicit(&slot->state, LOG_SLOT_FREE, memory_order_release);
	}
	return has_worked;
}

static bool drain_all(void)
{
	bool has_worked = false;
	for (size_t i = 0; i < LOG_SLOTS_MAX; i++) {
		has_worked |= drain_slot(&log_the.slots[i]);
	}
	return has_worked;
}

/* --- what is missing -------------------------------------------------------------------------- */

/* A line of the writer itself. */
static bool say(enum log_event event, const char *text, const struct log_fields *fields)
{
	union {
		struct log_line line;
		char bytes[sizeof(struct log_line) + 2UL * REPORT_BYTES_MAX];
	} copy;
	size_t len = strlen(text);
	copy.line = (struct log_line){.event = (uint8_t)event,
	                              .level = (uint8_t)log_event_row(event)->level,
	                              .text_len = (uint16_t)len};
	memcpy(copy.line.bytes, text, len + 1);
	copy.line.fields_len =
	        (uint16_t)log_fields_encode(fields, copy.line.bytes + len + 1, REPORT_BYTES_MAX);
	return emit(&copy.line);
}

static void say_dropped(struct log_writer *writer, struct mono now)
{
	char text[REPORT_BYTES_MAX];
	char count[24];
	uint64_t dropped = log_dropped();
	uint64_t n = dropped - writer->dropped_said;
	if (n == 0 || (writer->dropped_said > 0 &&
	               mono_diff_ms(now, writer->dropped_said_at) < DROP_REPORT_MS)) {
		return;
	}
	(void)snprintf(count, sizeof count, "%llu", (unsigned long long)n);
	(void)snprintf(text, sizeof text, "%s log lines dropped: the log did not take them", count);
	if (say(LOG_EVENT_lost, text, &(struct log_fields){.count = count})) {
		writer->dropped_said = dropped;
		writer->dropped_said_at = now;
	}
}

static void say_suppressed(struct log_writer *writer, enum log_event event, int64_t past_ms)
{
	char text[REPORT_BYTES_MAX];
	char count[24];
	const char *name = log_event_row(event)->name;
	uint64_t all = log_suppressed_of(event);
	uint64_t n = all - writer->suppressed_said[event];
	int64_t secs = past_ms / MS_PER_SEC;
	if (n == 0) {
		return;
	}
	(void)snprintf(count, sizeof count, "%llu", (unsigned long long)n);
	if (secs > 1) {
		(void)snprintf(text, sizeof text,
		               "%s: %s more in the last %lld seconds not logged (log-rate)", name,
		               count, (long long)secs);
	} else {
		(void)snprintf(text, sizeof text,
		               "%s: %s more in the last second not logged (log-rate)", name, count);
	}
	if (say(LOG_EVENT_suppressed, text, &(struct log_fields){.count = count, .of = name})) {
		writer->suppressed_said[event] = all;
	}
}

void log_writer_refill(void)
{
	uint32_t rate = atomic_load_explicit(&log_the.rate, memory_order_relaxed);
	for (int i = 0; i < LOG_EVENT_COUNT; i++) {
		atomic_store_explicit(&log_the.left[i], (int64_t)rate, memory_order_relaxed);
	}
}

/* The share is given before the sum is said: what is suppressed in between counts for the next. */
static void end_second(struct log_writer *writer, struct mono now, bool is_last)
{
	int64_t past_ms = mono_diff_ms(now, writer->shared_at);
	if (past_ms < SHARE_MS && !is_last) {
		return;
	}
	writer->shared_at = now;
	log_writer_refill();
	for (int i = 0; i < LOG_EVENT_COUNT; i++) {
		say_suppressed(writer, (enum log_event)i, past_ms);
	}
}

/* --- the thread ------------------------------------------------------------------------------- */

static void sleep_until_woken(void)
{
	struct pollfd pollfd = {.fd = log_the.wake, .events = POLLIN};
	uint64_t count;
	atomic_store(&log_the.is_asleep, true);
	if (poll(&pollfd, 1, LOG_POLL_MS) > 0) {
		ssize_t ret = read(log_the.wake, &count, sizeof count);
		(void)ret; /* non-blocking: nothing to read is as good */
	}
	atomic_store(&log_the.is_asleep, false);
}

static void nap(void)
{
	const struct timespec pause = {.tv_nsec = NAP_MS * NS_PER_MS};
	(void)nanosleep(&pause, NULL);
}

static bool turn(struct log_writer *writer, bool is_last)
{
	struct mono now = clock_mono();
	bool has_worked = drain_all();
	end_second(writer, now, is_last);
	say_dropped(writer, now);
	return has_worked;
}

/* Everything that was logged before the stop is written, if the log takes it. */
static void finish(struct log_writer *writer)
{
	struct log_sink *sink = &log_the.sink;
	bool has_more = true;
	for (int tries = 0; tries < STOP_TRIES && has_more;) {
		has_more = turn(writer, true);
		if (!log_sink_is_up(sink) || !log_sink_flush(sink)) {
			has_more = true;
			tries++;
			log_sink_wait(sink);
		}
	}
}

void log_writer_init(struct log_writer *writer)
{
	*writer = (struct log_writer){.shared_at = clock_mono(), .dropped_said = log_dropped()};
	for (int i = 0; i < LOG_EVENT_COUNT; i++) {
		writer->suppressed_said[i] = log_suppressed_of((enum log_event)i);
	}
}

void *log_writer_run(void *arg)
{
	struct log_writer *writer = arg;
	struct log_sink *sink = &log_the.sink;
	bool is_rested = true;
	while (!atomic_load(&log_the.is_stopping)) {
		bool has_worked = turn(writer, false);
		atomic_store(&log_the.has_fields, log_sink_has_fields(sink));
		if (!log_sink_is_up(sink) || !log_sink_flush(sink)) {
			log_sink_wait(sink);
		} else if (has_worked) {
			is_rested = false;
		} else if (is_rested) {
			sleep_until_woken();
		} else {
			nap();
			is_rested = true;
		}
	}
	finish(writer);
	return NULL;
}
