/* One SMTP conversation except its socket: what may be said when, at which pace, and when patience
 * ends. Pure: bytes and the clock go in; bytes, events and "wake me at" come out. The
 * conversation's rules are in dialogue.h (tables), the texts in reply.h; this is the part with time
 * in it.
 *
 * Life of a session, as its owner (engine/conn.c, or the virtual-time runner in tests) drives it:
 *
 *   session_start                     due set
 *   at due:   session_wake  ->  a step: SEND n bytes / LOOK (read only) / HOLD / SHUTDOWN / CLOSE
 *   after a SEND:  session_sent (or session_unsent when the socket took none), then session_run
 *   bytes read:    session_input, then session_run until it says no more
 *   tuple stored:  session_stored, then session_run
 *   then sleep until session->due
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "smtp/reply.h"

enum session_class {
	SESSION_UNKNOWN, /* host not looked up yet: says nothing until session_classify or
	                    store-wait */
	SESSION_GREY,    /* stutters for grey-stutter, every RCPT is a tuple, DATA is deferred */
	SESSION_WHITE,   /* a whitelisted host whose kernel entry was lost: no stutter, no tuple,
	                    deferred */
	SESSION_LISTED,  /* on a list or trapped: whole dialogue stuttered, DATA read, list messages
	                  */
	SESSION_PASSIVE, /* blacklist-only mode, not listed: as listed, but the deferral text */
};

enum {
	SESSION_READ_MAX = 512,   /* bytes the owner offers per input call */
	SESSION_LINE_MAX = 8191,  /* bytes after which a line counts as complete (spamd.md §3) */
	SESSION_LINE_KEEP = 2048, /* of which this many are kept; the rest is counted and dropped */
	SESSION_VALUE_MAX = 1023, /* HELO, sender, recipient; longer ones are cut */
	SESSION_TEXT_SMALL = 512, /* the two sizes of struct session_text, header included */
	SESSION_TEXT_LARGE = 8192,
	SESSION_PENDING_MAX = 200, /* tuples on their way to the store; further commands wait */
};

/* Who shares a pace: bytes can be made scarcer for one kind than for another. */
enum session_pace {
	SESSION_PACE_NONE, /* stutters nothing at present */
	SESSION_PACE_GREY, /* its stutter ends after grey-stutter */
	SESSION_PACE_LISTED,
	SESSION_PACE_COUNT
};

enum { SESSION_TEXTS_MAX = 8 };

/* Settings of all sessions of one owner, who may change them between two calls, the texts by
 * session_conf_set_texts only. */
struct session_conf {
	/* Rendered texts: the next reply is one of replies[texts_now], the others are of replies
	 * that were begun before a change. */
	struct reply_set replies[SESSION_TEXTS_MAX];
	unsigned texts_now;
	uint32_t stutter_ms;
	/* Added to stutter_ms while the owner has to be sparing with bytes; counts from each
	 * session's next byte on. Without a stutter it stays 0. */
	uint32_t stretch_ms[SESSION_PACE_COUNT];
	/* By how much the owner is late with everybody, because it or the machine paused: what
	 * became late in that time keeps its distances. */
	uint32_t lag_ms;
	uint32_t grey_stutter_ms;
	uint32_t read_timeout_ms;
	uint32_t write_timeout_ms;
	uint32_t store_wait_ms;
	uint32_t close_wait_ms;
	uint32_t close_discard_bytes;
	uint32_t look_min_ms; /* first look after a reply; doubles up to look_max_ms while nothing
	                         comes */
	uint32_t look_max_ms;
	uint8_t bad_commands_max;
};

