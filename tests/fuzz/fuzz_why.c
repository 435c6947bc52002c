/* The words of `why`: any bytes. What is taken lies within them and means the same when it is
 * written out again. */
#include <stdio.h>
#include <string.h>

#include "mired/why_query.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span part, struct span whole)
{
	ASSERT(part.len == 0 ||
	       (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_again(const struct why_query *query)
{
	char text[8192];
	char ip[ADDR_TEXT_MAX];
	char why[WHY_QUERY_ERROR_MAX];
	struct why_query again;
	int n = snprintf(text, sizeof text, "%s %.*s %.*s", addr_format(&query->addr, ip),
	                 (int)query->sender.len, (const char *)query->sender.ptr,
	                 (int)query->recipient.len, (const char *)query->recipient.ptr);
	ASSERT(n > 0 && (size_t)n < sizeof text);
	ASSERT(why_query_parse(span_of(text, (size_t)n), &again, why) == 0);
	ASSERT(addr_equal(&query->addr, &again.addr) && query->has_mail == again.has_mail);
	ASSERT(span_equal(query->sender, again.sender));
	ASSERT(span_equal(query->recipient, again.recipient));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[WHY_QUERY_ERROR_MAX];
	struct why_query query;
	const struct span args = span_of(data, size);
	if (size > 4096 || memchr(data, '\0', size)) {
		return 0; /* the request's line has no such */
	}
	if (why_query_parse(args, &query, why) != 0) {
		ASSERT(memchr(why, '\0', sizeof why) && why[0] != '\0');
		return 0;
	}
	check_inside(query.sender, args);
	check_inside(query.recipient, args);
	if (query.has_mail) {
		check_again(&query);
	}
	return 0;
}
