/* What the files of a worker share; nobody else includes it. All of it belongs to the worker's
 * thread, except what is marked.
 *
 *   worker.c         start and stop, the loop, ticks, what the kernel reports
 *   worker_accept.c  listeners, admission, what kind of host this is
 *   worker_batch.c   serving connections in chunks; their end
 *   worker_pace.c    what a stuttered byte costs in time while bytes are scarce
 *   worker_talk.c    requests to the keeper and its answers; events of sessions; log lines
 *   worker_listed.c  lists and traps: who is on them, and what they are told
 *   worker_held.c    what connections there are, when somebody asks
 *   worker_settings.c  a reload */
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/counters.h"
#include "base/wheel.h"
#include "engine/budget.h"
#include "engine/conn.h"
#include "engine/held.h"
#include "engine/ring.h"
#include "engine/worker.h"

enum {
	WORKER_LISTENERS_MAX = 32,
	WORKER_WHEEL_SLOTS =
	        1024,            /* 51 s at the usual tick; what is due later is looked at again */
	WORKER_READY_MAX = 4096, /* served at once; what finds no room is served at the next tick */
	/* connections served in one turn, so that accepts and the keeper's answers get theirs */
	WORKER_TURN_MAX = 2048,
	WORKER_ANSWERS_MAX = 4096, /* answers taken in one turn */
	WORKER_EVENTS_MAX = 8192,  /* completions taken in one go */
	WORKER_RUN_MAX = 256,      /* lines answered for one connection before the others' turn */
	CHUNK_MAX = 128,           /* connections served by one submission: at most 256 requests */
	ACCEPTS_ONCE = 64,         /* single-shot accepts pending on each listener */
	CLASS_COUNT = SESSION_PASSIVE + 1,
	TAGS_BYTES_MAX = 76, /* of the tags in a log line (spamd.md §9); " ..." may follow */
};

static_assert((int)RING_TABLE_MAX <= (int)CONN_TABLE_MAX, "a connection for each descriptor");
static_assert(CHUNK_MAX <= UINT8_MAX, "an entry's place fits into a tag");
static_assert(CHUNK_MAX * 2 <= RING_SQ_ENTRIES, "a chunk fits into the submission queue");

/* One pending single-shot accept and its own place for the peer's address. */
struct accept_slot {
	struct sockaddr_storage peer;
	socklen_t peer_len;
	bool is_armed;
};

struct acceptor {
	int fd;
	bool is_v6;
	bool is_low_priority;
	uint32_t n_armed;
	uint32_t pause_ms;         /* present back-off, 0 = none */
	uint64_t rearm_tick;       /* not before */
	struct accept_slot *slots; /* ACCEPTS_ONCE of them; NULL with multishot accept */
};

/* One connection in the chunk under way. */
struct chunk_entry {
	uint32_t slot;
	uint32_t n_send; /* bytes handed to the kernel, 0 = no SEND */
	int32_t sent;    /* bytes taken, or -errno */
	int32_t received;
	bool has_recv;
	uint8_t input[SESSION_READ_MAX];
};

struct chunk {
	uint32_t n;
	uint32_t n_awaited; /* requests of the chunk whose event has not come */
	struct chunk_entry entries[CHUNK_MAX];
};

/* What others may read of the pace. */
struct pace_figures {
	_Atomic uint32_t interval_ms[SESSION_PACE_COUNT];
	_Atomic uint32_t carried_per_sec;
	_Atomic uint32_t stuttered_per_sec;
};

/* Somebody asks what is held: a question of its own number, and the answer. */
struct inquiry {
	_Atomic uint32_t asked; /* number of the last question */
	_Atomic uint32_t done;  /* of the last one answered */
	struct held_query query;
	struct held held;
	bool is_walking;
	uint32_t next; /* place of the table */
};

struct worker {
	struct worker_env env;
	struct session_conf session; /* env.session points here */
	struct ring *ring;
	struct conn_table conns;
	struct wheel *wheel;
	struct chunk *chunk;
	struct acceptor acceptors[WORKER_LISTENERS_MAX];
	/* time, read once a turn */
	struct mono epoch; /* tick 0 */
	struct mono now;
	struct mono_ms now_ms;
	struct wall wall;
	uint64_t held_ns; /* by listed connections, the part that is no whole second yet */
	uint64_t tick_now;
	uint64_t tick_done; /* the wheel is drained up to here */
	int64_t late_ns; /* of the first tick that was not at the turn's begin; below 0: not due */
	/* to be served before the next sleep */
	uint32_t ready[WORKER_READY_MAX];
	uint32_t ready_first;
	uint32_t n_ready;
	uint32_t turn_left; /* connections that may still be served in this turn */
	uint32_t in_flight; /* requests the keeper has not answered */
	/* pace */
	struct budget budget;
	uint32_t n_saying[SESSION_PACE_COUNT]; /* connections that stutter something at present */
	bool is_stretching;                    /* counted in env.n_stretching */
	uint32_t phase;
	uint32_t n_in_phase;
	struct pace_figures pace;
	struct mono_ms full_since;
	bool is_full;    /* since full_since no tuple found room and no answer came */
	bool has_posted; /* since the keeper was woken */
	bool is_ending;
	uint64_t settings_generation; /* of those in force; 0: what the worker was started with */
	bool owes_texts;              /* those of the settings found no place yet ... */
	struct mono texts_at;         /* ... and are tried again then */
	int wake_fd;                  /* eventfd of worker_stop */
	pthread_t thread;
	sem_t started;
	int start_ret; /* written by the thread before it posts `started` */
	_Atomic bool stop;
	_Atomic uint32_t n_class[CLASS_COUNT]; /* open connections; others read */
	struct inquiry inquiry;                /* of the worker or of who asks, see worker_held.c */
	struct counters counters;
};