/* In the connection's cache line. Fields belong to session.c and dialogue.c. */
struct session {
	const uint8_t *out; /* reply being sent; sent completely when out_pos == out_len */
	uint16_t out_len;
	uint16_t out_pos;
	uint16_t owed_bytes;   /* end of the reply before, taken back by session_unsent */
	uint16_t look_ms;      /* present distance between looks, or tries of a blocked write */
	struct mono_ms opened; /* accept */
	struct mono_ms due;    /* when the owner must call session_wake; the only field it reads */
	struct mono_ms since; /* start of the present wait (command, blocked write, store, close) */
	union {
		uint32_t stagger;         /* until the banner, see session_stagger */
		uint32_t sent_bytes;      /* from then on, see session_sent_bytes */
		uint32_t discarded_bytes; /* after the final reply */
	};
	uint8_t state; /* enum dialogue_state */
	uint8_t cls;   /* enum session_class */
	uint8_t bad_commands;
	uint8_t body_lines;
	uint8_t n_pending; /* tuples handed over and not yet stored */
	uint8_t flags;
	uint8_t reply;      /* what out is: enum reply_id, and which of the conf's texts */
	uint8_t last_reply; /* the one before, likewise */
};

/* Bulky part: partial and waiting input, HELO, sender, recipient; at last the list reply. Needed
 * from the first input byte until close. */
struct session_text;

/* Prepares size bytes (SESSION_TEXT_SMALL or _LARGE, aligned to 8) as an empty text. */
void session_text_init(struct session_text *text, size_t size);
/* Moves everything into a larger text (already session_text_init'ed); a running reply stays valid.
 */
void session_text_move(struct session *session, struct session_text *to,
                       const struct session_text *from);

enum session_step_kind {
	SESSION_STEP_SEND,     /* send `bytes`; look for input in the same breath if `read` */
	SESSION_STEP_LOOK,     /* only look for input */
	SESSION_STEP_HOLD,     /* nothing now */
	SESSION_STEP_SHUTDOWN, /* shut the write side down, then keep looking */
	SESSION_STEP_CLOSE,    /* the end; `why` says how */
};

enum session_end {
	SESSION_END_NONE,
	SESSION_END_DONE, /* final reply sent and drained */
	SESSION_END_READ_TIMEOUT,
	SESSION_END_WRITE_TIMEOUT,
	SESSION_END_PEER,    /* EOF or reset */
	SESSION_END_NO_TEXT, /* the owner had no memory for a text */
};

struct session_step {
	enum session_step_kind kind;
	enum session_end why;
	struct span bytes;
	bool read;
	bool is_unstored; /* a final reply goes out although its tuples are not stored (count it) */
};

enum session_event_kind {
	SESSION_EVENT_NONE,
	SESSION_EVENT_TUPLE,   /* helo, sender, recipient: hand over, then session_pending */
	SESSION_EVENT_NO_HELO, /* a RCPT that makes no tuple: HELO, sender or recipient is missing
	                          (count it) */
	SESSION_EVENT_RCPT,    /* listed, white or passive: for the log, and it may be a trap hit */
	SESSION_EVENT_HEADER,  /* body header worth logging: `line` */
	SESSION_EVENT_BODY,    /* body line: `line` */
	SESSION_EVENT_DEFERRED, /* the final reply was chosen (listed: now session_say_listed) */
};

struct session_event {
	enum session_event_kind kind;
	bool is_command; /* a command was answered */
	bool is_bad;     /* it was not recognised */
	struct span helo;
	struct span sender;
	struct span recipient;
	struct span line;
};

/* Of the conf's replies those that the session may still have to send from: bit n stands for
 * replies[n]. */
unsigned session_texts_in_use(const struct session *session);
/* The next reply of each session is said with these texts, if the conf still has them. */
bool session_conf_has_texts(struct session_conf *conf, const struct reply_set *texts);
/* Likewise, if it has not: they take a place that is not in use. False: there is none, and nothing
 * changed; later there may be. */
bool session_conf_set_texts(struct session_conf *conf, const struct reply_set *texts,
                            unsigned in_use);

void session_start(struct session *session, const struct session_conf *conf, enum session_class cls,
                   struct mono_ms now);
/* The first byte comes early by `part` (of 2^32) of a stutter, so that clients who came together
 * are not served in the same ticks for ever. Only while the class is SESSION_UNKNOWN. */
