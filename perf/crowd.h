/* A crowd of TCP clients for the benchmarks: many processes, each below the file limit, with as
 * little work and memory for a client as can be, because they share the machine with the server
 * they measure. Every process has a place for its figures in shared memory; the first one adds them
 * up and says when which phase begins. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "support/args.h"

enum {
	CROWD_PROCESSES_MAX = 256,
	CROWD_GAP_STEP_MS = 20,   /* of the histogram */
	CROWD_GAP_BUCKETS = 3000, /* a minute; the last one holds what is longer */
};

enum crowd_phase { CROWD_OPENING, CROWD_HOLDING, CROWD_ENDING };

struct crowd_options {
	struct args_place server;
	struct args_place source; /* the first of the clients' addresses; its port is not used */
	uint64_t n_sources;
	uint64_t n_hold;  /* connections in all */
	uint64_t n_visit; /* connections of one process at a time, opened and reset */
	uint64_t n_processes;
	uint64_t rate;         /* new connections a second in all, at most */
	uint64_t opening_secs; /* hold: what is not open then stays away */
	uint64_t seconds;      /* of holding, or of visits */
	uint64_t look_secs;    /* hold: each connection is read this often */
	uint64_t n_sample;     /* hold: connections of one process whose gaps are measured */
	uint64_t report_secs;
};

/* Written by one process, read by the first. */
struct crowd_figures {
	_Alignas(64) _Atomic uint64_t n_open;
	_Atomic uint64_t n_opened;
	_Atomic uint64_t n_failed; /* could not connect, or was not greeted */
	_Atomic uint64_t n_lost;   /* was open and ended */
	_Atomic uint64_t n_bytes;
	_Atomic uint64_t cpu_ns;
	_Atomic uint32_t gaps[CROWD_GAP_BUCKETS];
};

struct crowd_shared {
	_Atomic uint32_t phase; /* enum crowd_phase; the first process writes */
	struct crowd_figures figures[CROWD_PROCESSES_MAX];
};

/* One process of the crowd. */
struct crowd_member {
	const struct crowd_options *options;
	struct crowd_shared *shared;
	struct crowd_figures *figures;
	uint32_t idx;
	struct mono start;
};

enum crowd_phase crowd_phase(const struct crowd_member *member);
/* A connected socket from the n-th address of the crowd, whose close is a reset; -errno. Waits for
 * the connection, which on one machine is there when connect(2) returns unless the server is slow:
 * that is the only limit on what is under way. */
int crowd_connect(const struct crowd_member *member, uint64_t n);
void crowd_add(_Atomic uint64_t *figure, uint64_t n);
/* Says how much processor time this process took so far. */
void crowd_note_cpu(const struct crowd_member *member);

/* Opens its share of n_hold and keeps it to the end of CROWD_HOLDING. */
void crowd_hold(const struct crowd_member *member);
/* Comes, reads the greeting and resets, over and over, to the end of CROWD_HOLDING. */
void crowd_visit(const struct crowd_member *member);
