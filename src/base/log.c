/* Lines on their way in. Each thread that logs owns one slot of a fixed table with a mailbox in it;
 * the writer thread empties the mailboxes. A thread's first line takes the registration lock, later
 * ones take none.
 *
 * The writer is woken through an eventfd, but only when it said that it sleeps; a line that misses
 * that moment waits for the next LOG_POLL_MS. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/log_impl.h"

enum {
	RING_BYTES = 256 << 10, /* some 1,000 to 2,000 lines of usual length */
	CLOSE_WAIT_SECS = 1,    /* for a writer stuck in a full pipe */
	DIRECT_TRIES = 10,      /* of LOG_POLL_MS, for a line that is sent at once */
};

struct logger log_the = {
        .lock = PTHREAD_MUTEX_INITIALIZER, .level = LOG_LEVEL_INFO, .wake = -1, .sink.fd = -1};

static _Thread_local struct {
	struct log_slot *slot;
	unsigned generation;
} own;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

/* For those who have no writer: before log_open, after log_close, in the child of a fork. */
static void write_stderr(const char *text)
{
	char line[LOG_LINE_MAX + LOG_IDENT_MAX + 16];
	const char *ident = log_the.sink.ident;
	int len = snprintf(line, sizeof line, "%s[%d]: %s\n",
	                   ident[0] ? ident : program_invocation_short_name, (int)getpid(), text);
	if (len > 0) {
		/* nobody is left to tell when stderr is gone */
		ssize_t ret = write(STDERR_FILENO, line, (size_t)len);
		(void)ret;
	}
}

/* Runs in the ending thread. */
static void end_thread(void *arg)
{
	struct log_slot *slot = arg;
	if (own.slot == slot && own.generation == atomic_load(&log_the.generation)) {
		own.slot = NULL;
		/* release: partner of the acquire in the writer's drain; the last line is in the
		 * ring */
		atomic_store_explicit(&slot->state, LOG_SLOT_ENDED, memory_order_release);
	}
}

/* The child of a fork has no writer thread. */
static void forget_after_fork(void)
{
	if (!log_the.is_direct) {
		atomic_store(&log_the.is_running, false);
	}
}

static void make_key(void)
{
	int ret = pthread_key_create(&key, end_thread);
	ASSERT(ret == 0);
	ret = pthread_atfork(NULL, NULL, forget_after_fork);
	ASSERT(ret == 0);
}

/* --- begin and end ---------------------------------------------------------------------------- */

static void wake_writer(void)
{
	uint64_t one = 1;
	ssize_t ret = write(log_the.wake, &one, sizeof one);
	(void)ret; /* a full eventfd wakes as well */
}

static int start_writer(void)
{
	log_the.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (log_the.wake < 0) {
		return -errno;
	}
	int ret = pthread_create(&log_the.thread, NULL, log_writer_run, &log_the.writer);
	if (ret != 0) {
		(void)close(log_the.wake);
		log_the.wake = -1;
	}
	return -ret;
}

int log_open(const struct log_options *options)
{
	ASSERT(!atomic_load(&log_the.is_running));
	(void)pthread_once(&key_once, make_key);
	log_sink_open(&log_the.sink, options);
	if (!log_sink_is_up(&log_the.sink) && !options->is_direct) {
		write_stderr("log: what log-target names takes no lines: they wait for it, and "
		             "what finds no room is dropped");
	}
	log_the.is_direct = options->is_direct;
	atomic_store(&log_the.has_fields, log_sink_has_fields(&log_the.sink));
	atomic_store(&log_the.level, (int)options->level);
	log_set_rate(options->rate);
	atomic_store(&log_the.is_stopping, false);
	atomic_fetch_add(&log_the.generation, 1);
	log_writer_init(&log_the.writer);
	int ret = log_the.is_direct ? 0 : start_writer();
	if (ret == 0) {
		atomic_store(&log_the.is_running, true);
	} else {
		log_sink_close(&log_the.sink);
	}
	return ret;
}

static bool stop_writer(void)
{
	struct timespec until;
	atomic_store(&log_the.is_stopping, true);
	wake_writer();
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSE_WAIT_SECS;
	return pthread_timedjoin_np(log_the.thread, NULL, &until) == 0;
}

