/* What the files of a session share; nobody else includes it.
 *
 *   session.c        what is said and looked for when, and how it ends
 *   session_pace.c   how long a byte takes, and when the next look is
 *   session_texts.c  texts that change while replies are being said */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "smtp/session.h"

enum session_flag {
	FLAG_EOF = 1 << 0,     /* the client sends no more */
	FLAG_DEAD = 1 << 1,    /* the connection is gone */
	FLAG_BLOCKED = 1 << 2, /* the socket did not take the last write; since = when it began */
	FLAG_UNSTUTTERED = 1 << 3, /* grey-stutter is over, or the owner has ended it */
	FLAG_HAS_LINE = 1 << 4,    /* the text has a complete line */
	FLAG_STORE_WAIT = 1 << 5,  /* the last byte waits for the store; since = when it began */
	FLAG_UNSTORED = 1 << 6,    /* it has waited long enough */
	FLAG_RETRIED = 1 << 7,     /* a blocked write was tried again; good unless taken back */
};

static inline bool has_flag(const struct session *session, enum session_flag flag)
{
	return session->flags & flag;
}

static inline void set_flag(struct session *session, enum session_flag flag, bool value)
{
	session->flags =
	        (uint8_t)(value ? session->flags | flag : session->flags & ~(unsigned)flag);
}

static inline size_t unsent_bytes(const struct session *session)
{
	return (size_t)session->owed_bytes + session->out_len - session->out_pos;
}

static inline bool is_over(struct mono_ms now, struct mono_ms since, uint32_t wait_ms)
{
	return mono_ms_diff(now, since) >= (int64_t)wait_ms;
}

static inline struct mono_ms earlier(struct mono_ms a, struct mono_ms b)
{
	return mono_ms_diff(a, b) < 0 ? a : b;
}

static inline struct mono_ms later(struct mono_ms a, struct mono_ms b)
{
	return mono_ms_diff(a, b) > 0 ? a : b;
}

/* How session.reply is made up. */
enum { TEXTS_SHIFT = 4, REPLY_ID_MASK = (1 << TEXTS_SHIFT) - 1 };
static_assert((int)REPLY_COUNT <= REPLY_ID_MASK + 1 &&
                      (int)SESSION_TEXTS_MAX <= UINT8_MAX >> TEXTS_SHIFT,
              "a reply and its texts fit into a byte");

static inline uint8_t said_make(enum reply_id id, unsigned texts)
{
	return (uint8_t)(texts << TEXTS_SHIFT | (unsigned)id);
}

static inline enum reply_id said_id(uint8_t said)
{
	return (enum reply_id)(said & REPLY_ID_MASK);
}

static inline struct span said_text(const struct session_conf *conf, uint8_t said)
{
	return reply_text(&conf->replies[said >> TEXTS_SHIFT], said_id(said));
}

/* Ends the stutter of a grey client for good; kept as a flag because differences of mono_ms mean
 * nothing after 24 days. */
void pace_end_after(struct session *session, const struct session_conf *conf, struct mono_ms at);
/* Milliseconds a byte; 0: the whole reply at once. */
uint32_t pace_stutter_ms(const struct session *session, const struct session_conf *conf);
/* A stretched stutter ends no later than an unstretched one would. */
struct mono_ms pace_bound(const struct session *session, const struct session_conf *conf,
                          struct mono_ms due);
/* Due of the banner's first byte; uses up the stagger. */
struct mono_ms pace_first_byte(struct session *session, const struct session_conf *conf);
/* Due of the byte after the one that is sent now: nominal, as long as the owner is punctual. */
struct mono_ms pace_next_byte(const struct session *session, const struct session_conf *conf,
                              struct mono_ms now);
/* Whether the byte that was due at session->due, before one that is at `next`, carries a look. */
bool pace_is_look_due(const struct session *session, uint32_t stutter, struct mono_ms next);
void pace_reset_looks(struct session *session, const struct session_conf *conf);
/* Part of a line is there: its rest may follow soon, but who pushes one without end must not set
 * the pace. */
void pace_look_for_rest(struct session *session, const struct session_conf *conf);
/* Time of the next look, or of the next try of a blocked write; the one after it is twice as far.
 */
struct mono_ms pace_next_look(struct session *session, const struct session_conf *conf,
                              struct mono_ms now);
