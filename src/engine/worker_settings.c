/* A reload as a worker sees it: other settings from one turn to the next. Connections that are held
 * go on under them; what is being said is said to its end as it began. */
#include "base/qsbr.h"
#include "engine/settings.h"
#include "engine/worker_impl.h"

enum { TEXTS_AGAIN_MS = 1000 };

/* Which texts open connections may still have to send from. Touches each of them; only when texts
 * have changed. */
static unsigned texts_in_use(const struct worker *worker)
{
	unsigned in_use = 0;
	for (uint32_t slot = 0; slot < worker->conns.size; slot++) {
		const struct conn *conn = conn_at(&worker->conns, slot);
		if (conn->phase == CONN_OPEN || conn->phase == CONN_CLOSING) {
			in_use |= session_texts_in_use(&conn->session);
		}
	}
	return in_use;
}

/* After many changes in a short time every place may be in use: the newest texts wait then. */
static void take_texts(struct worker *worker, const struct reply_set *texts)
{
	worker->owes_texts = !session_conf_has_texts(&worker->session, texts) &&
	                     !session_conf_set_texts(&worker->session, texts, texts_in_use(worker));
	worker->texts_at = mono_add_ms(worker->now, TEXTS_AGAIN_MS);
}

static void take_all(struct worker *worker, const struct settings *settings)
{
	worker->settings_generation = settings->live.generation;
	worker->env.max_connections = settings->max_connections;
	worker->env.max_listed = settings->max_listed;
	settings_of_sessions(&settings->live.conf, &worker->session);
	worker_pace_set(worker, settings->bytes_per_sec);
	take_texts(worker, &settings->texts);
}

/* The generation counts, not the address: what was published meanwhile may lie where an older one
 * did. */
void worker_take_settings(struct worker *worker)
{
	const struct settings *settings =
	        worker->env.settings ? qsbr_load(worker->env.settings) : NULL;
	if (!settings) {
		return;
	}
	worker->env.conf = &settings->live.conf;
	if (settings->live.generation != worker->settings_generation) {
		take_all(worker, settings);
	} else if (worker->owes_texts && worker->now.ns >= worker->texts_at.ns) {
		take_texts(worker, &settings->texts);
	}
}
