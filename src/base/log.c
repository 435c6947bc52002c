/* The logger. Each thread that logs owns one slot of a fixed table with a mailbox in it; the writer
 * thread empties the mailboxes. A thread's first line takes the registration lock, later ones take
 * none. A slot whose thread has ended is emptied once more by the writer and then reused.
 *
 * The writer is woken through an eventfd, but only when it said that it sleeps; a line that misses
 * that moment waits for the next POLL_MS. After work it naps before it says so: in a rush of lines
 * one in NAP_MS pays for a wake-up, not each. */
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mailbox.h"

enum {
	SLOTS_MAX = 512,        /* threads that log at the same time; more lose their lines */
	RING_BYTES = 256 << 10, /* some 2,000 lines of usual length */
	BATCH_MAX = 64,         /* lines of one thread before the next one's turn */
	POLL_MS = 100,
	NAP_MS = 10,         /* a rush of 200,000 lines a second of one thread fits into its ring */
	CLOSE_WAIT_SECS = 1, /* for a writer stuck in a full pipe */
	DROP_REPORT_SECS = 10,
	IDENT_MAX = 64,
};

enum slot_state { SLOT_FREE, SLOT_USED, SLOT_ENDED };

struct slot {
	_Atomic int state;        /* FREE -> USED under the lock, USED -> ENDED by its thread,
	                             ENDED -> FREE by the writer */
	struct mailbox *ring;     /* made under the lock, kept for the slot's next thread */
	_Atomic uint64_t dropped; /* written by the slot's thread */
};

struct line {
	int level;
	char text[];
};

/* The process's one logger: see log.h. */
static struct {
	pthread_mutex_t lock; /* registration of threads */
	struct slot slots[SLOTS_MAX];
	_Atomic uint64_t dropped_without_slot;
	_Atomic bool is_running;
	_Atomic bool is_stopping;
	_Atomic bool is_asleep;
	_Atomic unsigned generation; /* one a log_open; a thread's slot of an older one is void */
	enum log_level level;
	bool to_stderr;
	char ident[IDENT_MAX];
	int wake;
	pthread_t writer;
	uint64_t dropped_reported;
	struct mono reported_at;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = -1};

static _Thread_local struct {
	struct slot *slot;
	unsigned generation;
} own;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;

static const int syslog_levels[] = {
        [LOG_LEVEL_ERROR] = LOG_ERR,
        [LOG_LEVEL_WARNING] = LOG_WARNING,
        [LOG_LEVEL_INFO] = LOG_INFO,
        [LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

static void write_stderr(const char *ident, const char *text)
{
	char line[LOG_LINE_MAX + IDENT_MAX + 16];
	int len = snprintf(line, sizeof line, "%s[%d]: %s\n", ident, (int)getpid(), text);
	if (len > 0) {
		/* nobody is left to tell when stderr is gone */
		ssize_t ret = write(STDERR_FILENO, line, (size_t)len);
		(void)ret;
	}
}

static void emit(int level, const char *text)
{
	if (logger.to_stderr) {
		write_stderr(logger.ident, text);
	} else {
		syslog(syslog_levels[level], "%s", text);
	}
}

/* Runs in the ending thread. */
static void end_thread(void *arg)
{
	struct slot *slot = arg;
	if (own.slot == slot && own.generation == atomic_load(&logger.generation)) {
		own.slot = NULL;
		/* release: partner of the acquire in drain; the last line is in the ring */
		atomic_store_explicit(&slot->state, SLOT_ENDED, memory_order_release);
	}
}

/* The child of a fork has no writer thread. */
static void forget_after_fork(void)
{
	atomic_store(&logger.is_running, false);
}

static void make_key(void)
{
	int ret = pthread_key_create(&key, end_thread);
	ASSERT(ret == 0);
	ret = pthread_atfork(NULL, NULL, forget_after_fork);
	ASSERT(ret == 0);
}

static bool drain_slot(struct slot *slot)
{
	int state = atomic_load_explicit(&slot->state, memory_order_acquire);
	bool has_worked = false;
	if (state == SLOT_FREE) {
		return false;
	}
	for (int i = 0; i < BATCH_MAX; i++) {
		size_t len;
		const struct line *line = mailbox_peek(slot->ring, &len);
		if (!line) {
			break;
		}
		emit(line->level, line->text);
		mailbox_release(slot->ring);
		has_worked = true;
	}
	if (state == SLOT_ENDED && mailbox_is_empty(slot->ring)) {
		/* release: partner of the acquire in find_free_slot */
		atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_release);
	}
	return has_worked;
}

static bool drain_all(void)
{
	bool has_worked = false;
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		has_worked |= drain_slot(&logger.slots[i]);
	}
	return has_worked;
}

static void report_drops(void)
{
	uint64_t dropped = log_dropped();
	struct mono now = clock_mono();
	if (dropped == logger.dropped_reported ||
	    (logger.dropped_reported > 0 &&
	     mono_diff_ms(now, logger.reported_at) < INT64_C(1000) * DROP_REPORT_SECS)) {
		return;
	}
	char text[96];
	(void)snprintf(text, sizeof text, "%llu log lines dropped because the log ring was full",
	               (unsigned long long)(dropped - logger.dropped_reported));
	emit(LOG_LEVEL_WARNING, text);
	logger.dropped_reported = dropped;
	logger.reported_at = now;
}

static void sleep_until_woken(void)
{
	struct pollfd pollfd = {.fd = logger.wake, .events = POLLIN};
	uint64_t count;
	atomic_store(&logger.is_asleep, true);
	if (poll(&pollfd, 1, POLL_MS) > 0) {
		ssize_t ret = read(logger.wake, &count, sizeof count);
		(void)ret; /* non-blocking: nothing to read is as good */
	}
	atomic_store(&logger.is_asleep, false);
}

