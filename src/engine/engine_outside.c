/* What comes from outside the dialogue: changes for the keeper, jobs for the lister, questions to
 * the workers, and the results, which wake the caller through one eventfd. The caller's one thread.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/engine_impl.h"

int engine_change(struct engine *engine, const struct change *change, uint64_t cookie)
{
	if (engine->n_in_flight >= KEEPER_IN_FLIGHT_MAX ||
	    !keeper_post_change(engine_caller_port(engine), change, cookie)) {
		return -EAGAIN;
	}
	engine->n_in_flight++;
	return 0;
}

void engine_flush_changes(struct engine *engine)
{
	keeper_wake(engine->keeper);
}

int engine_list(struct engine *engine, enum lister_job_kind kind, char *text, size_t len,
                uint64_t cookie)
{
	return lister_submit(engine->lister, kind, text, len, cookie);
}

int engine_results_fd(const struct engine *engine)
{
	return engine->results;
}

static bool next_change(struct engine *engine, struct engine_result *out)
{
	struct mailbox *answers = engine_caller_port(engine)->answers;
	size_t len = 0;
	const struct keeper_answer *answer = mailbox_peek(answers, &len);
	if (!answer) {
		return false;
	}
	*out = (struct engine_result){.cookie = answer->cookie, .ret = answer->ret};
	mailbox_release(answers);
	engine->n_in_flight--;
	return true;
}

static bool next_list(struct engine *engine, struct engine_result *out)
{
	struct lister_result list;
	if (!lister_next_result(engine->lister, &list)) {
		return false;
	}
	*out = (struct engine_result){
	        .cookie = list.cookie, .is_list = true, .ret = list.ret, .list = list};
	return true;
}

static bool next_any(struct engine *engine, struct engine_result *out)
{
	return next_change(engine, out) || next_list(engine, out);
}

/* The mark goes before the last look: a result that comes later makes a new one. */
bool engine_next_result(struct engine *engine, struct engine_result *out)
{
	if (next_any(engine, out)) {
		return true;
	}
	uint64_t n = 0;
	(void)!read(engine->results, &n, sizeof n); /* only empties it */
	return next_any(engine, out);
}

void engine_describe_lists(struct engine *engine, lister_describe_one *one, void *ctx)
{
	lister_describe(engine->lister, one, ctx);
}

int engine_ask_held(struct engine *engine, const struct held_query *query)
{
	if (engine->is_held_asked) {
		return -EAGAIN;
	}
	engine->is_held_asked = true;
	for (uint32_t i = 0; i < engine->capacity.workers; i++) {
		worker_ask_held(engine->workers[i], query);
	}
	return 0;
}

bool engine_take_held(struct engine *engine, struct held *out)
{
	if (!engine->is_held_asked) {
		return false;
	}
	for (uint32_t i = 0; i < engine->capacity.workers; i++) {
		if (!worker_held(engine->workers[i])) {
			return false;
		}
	}
	engine->is_held_asked = false;
	held_begin(out, &worker_held(engine->workers[0])->query, 0);
	for (uint32_t i = 0; i < engine->capacity.workers; i++) {
		held_merge(out, worker_held(engine->workers[i]));
	}
	return true;
}
