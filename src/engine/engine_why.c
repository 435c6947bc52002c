/* The one who is asked: gathers what workers and keeper would look at, and asks the rules. Holds
 * nothing of the store longer than a slice of a walk. The caller's thread, and the figures' reader
 * under its lock. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/qsbr.h"
#include "engine/arrival.h"
#include "engine/engine_impl.h"
#include "engine/why.h"
#include "policy/guarded.h"
#include "policy/hosts.h"
#include "policy/trap.h"

enum { CODE_450 = 450, CODE_550 = 550 };

struct work {
	struct engine *engine;
	const struct why_query *query;
	const struct why_sink *sink;
	struct why *out;
	struct greylist_conf rules;
	struct guarded_now now;
	struct greylist_known host; /* without a tuple */
	uint8_t sender_buf[TRAP_ADDRESS_MAX];
	uint8_t recipient_buf[TRAP_ADDRESS_MAX];
	struct span sender; /* normalised */
	struct span recipient;
	struct tuple_key told[2 * WHY_TUPLES_MAX];
	uint32_t n_told;
	uint32_t n_others; /* of them: not asked for */
	struct event events[WHY_EVENTS_MAX];
	unsigned n_events;
};

/* --- the host --------------------------------------------------------------------------------- */

static const struct grey_record *live(const struct work *work, const struct grey_record *record)
{
	return grey_record_is_live(record, work->now.life) ? record : NULL;
}

static int read_host(struct work *work)
{
	struct why *out = work->out;
	struct store_reader *reader = work->engine->figures_reader;
	int n_white = store_reader_host(reader, &out->group, RECORD_WHITE, &out->white);
	int n_trapped =
	        store_reader_host(reader, &work->query->addr, RECORD_TRAPPED, &out->trapped);
	if (n_white < 0 || n_trapped < 0) {
		return n_white < 0 ? n_white : n_trapped;
	}
	out->has_white = n_white > 0;
	out->has_trapped = n_trapped > 0;
	const struct hosts_known known = {out->has_white ? &out->white : NULL,
	                                  out->has_trapped ? &out->trapped : NULL};
	enum hosts_kind kind = hosts_kind_of(&known, work->now.life);
	out->is_white = kind == HOSTS_WHITE;
	out->is_trapped = kind == HOSTS_TRAPPED;
	work->host = (struct greylist_known){.white = live(work, known.white),
	                                     .trapped = live(work, known.trapped)};
	return 0;
}

/* --- lists, domains, spamtraps ---------------------------------------------------------------- */

static void render_reply(struct work *work, const struct list_table *table)
{
	const struct conf *conf = work->engine->conf;
	struct why *out = work->out;
	struct span messages[ARRIVAL_MESSAGES_MAX];
	const char *trap_text = out->is_trapped ? conf->trap_text : NULL;
	struct reply_lists lists = {
	        .messages = messages,
	        .n = arrival_messages(table, &work->query->addr, trap_text, messages),
	        .code = conf->listed_code == CONF_CODE_550 ? CODE_550 : CODE_450,
	        .addr = &work->query->addr,
	};
	out->reply_len = reply_render_lists(&lists, out->reply, sizeof out->reply, NULL);
}

static enum cache_kind cache_kind_of(const struct why *out)
{
	if (out->is_trapped) {
		return CACHE_TRAPPED;
	}
	return out->is_white ? CACHE_WHITE : CACHE_NONE;
}

/* A registered reader. */
static void look_at_knowledge(struct work *work)
{
	struct why *out = work->out;
	const struct knowledge *knowledge = &work->engine->knowledge;
	const struct list_table *table = knowledge_lists(knowledge);
	lists_mask mask = list_table_find(table, &work->query->addr);
	bool is_blacklist_only = work->engine->conf->blacklist_only;
	out->cls = arrival_class(is_blacklist_only, mask != 0, cache_kind_of(out));
	for (lists_mask left = mask; left; left &= left - 1) {
		work->sink->list(work->sink->ctx,
		                 list_table_tag(table, (size_t)__builtin_ctzll(left)));
	}
	if (out->cls == SESSION_LISTED) {
		render_reply(work, table);
	}
	if (work->query->has_mail) {
		out->is_spamtrap = trapset_has(knowledge->traps, work->recipient);
		out->is_foreign_domain =
		        !domains_allow(knowledge_domains(knowledge), work->recipient);
	}
}

