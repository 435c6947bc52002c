/* Words and numbers of `miredctl why`. */
#include "miredctl/why_words.h"

#include <stddef.h>
#include <time.h>

#include "base/compiler.h"

int64_t why_int(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

void why_put(FILE *out, const char *text)
{
	for (const char *c = text ? text : "?"; *c; c++) {
		(void)fputc(*c >= ' ' && *c <= '~' ? *c : '?', out);
	}
}

void why_put_clock(FILE *out, int64_t at_secs)
{
	char text[32] = "?";
	struct tm tm;
	time_t at = (time_t)at_secs;
	if (localtime_r(&at, &tm)) {
		(void)strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
	}
	(void)fputs(text, out);
}

void why_put_secs(FILE *out, int64_t secs)
{
	static const struct {
		int64_t secs;
		char name;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	size_t i = 0;
	while (i + 1 < ARRAY_LEN(units) && secs < units[i].secs) {
		i++;
	}
	(void)fprintf(out, "%lld%c", (long long)(secs / units[i].secs), units[i].name);
	int64_t rest = secs % units[i].secs;
	if (i + 1 < ARRAY_LEN(units) && rest >= units[i + 1].secs) {
		(void)fprintf(out, " %lld%c", (long long)(rest / units[i + 1].secs),
		              units[i + 1].name);
	}
}

void why_put_time(FILE *out, int64_t at_secs, int64_t now_secs)
{
	why_put_clock(out, at_secs);
	if (at_secs == now_secs) {
		(void)fputs(" (now)", out);
		return;
	}
	(void)fputs(at_secs > now_secs ? " (in " : " (", out);
	why_put_secs(out, at_secs > now_secs ? at_secs - now_secs : now_secs - at_secs);
	(void)fputs(at_secs > now_secs ? ")" : " ago)", out);
}

void why_put_times(FILE *out, int64_t n, const char *end)
{
	if (n == 1) {
		(void)fprintf(out, "once%s", end);
	} else {
		(void)fprintf(out, "%lld times%s", (long long)n, end);
	}
}
