/* Each function is a product of small semilattices (the later of two, the larger of two, the first
 * of two in a total order), which is why order and grouping do not matter: a new field must be
 * merged by such a one, too, and never by what another field says of the same pair. */
#include "policy/merge.h"

static struct wall later(struct wall a, struct wall b)
{
	return a.secs > b.secs ? a : b;
}

/* 0 is unknown. */
static struct wall earlier(struct wall a, struct wall b)
{
	if (a.secs == 0 || b.secs == 0) {
		return a.secs == 0 ? b : a;
	}
	return a.secs < b.secs ? a : b;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* Whether a's last change outdoes b's. Negative: b's does; 0: they are the same. */
static int compare_change(const struct grey_record *a, const struct grey_record *b)
{
	if (a->changed_at.secs != b->changed_at.secs) {
		return a->changed_at.secs > b->changed_at.secs ? 1 : -1;
	}
	return (int)b->is_deleted - (int)a->is_deleted;
}

static int compare_walls(struct wall a, struct wall b)
{
	return (a.secs > b.secs) - (a.secs < b.secs);
}

static int compare_host(const struct grey_record *a, const struct grey_record *b)
{
	int order = compare_change(a, b);
	order = order ? order : compare_walls(a->expire, b->expire);
	return order ? order : compare_walls(a->pass, b->pass);
}

struct grey_record merge_host(const struct grey_record *a, const struct grey_record *b)
{
	struct grey_record merged = compare_host(a, b) >= 0 ? *a : *b;
	merged.first = earlier(a->first, b->first);
	merged.last = later(a->last, b->last);
	merged.bcount = larger(a->bcount, b->bcount);
	merged.pcount = larger(a->pcount, b->pcount);
	return merged;
}

struct grey_record merge_tuple(const struct grey_record *a, const struct grey_record *b)
{
	struct grey_record merged = compare_change(a, b) >= 0 ? *a : *b;
	merged.first = earlier(a->first, b->first);
	merged.pass = earlier(a->pass, b->pass);
	merged.expire = later(a->expire, b->expire);
	merged.last = later(a->last, b->last);
	merged.bcount = larger(a->bcount, b->bcount);
	merged.pcount = larger(a->pcount, b->pcount);
	return merged;
}

struct grey_record merge_spamtrap(const struct grey_record *a, const struct grey_record *b)
{
	return merge_tuple(a, b);
}
