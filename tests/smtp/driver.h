/* Drives one session in virtual time, as the engine would: a client with an outbox, a socket that
 * may refuse, a store that answers at once or when told. For tests and the fuzz target. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/span.h"
#include "smtp/dialogue.h"
#include "smtp/session.h"
#include "smtp/text.h"

enum {
	DRIVER_RECEIVED_MAX = 1 << 16,
	DRIVER_OUTBOX_MAX = 1 << 15,
	DRIVER_TUPLES_MAX = 512,
	DRIVER_EVENTS_MAX = 64,
	DRIVER_TEXT_MAX = 3 * 1024 + 128,
};

struct driver_event {
	enum session_event_kind kind;
	char text[DRIVER_TEXT_MAX]; /* "helo|sender|recipient", or the line */
};

struct driver {
	struct session_conf conf;
	struct session session;
	struct session_text *text; /* NULL until there is input */
	struct mono_ms now;
	struct mono_ms opened;
	/* what the client has received, and when each byte came */
	uint8_t received[DRIVER_RECEIVED_MAX];
	uint32_t received_ms[DRIVER_RECEIVED_MAX];
	size_t n_received;
	/* what it has sent and the session has not read */
	uint8_t outbox[DRIVER_OUTBOX_MAX];
	size_t n_outbox;
	bool is_eof;       /* it has shut its write side */
	bool is_blocked;   /* it takes no bytes */
	bool is_late_news; /* a blocked write is reported as sent first and taken back after */
	bool auto_store;   /* tuples are stored as soon as they are handed over */
	uint32_t late_ms;  /* the owner wakes the session so much after its due */
	/* what a listed client is told; without any messages the owner does not say it */
	struct reply_lists lists;
	struct driver_event events[DRIVER_EVENTS_MAX];
	unsigned n_events; /* all but NONE, the last DRIVER_EVENTS_MAX are kept */
	unsigned n_tuples;
	unsigned n_commands;
	unsigned n_bad;
	unsigned n_long;
	unsigned n_unstored;
	unsigned n_sends;
	unsigned n_wakes;
	bool is_shut;
	bool is_closed;
	enum session_end why;
	void (*check)(const struct session_event *event); /* sees each event; may be NULL */
};

/* Defaults of the daemon with the conf's names filled in. */
static inline void driver_conf(struct session_conf *conf)
{
	memset(conf, 0, sizeof *conf);
	int ret = reply_set_init(&conf->replies[0], "%h ESMTP %n", "mail.example.org", "Mailer");
	ASSERT(ret == 0);
	conf->stutter_ms = 1000;
	conf->grey_stutter_ms = 10000;
	conf->read_timeout_ms = 400000;
	conf->write_timeout_ms = 400000;
	conf->store_wait_ms = 10000;
	conf->close_wait_ms = 5000;
	conf->close_discard_bytes = 65536;
	conf->look_min_ms = 50;
	conf->look_max_ms = 4000;
	conf->bad_commands_max = 20;
}

static inline void driver_text(struct driver *driver, size_t size)
{
	struct session_text *text = aligned_alloc(8, size);
	ASSERT(text);
	session_text_init(text, size);
	if (driver->text) {
		session_text_move(&driver->session, text, driver->text);
		free(driver->text);
	}
	driver->text = text;
}

static inline void driver_start(struct driver *driver, enum session_class cls, struct mono_ms now)
{
	driver->now = now;
	driver->opened = now;
	driver->auto_store = true;
	session_start(&driver->session, &driver->conf, cls, now);
}

static inline void driver_stop(struct driver *driver)
{
	free(driver->text);
	driver->text = NULL;
}

/* Zeroes everything but the big buffers, whose counts say what is in them. */
static inline void driver_reset(struct driver *driver)
{
	driver->n_received = driver->n_outbox = 0;
	driver->text = NULL;
	memset(&driver->is_eof, 0,
	       offsetof(struct driver, events) - offsetof(struct driver, is_eof));
	memset(&driver->n_events, 0, sizeof *driver - offsetof(struct driver, n_events));
}

static inline size_t driver_add(char *out, size_t at, struct span s)
{
	if (s.len) {
		memcpy(out + at, s.ptr, s.len);
	}
	return at + s.len;
}

static inline void driver_note(struct driver *driver, const struct session_event *event)
{
	if (driver->check) {
		driver->check(event);
	}
	driver->n_commands += event->is_command;
	driver->n_bad += event->is_bad;
	driver->n_tuples += event->kind == SESSION_EVENT_TUPLE;
	if (event->kind == SESSION_EVENT_NONE) {
		return;
	}
	struct driver_event *note = &driver->events[driver->n_events++ % DRIVER_EVENTS_MAX];
	note->kind = event->kind;
	size_t at = 0;
	if (event->kind == SESSION_EVENT_HEADER || event->kind == SESSION_EVENT_BODY) {
		at = driver_add(note->text, at, event->line);
	} else if (event->kind != SESSION_EVENT_DEFERRED) {
		at = driver_add(note->text, at, event->helo);
		note->text[at++] = '|';
		at = driver_add(note->text, at, event->sender);
		note->text[at++] = '|';
		at = driver_add(note->text, at, event->recipient);
	}
	note->text[at] = '\0';
}

