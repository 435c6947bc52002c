/* One JSON object a line. Members that are not known mean nothing; a line that is no object, or
 * neither a network nor metadata, is a bad line. Two lists one after the other (IPv4 and IPv6) have
 * a metadata line each, which counts the lines since the one before. */
#include "lists/jsonlist.h"

#include <jansson.h>

#include "base/err.h"

enum { LINE_MAX_BYTES = 64 * 1024 };

/* One line: bad (reason), metadata, or a network. */
struct line {
	const char *reason;
	bool is_metadata;
	long long n_declared;
	long long timestamp;
	struct addr_range range;
};

bool jsonlist_is_json(struct span text)
{
	text = span_trim(text);
	return text.len > 0 && text.ptr[0] == '{';
}

static long long count_of(const json_t *object, const char *key, long long absent)
{
	const json_t *value = json_object_get(object, key);
	bool is_count = json_is_integer(value) && json_integer_value(value) >= 0;
	return is_count ? json_integer_value(value) : absent;
}

static void read_object(const json_t *object, struct line *out)
{
	const json_t *type = json_object_get(object, "type");
	if (json_is_string(type) &&
	    span_equal(span_of_str(json_string_value(type)), SPAN("metadata"))) {
		out->is_metadata = true;
		out->n_declared = count_of(object, "records", -1);
		out->timestamp = count_of(object, "timestamp", 0);
		return;
	}
	const json_t *cidr = json_object_get(object, "cidr");
	struct cidr network;
	if (!json_is_string(cidr)) {
		out->reason = "no \"cidr\"";
		return;
	}
	struct span text = span_of(json_string_value(cidr), json_string_length(cidr));
	int ret = cidr_parse(text, &network, NULL);
	if (ret) {
		out->reason = ret == ERR_RANGE ? "prefix length out of range" : "no network";
		return;
	}
	out->range = cidr_range(&network);
}

static struct line read_line(struct span text)
{
	struct line line = {0};
	if (text.len > LINE_MAX_BYTES) {
		line.reason = "line too long";
		return line;
	}
	json_t *object = json_loadb((const char *)text.ptr, text.len, 0, NULL);
	if (json_is_object(object)) {
		read_object(object, &line);
	} else {
		line.reason = "no JSON object";
	}
	json_decref(object);
	return line;
}

static int take_metadata(const struct line *line, long long n_lines,
                         struct jsonlist_figures *figures)
{
	figures->has_metadata = true;
	figures->timestamp = line->timestamp;
	if (line->n_declared < 0) {
		return 0;
	}
	if (line->n_declared != n_lines) {
		figures->n_declared = line->n_declared;
		return ERR_TRUNCATED;
	}
	figures->n_declared = (figures->n_declared < 0 ? 0 : figures->n_declared) + n_lines;
	return 0;
}

int jsonlist_parse(struct span text, addrlist_entry *entry, cidr_bad_line *bad, void *ctx,
                   struct jsonlist_figures *figures)
{
	long long n_lines = 0; /* since the last metadata; bad ones are lines of the list as well */
	int ret = 0;
	*figures = (struct jsonlist_figures){.n_declared = -1};
	for (unsigned line_no = 1; text.len > 0 && ret == 0; line_no++) {
		struct span object = span_trim(span_cut(text, '\n', &text));
		if (object.len == 0) {
			continue;
		}
		struct line line = read_line(object);
		if (line.is_metadata) {
			ret = take_metadata(&line, n_lines, figures);
			n_lines = 0;
			continue;
		}
		n_lines++;
		if (!line.reason) {
			figures->n_entries++;
			ret = entry(ctx, &line.range);
			continue;
		}
		figures->n_bad++;
		if (bad) {
			bad(ctx, line_no, object, line.reason);
		}
	}
	return ret;
}