static void nap(void)
{
	const struct timespec pause = {.tv_nsec = NAP_MS * NS_PER_MS};
	(void)nanosleep(&pause, NULL);
}

static void *run_writer(void *arg)
{
	bool is_rested = true;
	(void)arg;
	for (;;) {
		/* read before the drain: what was logged before the stop is written */
		bool is_stopping = atomic_load(&logger.is_stopping);
		bool has_worked = drain_all();
		report_drops();
		if (!has_worked && is_stopping) {
			return NULL;
		}
		if (!has_worked && is_rested) {
			sleep_until_woken();
		} else if (!has_worked) {
			nap();
		}
		is_rested = !has_worked;
	}
}

static void wake_writer(void)
{
	uint64_t one = 1;
	ssize_t ret = write(logger.wake, &one, sizeof one);
	(void)ret; /* a full eventfd wakes as well */
}

static int start_writer(void)
{
	logger.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (logger.wake < 0) {
		return -errno;
	}
	int ret = pthread_create(&logger.writer, NULL, run_writer, NULL);
	if (ret != 0) {
		(void)close(logger.wake);
		logger.wake = -1;
	}
	return -ret;
}

int log_open(const struct log_options *options)
{
	ASSERT(!atomic_load(&logger.is_running));
	(void)pthread_once(&key_once, make_key);
	(void)snprintf(logger.ident, sizeof logger.ident, "%s", options->ident);
	logger.to_stderr = options->to_stderr;
	logger.level = options->level;
	logger.dropped_reported = log_dropped();
	logger.reported_at = clock_mono();
	atomic_store(&logger.is_stopping, false);
	atomic_fetch_add(&logger.generation, 1);
	if (!options->to_stderr) {
		openlog(logger.ident, LOG_PID | LOG_NDELAY, LOG_DAEMON);
	}
	int ret = start_writer();
	if (ret == 0) {
		atomic_store(&logger.is_running, true);
	}
	return ret;
}

void log_close(void)
{
	struct timespec until;
	if (!atomic_load(&logger.is_running)) {
		return;
	}
	atomic_store(&logger.is_stopping, true);
	wake_writer();
	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += CLOSE_WAIT_SECS;
	atomic_store(&logger.is_running, false);
	if (pthread_timedjoin_np(logger.writer, NULL, &until) != 0) {
		/* stuck in a write that nobody reads; the rings stay for it until the exit */
		return;
	}
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		mailbox_free(logger.slots[i].ring);
		logger.slots[i].ring = NULL;
		atomic_store(&logger.slots[i].state, SLOT_FREE);
	}
	(void)close(logger.wake);
	logger.wake = -1;
	closelog();
}

/* Under the lock. */
static struct slot *find_free_slot(void)
{
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		struct slot *slot = &logger.slots[i];
		/* acquire: partner of the release in drain_slot, the reader has left the ring */
		if (atomic_load_explicit(&slot->state, memory_order_acquire) == SLOT_FREE) {
			slot->ring = slot->ring ? slot->ring : mailbox_new(RING_BYTES);
			return slot->ring ? slot : NULL;
		}
	}
	return NULL;
}

static struct slot *register_thread(void)
{
	(void)pthread_mutex_lock(&logger.lock);
	struct slot *slot = find_free_slot();
	if (slot) {
		/* release: partner of the acquire in drain_slot, the ring is there */
		atomic_store_explicit(&slot->state, SLOT_USED, memory_order_release);
	}
	(void)pthread_mutex_unlock(&logger.lock);
	own.slot = slot;
	own.generation = atomic_load(&logger.generation);
	if (slot) {
		(void)pthread_setspecific(key, slot);
	}
	return slot;
}

static struct slot *own_slot(void)
{
	bool is_mine = own.slot && own.generation == atomic_load(&logger.generation);
	return is_mine ? own.slot : register_thread();
}

static void enqueue(enum log_level level, const char *text)
{
	struct slot *slot = own_slot();
	size_t len = strlen(text) + 1;
	struct line *line = slot ? mailbox_reserve(slot->ring, sizeof *line + len) : NULL;
	if (!line) {
		(void)atomic_fetch_add_explicit(slot ? &slot->dropped
		                                     : &logger.dropped_without_slot,
		                                1, memory_order_relaxed);
		return;
	}
	line->level = (int)level;
	memcpy(line->text, text, len);
	mailbox_post(slot->ring);
	if (atomic_load_explicit(&logger.is_asleep, memory_order_relaxed) &&
	    atomic_exchange(&logger.is_asleep, false)) {
		wake_writer();
	}
}

void log_write(enum log_level level, const char *format, ...)
{
	char text[LOG_LINE_MAX];
	va_list args;
	bool is_running = atomic_load(&logger.is_running);
	if (is_running && level > logger.level) {
		return;
	}
	va_start(args, format);
	int len = vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (len < 0) {
		return; /* a conversion error of the C library; there is no text */
	}
	if (is_running) {
		enqueue(level, text);
	} else {
		write_stderr(logger.ident[0] ? logger.ident : program_invocation_short_name, text);
	}
}

uint64_t log_dropped(void)
{
	uint64_t sum = atomic_load_explicit(&logger.dropped_without_slot, memory_order_relaxed);
	for (size_t i = 0; i < SLOTS_MAX; i++) {
		sum += atomic_load_explicit(&logger.slots[i].dropped, memory_order_relaxed);
	}
	return sum;
}
