/* Texts that change while replies are being said. A reply once begun is finished as it began, also
 * the end of the one before it that the socket gives back; so old texts stay until no session can
 * need them. */
#include <string.h>

#include "smtp/session_impl.h"

/* A list's messages are kept by the session itself. */
static unsigned texts_of(uint8_t said)
{
	enum reply_id id = said_id(said);
	return id == REPLY_NONE || id == REPLY_LISTED ? 0 : 1U << (said >> TEXTS_SHIFT);
}

unsigned session_texts_in_use(const struct session *session)
{
	return texts_of(session->reply) | texts_of(session->last_reply);
}

static bool is_same(const struct reply_set *a, const struct reply_set *b)
{
	return memcmp(a->len, b->len, sizeof a->len) == 0 &&
	       memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool session_conf_has_texts(struct session_conf *conf, const struct reply_set *texts)
{
	for (unsigned i = 0; i < SESSION_TEXTS_MAX; i++) {
		if (is_same(&conf->replies[i], texts)) {
			conf->texts_now = i;
			return true;
		}
	}
	return false;
}

bool session_conf_set_texts(struct session_conf *conf, const struct reply_set *texts,
                            unsigned in_use)
{
	for (unsigned i = 0; i < SESSION_TEXTS_MAX; i++) {
		if (i != conf->texts_now && !(in_use & 1U << i)) {
			conf->replies[i] = *texts;
			conf->texts_now = i;
			return true;
		}
	}
	return false;
}
