/* The pace of a worker's connections: who wants bytes, how many there may be, and from that how
 * long each takes (budget.h). The sessions read the outcome in their settings, of which each worker
 * has its own copy; a byte costs nothing for it. Others read the outcome as figures. */
#include "base/log.h"
#include "engine/worker_impl.h"

/* So many connections accepted one after the other have their bytes in the same tick: the kernel's
 * objects of neighbours are neighbours, and touching them in turn costs a fourth less than jumping
 * about. */
enum { PHASE_SHARE = CHUNK_MAX };

void worker_pace_init(struct worker *worker)
{
	budget_init(&worker->budget, worker->env.bytes_per_sec, worker->session.stutter_ms,
	            worker->env.conf->tick_ms, worker->now);
	worker->phase = worker->env.seed;
	worker_pace_turn(worker);
}

/* --- the phase --- */

/* A golden section further each time: however many there are, they lie evenly over the stutter. */
uint32_t worker_next_phase(struct worker *worker)
{
	if (worker->n_in_phase++ % PHASE_SHARE == 0) {
		worker->phase += UINT32_C(0x9e3779b9);
	}
	return worker->phase;
}

/* --- who wants bytes --- */

void worker_pace_note(struct worker *worker, struct conn *conn)
{
	enum session_pace pace = session_pace(&conn->session, worker->env.session);
	if (pace != (enum session_pace)conn->pace) {
		worker->n_saying[conn->pace]--;
		worker->n_saying[pace]++;
		conn->pace = (unsigned)pace & 3U;
	}
}

void worker_pace_leave(struct worker *worker, struct conn *conn)
{
	worker->n_saying[conn->pace]--;
	worker->n_saying[SESSION_PACE_NONE]++;
	conn->pace = SESSION_PACE_NONE;
}

/* --- windows --- */

/* One line for all workers: the first that begins and the last that ends says it. */
static void tell(struct worker *worker, bool is_stretching)
{
	_Atomic uint32_t *n_stretching = worker->env.n_stretching;
	if (is_stretching == worker->is_stretching || !n_stretching) {
		return;
	}
	worker->is_stretching = is_stretching;
	if (is_stretching &&
	    atomic_fetch_add_explicit(n_stretching, 1, memory_order_relaxed) == 0) {
		log_warning("stutter is stretched: the connections want more than %.0f bytes a "
		            "second of worker %u",
		            worker->budget.carried_per_sec, worker->env.idx);
	} else if (!is_stretching &&
	           atomic_fetch_sub_explicit(n_stretching, 1, memory_order_relaxed) == 1) {
		log_info("stutter is no longer stretched");
	}
}

static uint32_t whole(double value)
{
	return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

static void publish(struct worker *worker)
{
	const struct budget *budget = &worker->budget;
	for (unsigned i = 0; i < SESSION_PACE_COUNT; i++) {
		worker->session.stretch_ms[i] = budget->interval_ms[i] - budget->stutter_ms;
		atomic_store_explicit(&worker->pace.interval_ms[i], budget->interval_ms[i],
		                      memory_order_relaxed);
	}
	atomic_store_explicit(&worker->pace.carried_per_sec, whole(budget->carried_per_sec),
	                      memory_order_relaxed);
	atomic_store_explicit(&worker->pace.stuttered_per_sec, whole(budget->shown_per_sec),
	                      memory_order_relaxed);
}

void worker_pace_turn(struct worker *worker)
{
	budget_late(&worker->budget, worker->late_ns, worker->now);
	worker->session.lag_ms = worker->budget.lag_ms;
	if (budget_is_over(&worker->budget, worker->now)) {
		budget_update(&worker->budget, worker->n_saying,
		              counters_get(&worker->counters, COUNTER_bytes_stuttered),
		              worker->now);
		publish(worker);
		tell(worker, worker->budget.is_stretching);
	}
}

void worker_pace_set(struct worker *worker, double bytes_per_sec)
{
	budget_set(&worker->budget, bytes_per_sec, worker->session.stutter_ms);
	publish(worker);
	tell(worker, worker->budget.is_stretching);
}

void worker_pace_fini(struct worker *worker)
{
	tell(worker, false);
}

void worker_pace_figures(const struct worker *worker, struct worker_figures *out)
{
	const struct pace_figures *pace = &worker->pace;
	for (unsigned i = 0; i < SESSION_PACE_COUNT; i++) {
		out->interval_ms[i] =
		        atomic_load_explicit(&pace->interval_ms[i], memory_order_relaxed);
	}
	out->carried_per_sec = atomic_load_explicit(&pace->carried_per_sec, memory_order_relaxed);
	out->stuttered_per_sec =
	        atomic_load_explicit(&pace->stuttered_per_sec, memory_order_relaxed);
}
