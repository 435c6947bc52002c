/* The rules of budget.h. Demand is counted, not measured: so many connections that stutter want so
 * many bytes a second. What was measured instead would still show the pace of one stutter ago. */
#include "engine/budget.h"

enum {
	LATE_TICKS = 2,        /* a turn so late on average: the machine is full */
	SHOWN_WINDOWS = 8,     /* a figure forgets what is so many windows old */
	LATE_WINDOWS = 2,      /* in a row; a single one may be a pause of the machine */
	STRETCH_END_MS = 30000 /* without any stretch: it is over */
};

static const double CARRIED_MIN = 0.05;  /* of the budget: with less, bytes are not the trouble */
static const double CUT_MIN = 0.9;       /* one cut takes at least a tenth */
static const double CUT_MAX = 0.5;       /* and at most half */
static const double RECOVERY = 0.03;     /* by so much a stutter, at most once a second */
static const double STRETCH_BEGIN = 1.1; /* less than that nobody notices */
static const double STEP = 0.5;          /* of the way to the pace that is right now */
static const double ROUNDING = 0.5;      /* 1.001 s are 1000.99... ms */

static double least(double a, double b)
{
	return a < b ? a : b;
}

static double most(double a, double b)
{
	return a > b ? a : b;
}

void budget_init(struct budget *budget, double bytes_per_sec, uint32_t stutter_ms, uint32_t tick_ms,
                 struct mono now)
{
	*budget = (struct budget){
	        .bytes_per_sec = bytes_per_sec,
	        .stutter_ms = stutter_ms,
	        .tick_ms = tick_ms,
	        .carried_per_sec = bytes_per_sec,
	        .interval_ms = {stutter_ms, stutter_ms, stutter_ms},
	        .began = now,
	        .patient_till = now,
	        .stretched = now,
	};
}

/* As many times the stutter as before. */
static uint32_t rescale(const struct budget *budget, uint32_t interval_ms, uint32_t stutter_ms)
{
	double factor = budget->stutter_ms > 0 ? (double)interval_ms / budget->stutter_ms : 1;
	double most_ms = most(BUDGET_STUTTER_MAX_MS, stutter_ms);
	return (uint32_t)(least(stutter_ms * factor, most_ms) + ROUNDING);
}

void budget_set(struct budget *budget, double bytes_per_sec, uint32_t stutter_ms)
{
	bool is_same_budget = !(budget->bytes_per_sec < bytes_per_sec) &&
	                      !(budget->bytes_per_sec > bytes_per_sec);
	for (unsigned i = 0; i < SESSION_PACE_COUNT; i++) {
		budget->interval_ms[i] = rescale(budget, budget->interval_ms[i], stutter_ms);
	}
	budget->carried_per_sec = is_same_budget ? budget->carried_per_sec : bytes_per_sec;
	budget->bytes_per_sec = bytes_per_sec;
	budget->stutter_ms = stutter_ms;
	budget->is_stretching = budget->is_stretching && stutter_ms > 0;
}

/* The lag stays what it was at its most until all that was due then is served: what is served last
 * belongs to the same pause as what was served first. */
static void note_lag(struct budget *budget, int64_t late_ns, struct mono now)
{
	int64_t lag_ms = late_ns / NS_PER_MS + budget->tick_ms; /* of a byte at the tick's begin */
	bool is_served = now.ns - late_ns > budget->lagged.ns;
	if (late_ns < budget->tick_ms * NS_PER_MS) {
		budget->lag_ms = 0;
	} else if (is_served || lag_ms > budget->lag_ms) {
		budget->lag_ms = (uint32_t)lag_ms;
		budget->lagged = now;
	}
}

void budget_late(struct budget *budget, int64_t late_ns, struct mono now)
{
	note_lag(budget, late_ns, now);
	if (late_ns >= 0) {
		budget->late_ns += late_ns;
		budget->n_turns++;
	}
}

bool budget_is_over(const struct budget *budget, struct mono now)
{
	return mono_diff_ms(now, budget->began) >= BUDGET_WINDOW_MS;
}

/* --- what the machine carries --- */

static double longest_secs(const struct budget *budget)
{
	double secs = budget->interval_ms[SESSION_PACE_LISTED] / (double)MS_PER_SEC;
	return most(secs, 1);
}

static void cut(struct budget *budget)
{
	double before = budget->carried_per_sec;
	double seen = budget->sent_per_sec * CUT_MIN;
	double after = least(most(seen, before * CUT_MAX), before * CUT_MIN);
	budget->carried_per_sec = most(after, budget->bytes_per_sec * CARRIED_MIN);
	budget->n_late_windows = 0;
}