void log_close(void)
{
	if (!atomic_exchange(&log_the.is_running, false)) {
		return;
	}
	if (!log_the.is_direct && !stop_writer()) {
		/* stuck in a write that nobody reads; the rings stay for it until the exit */
		return;
	}
	for (size_t i = 0; i < LOG_SLOTS_MAX; i++) {
		mailbox_free(log_the.slots[i].ring);
		log_the.slots[i].ring = NULL;
		atomic_store(&log_the.slots[i].state, LOG_SLOT_FREE);
	}
	if (log_the.wake >= 0) {
		(void)close(log_the.wake);
		log_the.wake = -1;
	}
	log_sink_close(&log_the.sink);
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_the.level, (int)level, memory_order_relaxed);
}

void log_set_rate(uint32_t rate)
{
	atomic_store_explicit(&log_the.rate, rate, memory_order_relaxed);
	log_writer_refill();
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Under the lock. */
static struct log_slot *find_free_slot(void)
{
	for (size_t i = 0; i < LOG_SLOTS_MAX; i++) {
		struct log_slot *slot = &log_the.slots[i];
		/* acquire: partner of the release in the writer's drain, the reader has left the
		 * ring */
		if (atomic_load_explicit(&slot->state, memory_order_acquire) == LOG_SLOT_FREE) {
			slot->ring = slot->ring ? slot->ring : mailbox_new(RING_BYTES);
			return slot->ring ? slot : NULL;
		}
	}
	return NULL;
}

static struct log_slot *register_thread(void)
{
	(void)pthread_mutex_lock(&log_the.lock);
	struct log_slot *slot = find_free_slot();
	if (slot) {
		/* release: partner of the acquire in the writer's drain, the ring is there */
		atomic_store_explicit(&slot->state, LOG_SLOT_USED, memory_order_release);
	}
	(void)pthread_mutex_unlock(&log_the.lock);
	own.slot = slot;
	own.generation = atomic_load(&log_the.generation);
	if (slot) {
		(void)pthread_setspecific(key, slot);
	}
	return slot;
}

static struct log_slot *own_slot(void)
{
	bool is_mine = own.slot && own.generation == atomic_load_explicit(&log_the.generation,
	                                                                  memory_order_relaxed);
	return is_mine ? own.slot : register_thread();
}

/* --- shares ----------------------------------------------------------------------------------- */

static void count_suppressed(enum log_event event)
{
	struct log_slot *slot = own_slot();
	if (slot) {
		/* only this thread writes it */
		_Atomic uint64_t *count = &slot->suppressed[event];
		atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
		                      memory_order_relaxed);
	} else {
		(void)atomic_fetch_add_explicit(&log_the.dropped_without_slot, 1,
		                                memory_order_relaxed);
	}
}

static bool take_share(enum log_event event)
{
	/* Two who find the last one both take it: a line too many does no harm. */
	_Atomic int64_t *left = &log_the.left[event];
	if (atomic_load_explicit(left, memory_order_relaxed) <= 0) {
		count_suppressed(event);
		return false;
	}
	(void)atomic_fetch_sub_explicit(left, 1, memory_order_relaxed);
	return true;
}

/* The level at which a kind is logged: spamd sends its lines of level debug without -v, too. */
static enum log_level level_needed(const struct log_event_row *row)
{
	if (row->when == LOG_VERBOSE) {
		return LOG_LEVEL_DEBUG;
	}
	return row->level < LOG_LEVEL_INFO ? row->level : LOG_LEVEL_INFO;
}

bool log_takes(enum log_event event)
{
	const struct log_event_row *row = log_event_row(event);
	if (atomic_load_explicit(&log_the.level, memory_order_relaxed) < (int)level_needed(row)) {
		return false;
	}
	bool has_limit = row->when != LOG_ALWAYS && !log_the.is_direct &&
	                 atomic_load_explicit(&log_the.rate, memory_order_relaxed) != LOG_RATE_NONE;
	return !has_limit || take_share(event);
}

/* --- lines ------------------------------------------------------------------------------------ */

/* A line and its fields, as the writer takes it. */
struct draft {
	enum log_event event;
	enum log_level level;
	size_t text_len;
	size_t fields_len;
	char text[LOG_LINE_MAX];
	char fields[LOG_FIELDS_BYTES_MAX];
};

static void copy_draft(const struct draft *draft, struct log_line *line)
{
	line->event = (uint8_t)draft->event;
	line->level = (uint8_t)draft->level;
	line->text_len = (uint16_t)draft->text_len;
	line->fields_len = (uint16_t)draft->fields_len;
	memcpy(line->bytes, draft->text, draft->text_len + 1);
	memcpy(line->bytes + draft->text_len + 1, draft->fields, draft->fields_len);
}