/* The final reply of a listed client, as the engine makes it. */
static inline void driver_say_listed(struct driver *driver)
{
	if (driver->session.cls == SESSION_LISTED && driver->lists.n > 0 &&
	    !session_say_listed(&driver->session, driver->text, &driver->lists) &&
	    !text_is_large(driver->text)) {
		driver_text(driver, SESSION_TEXT_LARGE);
		(void)session_say_listed(&driver->session, driver->text, &driver->lists);
	}
}

static inline void driver_answer(struct driver *driver)
{
	struct session_event event;
	while (session_run(&driver->session, &driver->conf, driver->text, driver->now, &event)) {
		driver_note(driver, &event);
		if (event.kind == SESSION_EVENT_DEFERRED) {
			driver_say_listed(driver);
		}
		if (event.kind == SESSION_EVENT_TUPLE) {
			session_pending(&driver->session);
			if (driver->auto_store) {
				session_stored(&driver->session, driver->now);
			}
		}
	}
}

/* One read of the socket, as the engine does it. */
static inline void driver_read(struct driver *driver)
{
	size_t room = session_room(&driver->session, driver->text);
	size_t n = driver->n_outbox < room ? driver->n_outbox : room;
	if (n == 0) {
		if (driver->is_eof && driver->n_outbox == 0 && room > 0) {
			session_eof(&driver->session);
		}
		return;
	}
	if (!driver->text) {
		driver_text(driver, SESSION_TEXT_SMALL);
	}
	size_t taken = 0;
	while (taken < n) {
		bool is_long = false;
		taken += session_input(&driver->session, &driver->conf, driver->text,
		                       span_of(driver->outbox + taken, n - taken), &is_long,
		                       driver->now);
		driver->n_long += is_long;
		if (taken < n) {
			ASSERT(!text_is_large(driver->text));
			driver_text(driver, SESSION_TEXT_LARGE);
		}
	}
	memmove(driver->outbox, driver->outbox + n, driver->n_outbox - n);
	driver->n_outbox -= n;
	driver_answer(driver);
}

static inline void driver_send(struct driver *driver, struct span bytes)
{
	ASSERT(bytes.len > 0);
	driver->n_sends++;
	if (driver->is_blocked && driver->is_late_news) {
		session_sent(&driver->session, &driver->conf, bytes.len, driver->now);
		driver_answer(driver);
		session_unsent(&driver->session, &driver->conf, bytes.len, driver->now);
		return;
	}
	if (driver->is_blocked) {
		session_sent(&driver->session, &driver->conf, 0, driver->now);
		return;
	}
	for (size_t i = 0; i < bytes.len && driver->n_received < DRIVER_RECEIVED_MAX; i++) {
		driver->received[driver->n_received] = bytes.ptr[i];
		driver->received_ms[driver->n_received++] = driver->now.ms - driver->opened.ms;
	}
	session_sent(&driver->session, &driver->conf, bytes.len, driver->now);
	driver_answer(driver);
}

/* Wakes the session at its due time (or now, if that is past). */
static inline void driver_wake(struct driver *driver)
{
	if (mono_ms_diff(driver->session.due, driver->now) > 0) {
		driver->now = driver->session.due;
	}
	driver->now = mono_ms_add(driver->now, driver->late_ms);
	driver->n_wakes++;
	struct session_step step = session_wake(&driver->session, &driver->conf, driver->now);
	driver->n_unstored += step.is_unstored;
	if (step.kind == SESSION_STEP_SEND) {
		driver_send(driver, step.bytes);
	}
	if (step.kind == SESSION_STEP_SHUTDOWN) {
		driver->is_shut = true;
	}
	if (step.kind == SESSION_STEP_CLOSE) {
		driver->is_closed = true;
		driver->why = step.why;
		return;
	}
	if (step.read) {
		driver_read(driver);
	}
}

/* Milliseconds since accept. */
static inline uint32_t driver_age_ms(const struct driver *driver)
{
	return driver->now.ms - driver->opened.ms;
}

/* Lets virtual time pass until `until`, or the end of the connection. */
static inline void driver_run_until(struct driver *driver, struct mono_ms until)
{
	while (!driver->is_closed && mono_ms_diff(driver->session.due, until) <= 0) {
		driver_wake(driver);
	}
	if (!driver->is_closed && mono_ms_diff(until, driver->now) > 0) {
		driver->now = until;
	}
}

static inline void driver_wait(struct driver *driver, uint32_t ms)
{
	driver_run_until(driver, mono_ms_add(driver->now, ms));
}

/* False: the outbox is full. */
static inline bool driver_put(struct driver *driver, struct span bytes)
{
	if (bytes.len > DRIVER_OUTBOX_MAX - driver->n_outbox) {
		return false;
	}
	if (bytes.len) {
		memcpy(driver->outbox + driver->n_outbox, bytes.ptr, bytes.len);
	}
	driver->n_outbox += bytes.len;
	return true;
}

static inline void driver_type(struct driver *driver, const char *text)
{
	bool fits = driver_put(driver, span_of_str(text));
	ASSERT(fits);
}

static inline void driver_store_all(struct driver *driver)
{
	while (driver->session.n_pending > 0) {
		session_stored(&driver->session, driver->now);
	}
	driver_answer(driver);
}
