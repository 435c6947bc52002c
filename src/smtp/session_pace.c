/* How long a byte of a conversation takes, and how rarely input is looked for; see session_impl.h.
 * A byte costs no more than a few loads here: what the owner decides about scarce bytes it writes
 * into the settings. */
#include "smtp/dialogue.h"
#include "smtp/session_impl.h"

enum {
	/* A write that is later than this part of the stutter as configured starts the pace anew
	 * instead of making the next gap short. A stretched stutter is no excuse for more: what is
	 * late then is late because the machine is full. What became late in a pause of the machine
	 * is shifted by its length: if all of it began anew at the same time, those bytes would lie
	 * together for as long as their connections are held. */
	LATE_PART = 10,
	/* While a reply is stuttered, input is looked for once in so many bytes, and ms: a look
	 * costs up to half a byte, and what it finds is answered after the reply anyway. Who is
	 * gone needs no look: his machine resets the connection at the next byte. */
	LOOK_BYTES = 8,
	LOOK_PERIOD_MIN_MS = 4000,
	REST_LOOKS = 10, /* least distance of looks for the rest of a line, in the shortest one's */
};

void session_stagger(struct session *session, uint32_t part)
{
	if (session->state == DIALOGUE_HELD) {
		session->stagger = part;
	}
}

void pace_end_after(struct session *session, const struct session_conf *conf, struct mono_ms at)
{
	const struct dialogue_class_row *row = &dialogue_classes[session->cls];
	if (row->stutter_ends &&
	    mono_ms_diff(at, session->opened) > (int64_t)conf->grey_stutter_ms) {
		set_flag(session, FLAG_UNSTUTTERED, true);
	}
}

static enum session_pace kind_of(const struct dialogue_class_row *row)
{
	return row->stutter_ends ? SESSION_PACE_GREY : SESSION_PACE_LISTED;
}

uint32_t pace_stutter_ms(const struct session *session, const struct session_conf *conf)
{
	const struct dialogue_class_row *row = &dialogue_classes[session->cls];
	bool is_never = row->stutter_ends && conf->grey_stutter_ms == 0;
	bool is_over_now = is_never || has_flag(session, FLAG_UNSTUTTERED);
	return row->is_stuttered && !is_over_now ? conf->stutter_ms + conf->stretch_ms[kind_of(row)]
	                                         : 0;
}

struct mono_ms pace_bound(const struct session *session, const struct session_conf *conf,
                          struct mono_ms due)
{
	uint32_t whole_ms = conf->grey_stutter_ms + conf->stutter_ms;
	bool is_bound =
	        dialogue_classes[session->cls].stutter_ends && !has_flag(session, FLAG_UNSTUTTERED);
	return is_bound ? earlier(due, mono_ms_add(session->opened, whole_ms)) : due;
}

struct mono_ms pace_first_byte(struct session *session, const struct session_conf *conf)
{
	uint32_t stutter = pace_stutter_ms(session, conf);
	uint32_t early_ms = (uint32_t)((uint64_t)stutter * session->stagger >> 32);
	session->sent_bytes = 0; /* it shares its place with stagger */
	return pace_bound(session, conf, mono_ms_add(session->opened, stutter - early_ms));
}

struct mono_ms pace_next_byte(const struct session *session, const struct session_conf *conf,
                              struct mono_ms now)
{
	bool is_late = mono_ms_diff(now, session->due) > (int64_t)(conf->stutter_ms / LATE_PART);
	struct mono_ms shifted = mono_ms_add(session->due, conf->lag_ms);
	struct mono_ms from = is_late ? later(now, shifted) : session->due;
	return pace_bound(session, conf, mono_ms_add(from, pace_stutter_ms(session, conf)));
}

/* The periods of connections begin at different times, so that the looks spread over the ticks. */
bool pace_is_look_due(const struct session *session, uint32_t stutter, struct mono_ms next)
{
	uint32_t bytes_ms = LOOK_BYTES * stutter;
	uint32_t period_ms = bytes_ms > LOOK_PERIOD_MIN_MS ? bytes_ms : LOOK_PERIOD_MIN_MS;
	uint32_t spread = session->opened.ms * UINT32_C(2654435761);
	uint32_t shift_ms = (uint32_t)((uint64_t)spread * period_ms >> 32);
	return (session->due.ms + shift_ms) / period_ms != (next.ms + shift_ms) / period_ms;
}

/* So many shortest distances, in the range of look_ms; a look always lies ahead. */
static uint16_t look_distance(const struct session_conf *conf, uint32_t n)
{
	uint64_t ms = (uint64_t)n * conf->look_min_ms;
	ms = ms < UINT16_MAX ? ms : UINT16_MAX;
	return (uint16_t)(ms > 0 ? ms : 1);
}

void pace_reset_looks(struct session *session, const struct session_conf *conf)
{
	session->look_ms = look_distance(conf, 1);
}

void pace_look_for_rest(struct session *session, const struct session_conf *conf)
{
	uint16_t rest_ms = look_distance(conf, REST_LOOKS);
	if (session->look_ms > rest_ms) {
		session->look_ms = rest_ms;
	}
}

struct mono_ms pace_next_look(struct session *session, const struct session_conf *conf,
                              struct mono_ms now)
{
	struct mono_ms at = mono_ms_add(now, session->look_ms);
	uint32_t bound = conf->look_max_ms < UINT16_MAX ? conf->look_max_ms : UINT16_MAX;
	uint32_t doubled = 2 * (uint32_t)session->look_ms;
	if (doubled <= bound) {
		session->look_ms = (uint16_t)doubled;
	} else if (session->look_ms < bound) {
		session->look_ms = (uint16_t)bound;
	}
	return at;
}

enum session_pace session_pace(const struct session *session, const struct session_conf *conf)
{
	bool is_saying = unsent_bytes(session) > 0 && session->state != DIALOGUE_CLOSING &&
	                 session->state != DIALOGUE_CLOSED && !has_flag(session, FLAG_STORE_WAIT);
	return is_saying && pace_stutter_ms(session, conf) > 0
	               ? kind_of(&dialogue_classes[session->cls])
	               : SESSION_PACE_NONE;
}
