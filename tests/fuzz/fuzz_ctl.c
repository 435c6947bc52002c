/* What a control client sends: request lines and the bodies they announce, in pieces of any size.
 * A refused line leaves no trace, an accepted one holds nothing but a verb and printable ASCII, a
 * body is exactly the bytes behind its line, and the memory of bodies is always accounted for. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/inbox.h"
#include "ctl/request.h"

enum { BUDGET_BYTES = 200 << 10, BODY_MAX = 150 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_request(const struct request *request, size_t size)
{
	size_t verb_len = strlen(request->verb);
	size_t args_len = strlen(request->args);
	ASSERT(verb_len > 0 && verb_len + args_len <= size);
	ASSERT(strspn(request->verb, "abcdefghijklmnopqrstuvwxyz0123456789-") == verb_len);
	for (size_t i = 0; i < args_len; i++) {
		ASSERT(request->args[i] >= 0x20 && request->args[i] < 0x7f);
	}
}

/* False ends the connection. Each line that ends in a number has a body. */
static bool take_line(struct inbox *inbox, struct span line, size_t *n_taken)
{
	struct request request;
	size_t len = 0;
	size_t line_len = line.len;
	memset(&request, 0xaa, sizeof request);
	int ret = request_parse(line, &request);
	if (ret != 0) {
		ASSERT((uint8_t)request.verb[0] == 0xaa && (uint8_t)request.args[0] == 0xaa);
	} else {
		check_request(&request, line_len);
	}
	inbox_drop_line(inbox);
	*n_taken += line_len + 1;
	if (ret != 0 || request_take_length(&request, BODY_MAX, &len) != 0) {
		return true;
	}
	check_request(&request, line_len);
	ASSERT(len <= BODY_MAX);
	return inbox_expect(inbox, len) == 0;
}

/* Takes all that is complete. */
static bool take_all(struct inbox *inbox, const uint8_t *data, size_t *n_taken)
{
	struct span line;
	for (;;) {
		if (inbox_has_body(inbox)) {
			size_t len;
			char *body = inbox_take_body(inbox, &len);
			ASSERT(memcmp(body, data + *n_taken, len) == 0 && body[len] == '\0');
			free(body);
			*n_taken += len;
		} else if (!inbox->wants_body && inbox_line(inbox, &line)) {
			if (!take_line(inbox, line, n_taken)) {
				return false;
			}
		} else {
			return true;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct inbox inbox;
	struct inbox_budget budget = {BUDGET_BYTES};
	size_t n_taken = 0;
	/* the first byte is the size of the pieces */
	size_t piece = size > 0 ? (size_t)data[0] + 1 : 1;
	inbox_init(&inbox, &budget);
	for (size_t at = 0; at < size;) {
		char *room;
		size_t n;
		if (inbox_room(&inbox, &room, &n) != 0) {
			break;
		}
		n = n < piece ? n : piece;
		n = n < size - at ? n : size - at;
		memcpy(room, data + at, n);
		inbox_put(&inbox, n);
		at += n;
		ASSERT(budget.left_bytes + inbox.body_size == BUDGET_BYTES);
		if (!take_all(&inbox, data, &n_taken)) {
			break;
		}
	}
	inbox_fini(&inbox);
	ASSERT(budget.left_bytes == BUDGET_BYTES);
	return 0;
}