/* --- tuples ----------------------------------------------------------------------------------- */

/* The cache may be ahead with the count. */
static void count_as_cached(const struct work *work, const struct tuple_key *key,
                            struct grey_record *record)
{
	struct cache_key cache_key;
	struct cache_entry entry;
	static_assert(sizeof *key == sizeof cache_key,
	              "a tuple's key in the cache is its key on disk");
	memcpy(cache_key.bytes, key, sizeof cache_key.bytes);
	if (cache_get(work->engine->tuples, &cache_key, &entry) && entry.kind == CACHE_GREY &&
	    entry.bcount > record->bcount) {
		record->bcount = entry.bcount;
	}
}

static bool is_same(struct span stored, struct span asked)
{
	uint8_t buf[TRAP_ADDRESS_MAX];
	return span_equal(trap_address_normalise(stored, buf), asked);
}

static bool is_asked(const struct work *work, const struct tuple_text *text)
{
	return work->query->has_mail && is_same(text->sender, work->sender) &&
	       is_same(text->recipient, work->recipient);
}

/* The mail's fate is that of the tuple that passes first, else that of a new one. */
static void take_fate(struct work *work, const struct why_tuple *tuple)
{
	struct why *out = work->out;
	bool goes_on = tuple->verdict == VERDICT_EARLY || tuple->verdict == VERDICT_PROMOTE;
	bool is_first = out->verdict == VERDICT_NEW;
	if (goes_on && (is_first || tuple->passes_at.secs < out->passes_at.secs)) {
		out->verdict = tuple->verdict;
		out->passes_at = tuple->passes_at;
		out->passes_until = tuple->record.expire;
	}
}

/* One that gets its place during the walk comes twice (store/store_walk.c). */
static bool was_told(const struct work *work, const struct tuple_key *key)
{
	for (uint32_t i = 0; i < work->n_told; i++) {
		if (memcmp(&work->told[i], key, sizeof *key) == 0) {
			return true;
		}
	}
	return false;
}

static bool has_room(const struct work *work, bool is_asked)
{
	return (is_asked ? work->out->n_asked : work->n_others) < WHY_TUPLES_MAX;
}

static void tell_tuple(struct work *work, const struct store_row *row,
                       const struct why_tuple *tuple)
{
	work->told[work->n_told++] = row->key;
	work->n_others += !tuple->is_asked;
	work->sink->tuple(work->sink->ctx, tuple);
}

static void take_tuple(struct work *work, const struct store_row *row)
{
	struct grey_record after;
	struct grey_record host;
	struct greylist_known known = work->host;
	struct why_tuple tuple = {
	        .text = &row->text, .record = row->record, .is_asked = is_asked(work, &row->text)};
	bool is_told = has_room(work, tuple.is_asked);
	if (is_told && was_told(work, &row->key)) {
		return;
	}
	count_as_cached(work, &row->key, &tuple.record);
	known.tuple = &tuple.record;
	tuple.verdict = guarded_attempt(&work->rules, &work->now, &known, &after, &host);
	tuple.passes_at = greylist_passes_at(&work->rules, &tuple.record);
	if (is_told) {
		tell_tuple(work, row, &tuple);
	}
	work->out->n_tuples++;
	work->out->n_asked += tuple.is_asked;
	if (tuple.is_asked) {
		take_fate(work, &tuple);
	}
}

static void judge_new_mail(struct work *work)
{
	struct grey_record tuple = {.bcount = 0};
	struct grey_record host;
	struct why *out = work->out;
	out->verdict = guarded_attempt(&work->rules, &work->now, &work->host, &tuple, &host);
	if (out->verdict == VERDICT_NEW) {
		out->passes_at = greylist_passes_at(&work->rules, &tuple);
		out->passes_until = tuple.expire;
	}
}

