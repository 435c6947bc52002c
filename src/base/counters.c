/* Names and help lines, from the one table in counters.h. */
#include "base/counters.h"

#define ROW(name, help) [COUNTER_##name] = {#name, help},
static const struct {
	const char *name;
	const char *help;
} rows[COUNTER_COUNT] = {COUNTERS(ROW)};
#undef ROW

const char *counter_name(enum counter which)
{
	return rows[which].name;
}

const char *counter_help(enum counter which)
{
	return rows[which].help;
}