/* --- worker.c --- */

void worker_count(struct worker *worker, enum counter which);
struct ring_tag worker_tag(const struct conn *conn, enum ring_op op, uint32_t slot);
/* Decides when the connection is served next: at once, at its due tick, or at the next tick. */
void worker_schedule(struct worker *worker, uint32_t slot, struct conn *conn);
/* At the next tick, whatever the session wants: nothing moved, or a resource was short. */
void worker_schedule_next_tick(struct worker *worker, uint32_t slot);
/* Takes the completions that are there. */
void worker_reap(struct worker *worker);

/* --- worker_accept.c --- */

MUST_USE int acceptors_init(struct worker *worker);
void acceptors_fini(struct worker *worker);
/* Arms what is not armed and may be. */
void acceptors_arm(struct worker *worker);
void acceptors_cancel(struct worker *worker);
bool acceptors_are_armed(const struct worker *worker);
void worker_on_accept(struct worker *worker, const struct ring_event *event);
void worker_on_name(struct worker *worker, const struct ring_event *event);
/* Asks for the peer's address; used again when the kernel had no memory for it. */
void worker_ask_name(struct worker *worker, uint32_t slot);
/* The host is known: moves the connection from SESSION_UNKNOWN to its class. */
void worker_classify(struct worker *worker, uint32_t slot, enum session_class cls);
/* The host is a trapped one by now: from its next reply on the client is treated so. */
void worker_trap(struct worker *worker, uint32_t slot);
/* It ends. */
void worker_leave_class(struct worker *worker, const struct conn *conn);

/* --- worker_batch.c --- */

/* Serves what is ready and what the wheel has due, within the turn's budget. */
void worker_serve(struct worker *worker);
void worker_on_io(struct worker *worker, const struct ring_event *event);
void worker_on_shutdown(struct worker *worker, const struct ring_event *event);
void worker_on_close(struct worker *worker, const struct ring_event *event);
/* Begins the end: closes as soon as nothing is under way. */
void worker_close(struct worker *worker, uint32_t slot);

/* --- worker_pace.c --- */

void worker_pace_init(struct worker *worker);
/* At the end of the worker. */
void worker_pace_fini(struct worker *worker);
/* Once a turn, before anything is served. */
void worker_pace_turn(struct worker *worker);
/* Another budget, and what the worker's sessions say of the stutter. */
void worker_pace_set(struct worker *worker, double bytes_per_sec);
/* Counts the connection among those who want bytes, or no more; called whenever that may have
 * changed. */
void worker_pace_note(struct worker *worker, struct conn *conn);
/* The connection ends. */
void worker_pace_leave(struct worker *worker, struct conn *conn);
/* For the first byte of a connection, as session_stagger takes it. */
uint32_t worker_next_phase(struct worker *worker);
void worker_pace_figures(const struct worker *worker, struct worker_figures *out);

/* --- worker_talk.c --- */

/* Asks the keeper about the host, or tells it that a white one is here. */
void worker_request_host(struct worker *worker, uint32_t slot, struct conn *conn);
void worker_take_answers(struct worker *worker);
/* Answers waiting input as far as the keeper's mailbox allows. */
void worker_run(struct worker *worker, uint32_t slot, struct conn *conn);
/* The cache's word on a host: CACHE_GREY stands for "not known, ask". */
enum cache_kind worker_look_up_host(const struct worker *worker, const struct addr *peer);
void worker_log_connected(struct worker *worker, struct conn *conn);
void worker_log_disconnected(struct worker *worker, struct conn *conn);

/* --- worker_settings.c --- */

/* First of all in a turn: what was there over the sleep may be gone. */
void worker_take_settings(struct worker *worker);

/* --- worker_listed.c --- */

bool worker_is_on_list(const struct worker *worker, const struct addr *peer);
/* Whether a RCPT to this address traps its sender. */
bool worker_is_trap(const struct worker *worker, struct span recipient);
/* Gives a listed client's final reply its text. */
void worker_say_listed(struct worker *worker, struct conn *conn);
/* The lists that hold the client, for the log: a blank before each tag; "" when there are none. */
const char *worker_list_tags(const struct worker *worker, const struct conn *conn,
                             char out[static TAGS_BYTES_MAX + sizeof " ..."]);

/* --- worker_held.c --- */

/* Once a turn, after everything else: goes on with what was asked. */
void worker_held_turn(struct worker *worker);