static int walk_tuples(struct work *work)
{
	const struct store_row *rows = NULL;
	const struct addr *group = &work->out->group;
	struct store_walk *walk =
	        store_walk_new(work->engine->figures_reader, STORE_WALK_TUPLES, group, group);
	int n = walk ? store_walk_next(walk, &rows, NULL) : -ENOMEM;
	for (int slice = 1; n > 0 && slice <= WHY_SLICES_MAX; slice++) {
		for (int i = 0; i < n; i++) {
			take_tuple(work, &rows[i]);
		}
		n = store_walk_next(walk, &rows, NULL);
	}
	store_walk_free(walk);
	work->out->is_cut = n > 0;
	return n < 0 ? n : 0;
}

/* --- events ----------------------------------------------------------------------------------- */

/* Both newest first; of the same second, those that are there count as newer. */
static void merge_events(struct work *work, const struct event *more, unsigned n_more)
{
	struct event merged[WHY_EVENTS_MAX];
	unsigned n = 0;
	unsigned a = 0;
	unsigned b = 0;
	while (n < WHY_EVENTS_MAX && (a < work->n_events || b < n_more)) {
		bool takes_more = a == work->n_events ||
		                  (b < n_more && more[b].at.secs > work->events[a].at.secs);
		merged[n++] = takes_more ? more[b++] : work->events[a++];
	}
	memcpy(work->events, merged, n * sizeof *merged);
	work->n_events = n;
}

static void add_events(struct work *work, const struct events *ring)
{
	struct event found[WHY_EVENTS_MAX];
	unsigned n = events_find(ring, &work->query->addr, work->engine->conf->ipv6_prefix, found,
	                         WHY_EVENTS_MAX);
	merge_events(work, found, n);
}

/* In the order in which one thing brings about the next within a second, last one first. */
static void tell_events(struct work *work)
{
	add_events(work, work->engine->turns);
	add_events(work, work->engine->attempts);
	for (uint32_t i = 0; i < work->engine->capacity.workers; i++) {
		add_events(work, work->engine->connects[i]);
	}
	for (unsigned i = 0; i < work->n_events; i++) {
		work->sink->event(work->sink->ctx, &work->events[i]);
	}
}

/* --- all of it -------------------------------------------------------------------------------- */

static void begin(struct work *work)
{
	struct engine *engine = work->engine;
	const struct conf *conf = engine->conf;
	struct keeper_figures figures;
	keeper_figures_get(engine->keeper, &figures);
	work->rules = (struct greylist_conf){.passtime_secs = conf->passtime_secs,
	                                     .greyexp_secs = conf->greyexp_secs,
	                                     .whiteexp_secs = conf->whiteexp_secs};
	work->now.wall = clock_wall();
	work->now.life.secs = atomic_load_explicit(&engine->life_now_secs, memory_order_relaxed);
	work->sender = trap_address_normalise(work->query->sender, work->sender_buf);
	work->recipient = trap_address_normalise(work->query->recipient, work->recipient_buf);
	*work->out = (struct why){.now = work->now.wall,
	                          .is_clock_paused = figures.is_clock_paused,
	                          .group = addr_group(&work->query->addr, conf->ipv6_prefix)};
}

static int read_locked(struct work *work, int (*read)(struct work *work))
{
	(void)pthread_mutex_lock(&work->engine->figures_lock);
	int ret = read(work);
	(void)pthread_mutex_unlock(&work->engine->figures_lock);
	return ret;
}

int engine_why(struct engine *engine, const struct why_query *query, const struct why_sink *sink,
               struct why *out)
{
	struct work work = {.engine = engine, .query = query, .sink = sink, .out = out};
	begin(&work);
	int ret = read_locked(&work, read_host);
	if (ret != 0) {
		return ret;
	}
	qsbr_register();
	look_at_knowledge(&work);
	qsbr_unregister();
	judge_new_mail(&work);
	ret = read_locked(&work, walk_tuples);
	if (ret == 0) {
		tell_events(&work);
	}
	return ret;
}
