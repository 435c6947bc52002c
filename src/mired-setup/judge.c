/* The rules, in the order they are asked. */
#include "mired-setup/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

static bool is_local(enum capfile_method method)
{
	return method == CAPFILE_FILE || method == CAPFILE_EXEC;
}

static bool is_html_type(const char *content_type)
{
	return span_starts_nocase(span_trim(span_of_str(content_type)), SPAN("text/html"));
}

static struct span without_bom(struct span data)
{
	return data.len >= 3 && memcmp(data.ptr, "\xef\xbb\xbf", 3) == 0 ? span_skip(data, 3)
	                                                                 : data;
}

static int refuse(int code, const char *text, char why[static JUDGE_WHY_MAX])
{
	(void)snprintf(why, JUDGE_WHY_MAX, "%s", text);
	return code;
}

int judge_data(enum capfile_method method, struct span data, const char *content_type,
               char why[static JUDGE_WHY_MAX])
{
	struct span text = span_trim(without_bom(data));
	if (text.len == 0) {
		return is_local(method) ? 0 : refuse(ERR_TRUNCATED, "it is empty", why);
	}
	if (text.ptr[0] == '<') {
		return refuse(ERR_SYNTAX, "it is a web page, not a list", why);
	}
	if (is_html_type(content_type)) {
		return refuse(ERR_SYNTAX, "the server calls it text/html, so it is no list", why);
	}
	return 0;
}

static int judge_no_entries(enum capfile_method method, const struct judge_counts *counts,
                            char why[static JUDGE_WHY_MAX])
{
	if (counts->n_bad > 0) {
		return refuse(ERR_SYNTAX, "no line of it is an address or a network", why);
	}
	return is_local(method) ? 0 : refuse(ERR_TRUNCATED, "it holds no entry", why);
}

int judge_counts(enum capfile_method method, const struct judge_counts *counts,
                 char why[static JUDGE_WHY_MAX])
{
	if (counts->n_entries == 0) {
		return judge_no_entries(method, counts, why);
	}
	if (!counts->has_before || counts->n_before == 0 || counts->change_max == 0) {
		return 0;
	}
	bool has_shrunk = counts->n_entries * counts->change_max < counts->n_before;
	bool has_grown = counts->n_entries > counts->n_before * counts->change_max;
	if (has_shrunk || has_grown) {
		(void)snprintf(why, JUDGE_WHY_MAX,
		               "it %s from %" PRIu64 " to %" PRIu64 " entries, more than %" PRIu32
		               "-fold (list-change; without its copy it is believed)",
		               has_grown ? "grew" : "shrank", counts->n_before, counts->n_entries,
		               counts->change_max);
		return ERR_RANGE;
	}
	return 0;
}
