#include "keeper/stopwatch.h"

void stopwatch_start(struct stopwatch *stopwatch, uint64_t seq, struct mono since)
{
	if (stopwatch->n < STOPWATCH_MARKS) {
		stopwatch->n++;
		size_t last = (stopwatch->head + stopwatch->n - 1) % STOPWATCH_MARKS;
		stopwatch->marks[last].since = since;
	}
	size_t last = (stopwatch->head + stopwatch->n - 1) % STOPWATCH_MARKS;
	stopwatch->marks[last].seq = seq;
}

void stopwatch_done(struct stopwatch *stopwatch, uint64_t seq, struct mono now, struct latency *out)
{
	while (stopwatch->n > 0 && stopwatch->marks[stopwatch->head].seq <= seq) {
		latency_add(out, now.ns - stopwatch->marks[stopwatch->head].since.ns);
		stopwatch->head = (stopwatch->head + 1) % STOPWATCH_MARKS;
		stopwatch->n--;
	}
}

void stopwatch_clear(struct stopwatch *stopwatch)
{
	stopwatch->n = 0;
}