static void enqueue(const struct draft *draft)
{
	struct log_slot *slot = own_slot();
	size_t len = sizeof(struct log_line) + draft->text_len + 1 + draft->fields_len;
	struct log_line *line = slot ? mailbox_reserve(slot->ring, len) : NULL;
	if (!line) {
		(void)atomic_fetch_add_explicit(slot ? &slot->dropped
		                                     : &log_the.dropped_without_slot,
		                                1, memory_order_relaxed);
		return;
	}
	copy_draft(draft, line);
	mailbox_post(slot->ring);
	if (atomic_load_explicit(&log_the.is_asleep, memory_order_relaxed) &&
	    atomic_exchange(&log_the.is_asleep, false)) {
		wake_writer();
	}
}

static void send_now(const struct draft *draft)
{
	union {
		struct log_line line;
		char bytes[sizeof(struct log_line) + sizeof draft->text + sizeof draft->fields];
	} copy;
	struct log_sink *sink = &log_the.sink;
	copy_draft(draft, &copy.line);
	(void)pthread_mutex_lock(&log_the.lock);
	bool is_sent = log_sink_is_up(sink) && log_sink_add(sink, &copy.line);
	for (int i = 0; is_sent && !log_sink_flush(sink); i++) {
		log_sink_wait(sink);
		is_sent = i < DIRECT_TRIES && log_sink_is_up(sink);
	}
	if (!is_sent) {
		(void)atomic_fetch_add(&sink->n_lost, 1);
		sink->n = sink->n_sent = 0;
	}
	(void)pthread_mutex_unlock(&log_the.lock);
}

static void finish(struct draft *draft, int len)
{
	if (len < 0) {
		return; /* a conversion error of the C library; there is no text */
	}
	draft->text_len = len < LOG_LINE_MAX ? (size_t)len : LOG_LINE_MAX - 1;
	if (!atomic_load_explicit(&log_the.is_running, memory_order_relaxed)) {
		write_stderr(draft->text);
	} else if (log_the.is_direct) {
		send_now(draft);
	} else {
		enqueue(draft);
	}
}

void log_write(enum log_level level, const char *format, ...)
{
	struct draft draft;
	va_list args;
	if (atomic_load_explicit(&log_the.is_running, memory_order_relaxed) &&
	    (int)level > atomic_load_explicit(&log_the.level, memory_order_relaxed)) {
		return;
	}
	draft.event = LOG_EVENT_NONE;
	draft.level = level;
	draft.fields_len = 0;
	va_start(args, format);
	int len = vsnprintf(draft.text, sizeof draft.text, format, args);
	va_end(args);
	finish(&draft, len);
}

void log_event(enum log_event event, const struct log_fields *fields, const char *format, ...)
{
	struct draft draft;
	va_list args;
	draft.event = event;
	draft.level = log_event_row(event)->level;
	draft.fields_len = fields && atomic_load_explicit(&log_the.has_fields, memory_order_relaxed)
	                           ? log_fields_encode(fields, draft.fields, sizeof draft.fields)
	                           : 0;
	va_start(args, format);
	int len = vsnprintf(draft.text, sizeof draft.text, format, args);
	va_end(args);
	finish(&draft, len);
}

/* --- figures ---------------------------------------------------------------------------------- */

uint64_t log_dropped(void)
{
	uint64_t sum = atomic_load_explicit(&log_the.dropped_without_slot, memory_order_relaxed) +
	               atomic_load_explicit(&log_the.sink.n_lost, memory_order_relaxed);
	for (size_t i = 0; i < LOG_SLOTS_MAX; i++) {
		sum += atomic_load_explicit(&log_the.slots[i].dropped, memory_order_relaxed);
	}
	return sum;
}

uint64_t log_suppressed_of(enum log_event event)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < LOG_SLOTS_MAX; i++) {
		sum += atomic_load_explicit(&log_the.slots[i].suppressed[event],
		                            memory_order_relaxed);
	}
	return sum;
}

uint64_t log_suppressed(void)
{
	uint64_t sum = 0;
	for (int i = 0; i < LOG_EVENT_COUNT; i++) {
		sum += log_suppressed_of((enum log_event)i);
	}
	return sum;
}
