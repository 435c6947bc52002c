/* The lists in memory: from a line to its addresses, and from all lists to the table. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "keeper/lister_impl.h"
#include "lists/cfgline.h"

/* --- one list --------------------------------------------------------------------------------- */

void list_free(struct list *list)
{
	if (list) {
		free(list->bytes);
		list_ranges_free(list->ranges);
		free(list);
	}
}

static int copy_texts(struct list *list, const struct cfgline *parsed)
{
	uint8_t *bytes = malloc(parsed->tag.len + parsed->text.len + 1);
	if (!bytes) {
		return -ENOMEM;
	}
	memcpy(bytes, parsed->tag.ptr, parsed->tag.len);
	if (parsed->text.len > 0) {
		memcpy(bytes + parsed->tag.len, parsed->text.ptr, parsed->text.len);
	}
	list->bytes = bytes;
	list->tag = span_of(bytes, parsed->tag.len);
	list->text = span_of(bytes + parsed->tag.len, parsed->text.len);
	return 0;
}

static int list_of(const struct cfgline *parsed, struct span line, struct list **out)
{
	struct list *list = calloc(1, sizeof *list);
	if (!list) {
		return -ENOMEM;
	}
	int ret = copy_texts(list, parsed);
	ret = ret ? ret : list_ranges_new(parsed->cidrs, parsed->n, &list->ranges);
	if (ret != 0) {
		list_free(list);
		return ret;
	}
	list->n_networks = parsed->n;
	list->line = line;
	list->loaded_secs = clock_wall().secs;
	*out = list;
	return 0;
}

int list_new(struct span line, size_t n_max, struct list **out, char why[static LISTER_WHY_MAX])
{
	enum { SKIPPED_MAX = 1 }; /* spamd: lines of 0 or 1 bytes say nothing */
	struct cfgline parsed;
	char reason[CFGLINE_WHY_MAX] = "";
	*out = NULL;
	if (line.len <= SKIPPED_MAX) {
		return 0;
	}
	int ret = cfgline_parse(line, n_max, &parsed, reason);
	if (ret != 0) {
		(void)snprintf(why, LISTER_WHY_MAX, "%s", reason);
		return ret;
	}
	if (parsed.n == 0 && !parsed.is_clear) {
		ret = ERR_SYNTAX;
		(void)snprintf(why, LISTER_WHY_MAX, "a list without addresses");
	} else {
		ret = list_of(&parsed, line, out);
		(void)snprintf(why, LISTER_WHY_MAX, "%s", ret ? err_text(ret) : "");
	}
	cfgline_fini(&parsed);
	return ret;
}

/* --- all lists -------------------------------------------------------------------------------- */

static size_t index_of_tag(const struct lists *lists, struct span tag)
{
	size_t i = 0;
	while (i < lists->n && !span_equal(lists->at[i]->tag, tag)) {
		i++;
	}
	return i;
}

struct list *lists_find(const struct lists *lists, struct span tag)
{
	size_t i = index_of_tag(lists, tag);
	return i < lists->n ? lists->at[i] : NULL;
}

bool lists_has(const struct lists *lists, const struct list *list)
{
	return lists_find(lists, list->tag) == list;
}

/* Numbers ascend with the places, and none is given twice: of two files with one tag the higher
 * number is the newer list. */
int lists_put(struct lists *lists, struct list *list)
{
	size_t i = index_of_tag(lists, list->tag);
	if (i < lists->n) {
		list->number = lists->at[i]->number;
		lists->at[i] = list;
		return 0;
	}
	if (lists->n == LISTS_MAX) {
		return ERR_TOO_LONG;
	}
	if (list->number == 0) {
		list->number = ++lists->number_last;
	}
	lists->at[lists->n++] = list;
	return 0;
}

void lists_remove(struct lists *lists, const struct list *list)
{
	size_t i = index_of_tag(lists, list->tag);
	for (; i + 1 < lists->n; i++) {
		lists->at[i] = lists->at[i + 1];
	}
	lists->n -= i < lists->n;
}

size_t lists_n_networks(const struct lists *lists)
{
	size_t n = 0;
	for (size_t i = 0; i < lists->n; i++) {
		n += lists->at[i]->n_networks;
	}
	return n;
}

size_t lists_room_for(const struct lists *lists, struct span line, size_t n_max)
{
	struct span rest;
	const struct list *same = lists_find(lists, span_cut(line, ';', &rest));
	size_t n_others = lists_n_networks(lists) - (same ? same->n_networks : 0);
	return n_others < n_max ? n_max - n_others : 0;
}

int lists_build(const struct lists *lists, struct list_table **out)
{
	struct list_source sources[LISTS_MAX];
	*out = NULL;
	if (lists->n == 0) {
		return 0;
	}
	for (size_t i = 0; i < lists->n; i++) {
		const struct list *list = lists->at[i];
		sources[i] = (struct list_source){
		        .tag = list->tag, .text = list->text, .ranges = list->ranges};
	}
	return list_table_build(sources, lists->n, out);
}
