/* The allowed domains as a sorted array of texts. An entry keeps the mark it is written with (`.`,
 * `@` or none), so asking is a search for each text that would allow the address: the address
 * itself, and at the @ and every dot behind it the rest with the mark and without. */
#include "policy/domains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/err.h"

enum { ENTRIES_AT_FIRST = 64 };

/* Immutable once parsed. */
struct domains {
	struct span *entries; /* sorted, each once; into text */
	size_t n;
	size_t n_room;
	uint8_t *text; /* the file in lower case */
};

static int entry_compare(const void *left, const void *right)
{
	const struct span *a = left;
	const struct span *b = right;
	int order = memcmp(a->ptr, b->ptr, a->len < b->len ? a->len : b->len);
	if (order != 0 || a->len == b->len) {
		return order;
	}
	return a->len < b->len ? -1 : 1;
}

/* NULL: the line is a good entry. */
static const char *entry_fault(struct span entry)
{
	if (entry.len > DOMAINS_LINE_MAX) {
		return "line too long";
	}
	for (size_t i = 0; i < entry.len; i++) {
		if (entry.ptr[i] <= ' ' || entry.ptr[i] == 0x7f) {
			return "blank or control character inside";
		}
	}
	bool is_mark = entry.ptr[0] == '.' || entry.ptr[0] == '@';
	if ((is_mark && entry.len == 1) || entry.ptr[entry.len - 1] == '@') {
		return "no domain";
	}
	return NULL;
}

static int add(struct domains *domains, struct span entry)
{
	if (domains->n == DOMAINS_MAX) {
		return ERR_TOO_LONG;
	}
	if (domains->n == domains->n_room) {
		struct span *entries = array_grow(domains->entries, &domains->n_room,
		                                  sizeof *entries, ENTRIES_AT_FIRST);
		if (!entries) {
			return -ENOMEM;
		}
		domains->entries = entries;
	}
	domains->entries[domains->n++] = entry;
	return 0;
}

static int add_lines(struct domains *domains, struct span text, cidr_bad_line *bad, void *ctx)
{
	for (unsigned line_no = 1; text.len > 0; line_no++) {
		struct span entry = span_trim(span_cut(text, '\n', &text));
		if (entry.len == 0 || entry.ptr[0] == '#') {
			continue;
		}
		const char *fault = entry_fault(entry);
		if (fault) {
			bad(ctx, line_no, entry, fault);
			continue;
		}
		int ret = add(domains, entry);
		if (ret) {
			return ret;
		}
	}
	return 0;
}

static void lower(uint8_t *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		out[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
	}
}

static void sort_and_join(struct domains *domains)
{
	if (domains->n == 0) {
		return;
	}
	qsort(domains->entries, domains->n, sizeof *domains->entries, entry_compare);
	size_t top = 0;
	for (size_t i = 1; i < domains->n; i++) {
		if (!span_equal(domains->entries[top], domains->entries[i])) {
			domains->entries[++top] = domains->entries[i];
		}
	}
	domains->n = top + 1;
}

int domains_parse(struct span text, cidr_bad_line *bad, void *ctx, struct domains **out)
{
	struct domains *domains = calloc(1, sizeof *domains);
	if (!domains) {
		return -ENOMEM;
	}
	int ret = -ENOMEM;
	domains->text = malloc(text.len + 1);
	if (domains->text) {
		lower(domains->text, text);
		ret = add_lines(domains, span_of(domains->text, text.len), bad, ctx);
	}
	if (ret) {
		domains_free(domains);
		return ret;
	}
	sort_and_join(domains);
	*out = domains;
	return 0;
}

void domains_free(struct domains *domains)
{
	if (domains) {
		free(domains->entries);
		free(domains->text);
		free(domains);
	}
}

size_t domains_count(const struct domains *domains)
{
	return domains ? domains->n : 0;
}

static bool has(const struct domains *domains, struct span text)
{
	return text.len > 0 && bsearch(&text, domains->entries, domains->n,
	                               sizeof *domains->entries, entry_compare) != NULL;
}

bool domains_allow(const struct domains *domains, struct span address)
{
	if (domains_count(domains) == 0 || has(domains, address)) {
		return true;
	}
	const uint8_t *at = address.len ? memrchr(address.ptr, '@', address.len) : NULL;
	if (!at) {
		return false;
	}
	struct span domain = span_skip(address, (size_t)(at - address.ptr));
	for (size_t i = 0; i < domain.len; i++) {
		bool is_boundary = domain.ptr[i] == '.' || i == 0;
		if (is_boundary && (has(domains, span_skip(domain, i)) ||
		                    has(domains, span_skip(domain, i + 1)))) {
			return true;
		}
	}
	return false;
}
