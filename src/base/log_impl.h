/* What the files of the logger share; nobody else includes it.
 *
 *   log.c         threads, their rings and shares; lines on their way in
 *   log_writer.c  the writer thread, which empties the rings and says what is missing
 *   log_sink.c    journal, syslog or stderr: connecting, encoding, sending
 *   log_events.c  the kinds of lines */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/log.h"
#include "base/mailbox.h"

enum {
	LOG_SLOTS_MAX = 512, /* threads that log at the same time; more lose their lines */
	LOG_IDENT_MAX = 64,
	LOG_POLL_MS = 100,
};

enum log_slot_state { LOG_SLOT_FREE, LOG_SLOT_USED, LOG_SLOT_ENDED };

/* A thread's. Counts are written by that thread only and stay when the slot gets another. */
struct log_slot {
	_Atomic int state;        /* FREE -> USED under the lock, USED -> ENDED by its thread,
	                             ENDED -> FREE by the writer */
	struct mailbox *ring;     /* made under the lock, kept for the slot's next thread */
	_Atomic uint64_t dropped; /* lines that found no room in the ring */
	_Atomic uint64_t suppressed[LOG_EVENT_COUNT];
} CACHE_ALIGNED;

/* A line in a ring: the text, ended by NUL, then its fields as log_fields_encode wrote them. */
struct log_line {
	uint8_t event; /* enum log_event */
	uint8_t level; /* enum log_level */
	uint16_t text_len;
	uint16_t fields_len;
	char bytes[];
};

/* --- log_sink.c ------------------------------------------------------------------------------- */

enum {
	SINK_LINES_MAX = 64,
	SINK_BYTES = 64 << 10,
	SINK_HEAD_MAX = 192,
	SINK_STAMP_MAX = 24,
};

/* Gathers encoded lines and sends them together. Owner: the writer, or in a program without one the
 * only thread. */
struct log_sink {
	enum log_target target;   /* what was asked for */
	enum log_target resolved; /* what it is connected to, or was last */
	int fd;                   /* -1: not connected */
	char ident[LOG_IDENT_MAX];
	char head[SINK_HEAD_MAX]; /* what stands before each line */
	int64_t stamp_secs;
	char stamp[SINK_STAMP_MAX]; /* that second as syslog writes it */
	size_t n;                   /* lines gathered */
	size_t n_sent;              /* of them */
	size_t ends[SINK_LINES_MAX];
	_Atomic uint64_t n_lost; /* refused by the log; any thread reads */
	char bytes[SINK_BYTES];
};

/* Connects if it can; see log_sink_is_up. */
void log_sink_open(struct log_sink *sink, const struct log_options *options);
void log_sink_close(struct log_sink *sink);
/* Whether lines can be given to it; tries to connect again if it is not connected. */
bool log_sink_is_up(struct log_sink *sink);
/* Whether it makes use of fields: as long as it goes to the journal. */
bool log_sink_has_fields(const struct log_sink *sink);
/* Takes one line; false when there is no room until log_sink_flush. Only while it is up. */
bool log_sink_add(struct log_sink *sink, const struct log_line *line);
/* Sends what was gathered, without waiting (stderr: as long as it takes). False: something is left,
 * because the log takes no more at present or is gone. */
bool log_sink_flush(struct log_sink *sink);
/* Waits until the log may take lines again, LOG_POLL_MS at most. */
void log_sink_wait(const struct log_sink *sink);

/* --- log_writer.c ----------------------------------------------------------------------------- */

/* What the thread remembers between its turns. */
struct log_writer {
	struct mono shared_at;
	struct mono dropped_said_at;
	uint64_t dropped_said;
	uint64_t suppressed_said[LOG_EVENT_COUNT];
};

/* Before the thread starts: what was counted so far is not its to say. */
void log_writer_init(struct log_writer *writer);
/* The thread; arg is the struct. */
void *log_writer_run(void *arg);
/* Gives each kind its share of a new second. */
void log_writer_refill(void);

/* --- log.c ------------------------------------------------------------------------------------ */

struct logger {
	pthread_mutex_t lock; /* registration of threads; sending where there is no writer */
	struct log_slot slots[LOG_SLOTS_MAX];
	/* Lines of each kind left of this second's share. Written by whoever takes one, at most
	 * log-rate times a second, and by the writer; who finds none only reads. */
	_Atomic int64_t left[LOG_EVENT_COUNT];
	_Atomic uint32_t rate;
	_Atomic int level;
	_Atomic uint64_t dropped_without_slot;
	_Atomic bool is_running;
	_Atomic bool is_stopping;
	_Atomic bool is_asleep;
	_Atomic bool has_fields;
	_Atomic unsigned generation; /* one a log_open; a thread's slot of an older one is void */
	bool is_direct;
	int wake;
	pthread_t thread;
	struct log_writer writer; /* the thread's */
	struct log_sink sink;
};

/* The process's one logger: see log.h. */
extern struct logger log_the;

uint64_t log_suppressed_of(enum log_event event);
