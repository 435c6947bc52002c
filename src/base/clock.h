/* Time in types that cannot be mixed up. The clock is read once a loop turn at the top and handed
 * down; nothing below engine reads it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Monotonic time: intervals and timers. */
struct mono {
	int64_t ns;
};

/* Wall time in seconds since 1970: what is stored and sent. */
struct wall {
	int64_t secs;
};

/* Monotonic time in a per-connection field: milliseconds, wrapping every 49 days. Only differences
 * below 24 days mean anything. */
struct mono_ms {
	uint32_t ms;
};

#define NS_PER_MS  INT64_C(1000000)
#define NS_PER_SEC INT64_C(1000000000)
#define MS_PER_SEC 1000

/* CLOCK_MONOTONIC and CLOCK_REALTIME. Any thread. */
struct mono clock_mono(void);
struct wall clock_wall(void);
/* The kernel's word that wall time is kept by something better than this machine. */
bool clock_is_synchronised(void);

static inline struct mono mono_add_ms(struct mono t, int64_t ms)
{
	return (struct mono){t.ns + ms * NS_PER_MS};
}

static inline int64_t mono_diff_ms(struct mono later, struct mono earlier)
{
	return (later.ns - earlier.ns) / NS_PER_MS;
}

static inline struct mono_ms mono_to_ms(struct mono t)
{
	return (struct mono_ms){(uint32_t)(uint64_t)(t.ns / NS_PER_MS)};
}

static inline struct mono_ms mono_ms_add(struct mono_ms t, uint32_t ms)
{
	return (struct mono_ms){t.ms + ms};
}

/* later - earlier in ms; negative when `later` is in fact earlier. */
static inline int32_t mono_ms_diff(struct mono_ms later, struct mono_ms earlier)
{
	return (int32_t)(later.ms - earlier.ms);
}
