/* Looking through the worker's connections when somebody asks (held.h): a slice a turn, so that
 * nobody's byte waits for it. The question and the answer change hands by two numbers; between
 * `asked` and `done` everything here belongs to the worker, else to who asks. */
#include <unistd.h>

#include "engine/worker_impl.h"
#include "keeper/knowledge.h"

enum {
	/* Places of the table a turn: perf/bench_held.c says what they cost. A turn that is behind
	 * goes on, but slowly. */
	SLICE = 2048,
	SLICE_BEHIND = 256,
	SLICE_ADDR = 4, /* times as many where one address is looked for */
};

void worker_ask_held(struct worker *worker, const struct held_query *query)
{
	struct inquiry *inquiry = &worker->inquiry;
	uint32_t asked = atomic_load_explicit(&inquiry->asked, memory_order_relaxed);
	inquiry->query = *query;
	/* release: partner of the acquire in worker_held_turn */
	atomic_store_explicit(&inquiry->asked, asked + 1, memory_order_release);
}

const struct held *worker_held(const struct worker *worker)
{
	const struct inquiry *inquiry = &worker->inquiry;
	uint32_t asked = atomic_load_explicit(&inquiry->asked, memory_order_relaxed);
	/* acquire: partner of the release in end_walk */
	uint32_t done = atomic_load_explicit(&inquiry->done, memory_order_acquire);
	return asked == done ? &inquiry->held : NULL;
}

static void end_walk(struct worker *worker, uint32_t asked)
{
	uint64_t one = 1;
	worker->inquiry.is_walking = false;
	/* release: partner of the acquire in worker_held */
	atomic_store_explicit(&worker->inquiry.done, asked, memory_order_release);
	if (worker->env.held_fd > 0) {
		(void)!write(worker->env.held_fd, &one,
		             sizeof one); /* who asks looks again anyway */
	}
}

static uint32_t slice_of(const struct worker *worker)
{
	bool is_behind = worker->n_ready > 0 || worker->tick_done < worker->tick_now;
	uint32_t n = is_behind ? SLICE_BEHIND : SLICE;
	return worker->inquiry.query.has_addr ? n * SLICE_ADDR : n;
}

/* True: that was all. */
static bool walk_slice(struct worker *worker)
{
	struct inquiry *inquiry = &worker->inquiry;
	const struct knowledge *knowledge = worker->env.knowledge;
	uint32_t n_left = slice_of(worker);
	struct held_view view;
	held_view_init(&view, &inquiry->held, knowledge ? knowledge_lists(knowledge) : NULL,
	               worker->now_ms);
	for (; n_left > 0 && inquiry->next < worker->conns.n_used; n_left--) {
		const struct conn *conn = conn_at(&worker->conns, inquiry->next++);
		if (conn->phase == CONN_OPEN) {
			held_add(&inquiry->held, &view, conn);
		}
	}
	return inquiry->next >= worker->conns.n_used;
}

void worker_held_turn(struct worker *worker)
{
	struct inquiry *inquiry = &worker->inquiry;
	/* acquire: partner of the release in worker_ask_held */
	uint32_t asked = atomic_load_explicit(&inquiry->asked, memory_order_acquire);
	if (asked == atomic_load_explicit(&inquiry->done, memory_order_relaxed)) {
		return;
	}
	if (!inquiry->is_walking) {
		inquiry->is_walking = true;
		inquiry->next = 0;
		held_begin(&inquiry->held, &inquiry->query,
		           atomic_load_explicit(&worker->n_class[SESSION_LISTED],
		                                memory_order_relaxed));
	}
	if (walk_slice(worker)) {
		end_walk(worker, asked);
	}
}
