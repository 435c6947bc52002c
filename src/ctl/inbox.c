/* Lines lie at the front of a fixed buffer; a body gets memory of its own, never more than was
 * announced. */
#include "ctl/inbox.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static_assert((int)INBOX_BODY_FIRST >= (int)MIRED_CTL_REQUEST_MAX,
              "what a line brings along fits at once");

void inbox_init(struct inbox *inbox, struct inbox_budget *budget)
{
	*inbox = (struct inbox){.budget = budget};
}

static void give_back(struct inbox *inbox)
{
	inbox->budget->left_bytes += inbox->body_size;
	inbox->body = NULL;
	inbox->body_len = 0;
	inbox->body_size = 0;
	inbox->wants_body = false;
}

void inbox_clear(struct inbox *inbox)
{
	free(inbox->body);
	give_back(inbox);
	inbox->len = 0;
}

void inbox_fini(struct inbox *inbox)
{
	inbox_clear(inbox);
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t next_size(const struct inbox *inbox)
{
	if (inbox->body_size >= INBOX_BODY_BELIEVED) {
		return inbox->body_want;
	}
	size_t doubled = inbox->body_size ? inbox->body_size * 2 : INBOX_BODY_FIRST;
	return least(doubled, inbox->body_want);
}

static int grow(struct inbox *inbox)
{
	size_t size = next_size(inbox);
	size_t more = size - inbox->body_size;
	char *body = more <= inbox->budget->left_bytes ? realloc(inbox->body, size + 1) : NULL;
	if (!body) {
		return -ENOMEM;
	}
	inbox->budget->left_bytes -= more;
	inbox->body = body;
	inbox->body_size = size;
	return 0;
}

int inbox_room(struct inbox *inbox, char **room, size_t *n)
{
	if (!inbox->wants_body) {
		*room = inbox->text + inbox->len;
		*n = sizeof inbox->text - inbox->len;
		return *n > 0 ? 0 : ERR_TOO_LONG;
	}
	ASSERT(!inbox_has_body(inbox));
	int ret = inbox->body_len == inbox->body_size ? grow(inbox) : 0;
	if (ret != 0) {
		return ret;
	}
	*room = inbox->body + inbox->body_len;
	*n = inbox->body_size - inbox->body_len;
	return 0;
}

void inbox_put(struct inbox *inbox, size_t n)
{
	if (inbox->wants_body) {
		inbox->body_len += n;
	} else {
		inbox->len += n;
	}
}

bool inbox_line(const struct inbox *inbox, struct span *line)
{
	const char *end = memchr(inbox->text, '\n', inbox->len);
	if (!end) {
		return false;
	}
	*line = span_of(inbox->text, (size_t)(end - inbox->text));
	return true;
}

static void drop_front(struct inbox *inbox, size_t n)
{
	inbox->len -= n;
	memmove(inbox->text, inbox->text + n, inbox->len);
}

void inbox_drop_line(struct inbox *inbox)
{
	struct span line;
	if (inbox_line(inbox, &line)) {
		drop_front(inbox, line.len + 1);
	}
}

int inbox_expect(struct inbox *inbox, size_t len)
{
	ASSERT(!inbox->wants_body);
	inbox->body_want = len;
	int ret = grow(inbox);
	if (ret != 0) {
		return ret;
	}
	inbox->wants_body = true;
	inbox->body_len = least(len, inbox->len);
	memcpy(inbox->body, inbox->text, inbox->body_len);
	drop_front(inbox, inbox->body_len);
	return 0;
}

bool inbox_has_body(const struct inbox *inbox)
{
	return inbox->wants_body && inbox->body_len == inbox->body_want;
}

char *inbox_take_body(struct inbox *inbox, size_t *len)
{
	ASSERT(inbox_has_body(inbox));
	char *body = inbox->body;
	body[inbox->body_len] = '\0';
	*len = inbox->body_len;
	give_back(inbox);
	return body;
}