void session_stagger(struct session *session, uint32_t part);
/* Whose pace holds for the bytes that are left to say. */
enum session_pace session_pace(const struct session *session, const struct session_conf *conf);
/* The host is known now. Only while the class is SESSION_UNKNOWN; later calls change nothing. */
void session_classify(struct session *session, const struct session_conf *conf,
                      enum session_class cls, struct mono_ms now);
/* A SESSION_LISTED client tarpits no more (max-listed is reached): replies go at once from now on.
 */
void session_stop_stutter(struct session *session);
/* The host has just become a listed one (a trap hit): from the next reply on, and in the one not
 * yet begun, it is treated so; it stutters again if it did no more. Only while it is SESSION_GREY
 * or SESSION_WHITE; later calls change nothing. */
void session_list(struct session *session, const struct session_conf *conf, struct mono_ms now);
/* Makes the final reply of a SESSION_LISTED session: call on its SESSION_EVENT_DEFERRED, else the
 * deferral is said. The reply takes the place of everything in `text`, which is needed no more.
 * False: it was cut to fit into a SMALL text; a LARGE one and a second call make it whole. */
bool session_say_listed(struct session *session, struct session_text *text,
                        const struct reply_lists *lists);

/* At or after session->due. Sets the next due. */
struct session_step session_wake(struct session *session, const struct session_conf *conf,
                                 struct mono_ms now);
/* n bytes of the last SEND went out (or will, see session_unsent). At most one send of a session
 * may be without its result when session_wake is called. */
void session_sent(struct session *session, const struct session_conf *conf, size_t n,
                  struct mono_ms now);
/* The last n bytes reported sent did not go out after all (EAGAIN): they will be tried again, and
 * the write timeout runs. Also right when session_run was called in between. n = 0 is fine. */
void session_unsent(struct session *session, const struct session_conf *conf, size_t n,
                    struct mono_ms now);
/* Bytes said to the client so far; 0 before the banner and after the final reply. */
uint32_t session_sent_bytes(const struct session *session);
/* How many bytes session_input will take now: 0 while answered input is waiting and the text is
 * full, after the final reply only for discarding. text may be NULL. At most SESSION_READ_MAX. */
size_t session_room(const struct session *session, const struct session_text *text);
/* Whether the text holds anything that is still needed: input, values, a list reply. If not, the
 * owner may give it back, and bring a new one with the next input that is kept. */
bool session_needs_text(const struct session *session, const struct session_text *text);
/* Input is counted and forgotten from now on: session_input needs no text. */
bool session_discards(const struct session *session);
/* Bytes from the client. Takes what fits and returns how many; fewer than given only when a SMALL
 * text is full: move to a LARGE one and give the rest. *is_long_line (may be NULL) says a line
 * passed the bound. While discarding, text may be NULL. */
size_t session_input(struct session *session, const struct session_conf *conf,
                     struct session_text *text, struct span bytes, bool *is_long_line,
                     struct mono_ms now);
/* The client will send no more (EOF). What it sent before is still answered. */
void session_eof(struct session *session);
/* The connection is dead (reset, EPIPE): the next session_wake says CLOSE. */
void session_dead(struct session *session);
/* Answers the next complete line if one may be answered now. True: something happened, *event says
 * what (spans point into text, valid until the next call) and session->due may have become earlier.
 */
bool session_run(struct session *session, const struct session_conf *conf,
                 struct session_text *text, struct mono_ms now, struct session_event *event);
/* The next session_run may say SESSION_EVENT_TUPLE or _RCPT: let there be room for it first. The
 * session's class counts: one that waited for its host in vain is grey, whatever the owner has
 * learnt since. */
bool session_may_tell_rcpt(const struct session *session);
/* A line could be answered, but a tuple handed over is not stored yet, and that for less than
 * store-wait since the last reply. For an owner to whom the store's word matters before it answers;
 * the session itself keeps back nothing but the end of the final reply. */
bool session_may_await_store(const struct session *session, const struct session_conf *conf,
                             struct mono_ms now);
/* One tuple was handed over (after SESSION_EVENT_TUPLE); one tuple was stored (session->due may
 * have become earlier; then session_run, since a command may have waited for it). */
void session_pending(struct session *session);
void session_stored(struct session *session, struct mono_ms now);