/* What is decided now shows after one stutter: before that the same trouble must not be answered
 * twice. */
static void be_patient(struct budget *budget, struct mono now)
{
	double ms = longest_secs(budget) * MS_PER_SEC;
	budget->patient_till = mono_add_ms(now, (int64_t)ms);
}

static void judge_lateness(struct budget *budget, double window_secs, struct mono now)
{
	int64_t tick_ns = budget->tick_ms * NS_PER_MS;
	int64_t late_ns = budget->n_turns > 0 ? budget->late_ns / budget->n_turns : 0;
	if (late_ns < tick_ns) {
		double part = RECOVERY * window_secs / longest_secs(budget);
		budget->carried_per_sec =
		        least(budget->carried_per_sec * (1 + part), budget->bytes_per_sec);
	}
	budget->n_late_windows = late_ns > LATE_TICKS * tick_ns ? budget->n_late_windows + 1 : 0;
	if (budget->n_late_windows >= LATE_WINDOWS && now.ns >= budget->patient_till.ns) {
		cut(budget);
		be_patient(budget, now);
	}
}

/* --- the pace --- */

/* Seconds a byte of n connections if they may send so many bytes a second. */
static double secs_of(double n, double bytes_per_sec, double least_secs)
{
	double most_secs = most(BUDGET_STUTTER_MAX_MS / (double)MS_PER_SEC, least_secs);
	double secs = bytes_per_sec > 0 ? n / bytes_per_sec : most_secs;
	return least(most(secs, least_secs), most_secs);
}

static void approach(uint32_t *interval_ms, double wanted_secs)
{
	double wanted_ms = wanted_secs * MS_PER_SEC;
	double step_ms = (wanted_ms - *interval_ms) * STEP;
	bool is_there = step_ms > -1 && step_ms < 1;
	*interval_ms = (uint32_t)((is_there ? wanted_ms : *interval_ms + step_ms) + ROUNDING);
}

static void set_pace(struct budget *budget, const uint32_t n_saying[static SESSION_PACE_COUNT])
{
	double stutter_secs = budget->stutter_ms / (double)MS_PER_SEC;
	double n_grey = n_saying[SESSION_PACE_GREY];
	double n_listed = n_saying[SESSION_PACE_LISTED];
	double for_listed = budget->carried_per_sec - n_grey / stutter_secs;
	double listed_secs =
	        n_listed > 0 ? secs_of(n_listed, for_listed, stutter_secs) : stutter_secs;
	double for_grey = budget->carried_per_sec - n_listed / listed_secs;
	double grey_secs = n_grey > 0 ? secs_of(n_grey, for_grey, stutter_secs) : stutter_secs;
	approach(&budget->interval_ms[SESSION_PACE_LISTED], listed_secs);
	approach(&budget->interval_ms[SESSION_PACE_GREY], grey_secs);
}

static void note_stretch(struct budget *budget, struct mono now)
{
	uint32_t listed_ms = budget->interval_ms[SESSION_PACE_LISTED];
	uint32_t grey_ms = budget->interval_ms[SESSION_PACE_GREY];
	uint32_t longest_ms = listed_ms > grey_ms ? listed_ms : grey_ms;
	if (longest_ms > budget->stutter_ms) {
		budget->stretched = now;
	}
	if (longest_ms > budget->stutter_ms * STRETCH_BEGIN) {
		budget->is_stretching = true;
	} else if (mono_diff_ms(now, budget->stretched) >= STRETCH_END_MS) {
		budget->is_stretching = false;
	}
}

void budget_update(struct budget *budget, const uint32_t n_saying[static SESSION_PACE_COUNT],
                   uint64_t n_sent, struct mono now)
{
	double window_secs = (double)(now.ns - budget->began.ns) / (double)NS_PER_SEC;
	if (window_secs <= 0) {
		return;
	}
	budget->sent_per_sec = (double)(n_sent - budget->sent_before) / window_secs;
	budget->shown_per_sec += (budget->sent_per_sec - budget->shown_per_sec) / SHOWN_WINDOWS;
	judge_lateness(budget, window_secs, now);
	if (budget->stutter_ms > 0) {
		set_pace(budget, n_saying);
		note_stretch(budget, now);
	}
	budget->began = now;
	budget->sent_before = n_sent;
	budget->late_ns = 0;
	budget->n_turns = 0;
}
