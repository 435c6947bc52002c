/* Events at the ends of ranges, as spamd-setup counts them: a place is listed while it is inside at
 * least one black range and inside no white one. The four kinds of events are kept and sorted apart
 * and merged by a sweep. The end of a range is the place behind it; a range up to the last address
 * of its family has no end. */
#include "lists/rangeset.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/err.h"
#include "policy/addrnum.h"

enum { ROOM_AT_FIRST = 256 };
enum family { FAMILY_V4, FAMILY_V6, FAMILY_COUNT };
enum kind { BLACK_BEGIN, BLACK_END, WHITE_BEGIN, WHITE_END, KIND_COUNT };

struct places {
	addrnum *list;
	size_t n;
	size_t n_room;
};

struct rangeset {
	struct places places[FAMILY_COUNT][KIND_COUNT];
	size_t n_max;
	size_t n;
	size_t n_black;
};

/* The networks that come out. */
struct output {
	struct cidr *cidrs;
	size_t n;
	size_t n_room;
	size_t n_max;
};

struct rangeset *rangeset_new(size_t n_max)
{
	struct rangeset *set = calloc(1, sizeof *set);
	if (set) {
		set->n_max = n_max;
	}
	return set;
}

void rangeset_free(struct rangeset *set)
{
	if (!set) {
		return;
	}
	for (enum family family = FAMILY_V4; family < FAMILY_COUNT; family++) {
		for (enum kind kind = BLACK_BEGIN; kind < KIND_COUNT; kind++) {
			free(set->places[family][kind].list);
		}
	}
	free(set);
}

static int places_push(struct places *places, addrnum place)
{
	if (places->n == places->n_room) {
		addrnum *list =
		        array_grow(places->list, &places->n_room, sizeof *list, ROOM_AT_FIRST);
		if (!list) {
			return -ENOMEM;
		}
		places->list = list;
	}
	places->list[places->n++] = place;
	return 0;
}

int rangeset_add(struct rangeset *set, const struct addr_range *range, bool is_white)
{
	bool is_v4 = addr_is_v4(&range->first);
	addrnum first = addrnum_of(&range->first);
	addrnum last = addrnum_of(&range->last);
	/* ::/80 ends with the last mapped address and is IPv6 all the same */
	if ((is_v4 && !addr_is_v4(&range->last)) || first > last) {
		return ERR_RANGE;
	}
	if (set->n == set->n_max) {
		return ERR_TOO_LONG;
	}
	struct places *places = set->places[is_v4 ? FAMILY_V4 : FAMILY_V6];
	int ret = 0;
	if (last != addrnum_last(is_v4)) {
		ret = places_push(&places[is_white ? WHITE_END : BLACK_END], last + 1);
	}
	ret = ret ? ret : places_push(&places[is_white ? WHITE_BEGIN : BLACK_BEGIN], first);
	if (ret == 0) {
		set->n++;
		set->n_black += !is_white;
	}
	return ret;
}

size_t rangeset_n_black(const struct rangeset *set)
{
	return set->n_black;
}

static int place_compare(const void *left, const void *right)
{
	addrnum a = *(const addrnum *)left;
	addrnum b = *(const addrnum *)right;
	return (a > b) - (a < b);
}

static int output_add(void *ctx, const struct cidr *cidr)
{
	struct output *out = ctx;
	if (out->n == out->n_max) {
		return ERR_TOO_LONG;
	}
	if (out->n == out->n_room) {
		struct cidr *cidrs =
		        array_grow(out->cidrs, &out->n_room, sizeof *cidrs, ROOM_AT_FIRST);
		if (!cidrs) {
			return -ENOMEM;
		}
		out->cidrs = cidrs;
	}
	out->cidrs[out->n++] = *cidr;
	return 0;
}

static int output_range(struct output *out, bool is_v4, addrnum first, addrnum last)
{
	if (!is_v4 && addrnum_is_mapped(first)) {
		first = addrnum_last(true) + 1; /* the part before would be IPv4 */
	}
	if (first > last) {
		return 0;
	}
	struct addr_range range = {addrnum_to_addr(first), addrnum_to_addr(last)};
	return cidr_cut(&range, output_add, out);
}

/* The next place where anything begins or ends. */
static bool next_place(const struct places *places, const size_t *heads, addrnum *place)
{
	bool is_found = false;
	for (size_t kind = 0; kind < KIND_COUNT; kind++) {
		if (heads[kind] == places[kind].n) {
			continue;
		}
		addrnum head = places[kind].list[heads[kind]];
		*place = is_found && *place < head ? *place : head;
		is_found = true;
	}
	return is_found;
}

/* How many events of one kind are at this place. */
static size_t take_at(const struct places *places, size_t *head, addrnum place)
{
	size_t before = *head;
	while (*head < places->n && places->list[*head] == place) {
		++*head;
	}
	return *head - before;
}

static int sweep(const struct places *places, bool is_v4, struct output *out)
{
	size_t heads[KIND_COUNT] = {0};
	size_t black = 0;
	size_t white = 0;
	bool is_listed = false;
	addrnum first = 0;
	addrnum place;
	int ret = 0;
	while (ret == 0 && next_place(places, heads, &place)) {
		black += take_at(&places[BLACK_BEGIN], &heads[BLACK_BEGIN], place);
		black -= take_at(&places[BLACK_END], &heads[BLACK_END], place);
		white += take_at(&places[WHITE_BEGIN], &heads[WHITE_BEGIN], place);
		white -= take_at(&places[WHITE_END], &heads[WHITE_END], place);
		bool is_now = black > 0 && white == 0;
		if (is_now && !is_listed) {
			first = place;
		} else if (is_listed && !is_now) {
			ret = output_range(out, is_v4, first, place - 1);
		}
		is_listed = is_now;
	}
	return ret == 0 && is_listed ? output_range(out, is_v4, first, addrnum_last(is_v4)) : ret;
}

static void sort_places(struct places *places)
{
	if (places->n > 1) {
		qsort(places->list, places->n, sizeof *places->list, place_compare);
	}
}

int rangeset_finish(struct rangeset *set, struct cidr **out, size_t *n)
{
	struct output output = {.n_max = set->n_max};
	int ret = 0;
	for (enum family family = FAMILY_V4; family < FAMILY_COUNT && ret == 0; family++) {
		struct places *places = set->places[family];
		for (enum kind kind = BLACK_BEGIN; kind < KIND_COUNT; kind++) {
			sort_places(&places[kind]);
		}
		ret = sweep(places, family == FAMILY_V4, &output);
	}
	if (ret) {
		free(output.cidrs);
		return ret;
	}
	*out = output.cidrs;
	*n = output.n;
	return 0;
}
