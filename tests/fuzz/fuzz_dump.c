/* A line of a dump. What is read is printed and read again: it must be the same record, and the
 * second line the same as the first. */
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "store/dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t print(const struct dump_record *record, char out[static DUMP_LINE_MAX])
{
	struct store_row row = {.kind = record->kind,
	                        .key.addr = record->addr,
	                        .record = record->record,
	                        .text = record->text};
	FILE *stream = fmemopen(out, DUMP_LINE_MAX, "w");
	ASSERT(stream && dump_print(&row, stream) == 0);
	long len = ftell(stream);
	ASSERT(fclose(stream) == 0 && len > 0 && out[len - 1] == '\n');
	return (size_t)len - 1;
}

static void same(struct span a, struct span b)
{
	ASSERT(span_equal(a, b));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char once[DUMP_LINE_MAX];
	static char twice[DUMP_LINE_MAX];
	uint8_t first_buf[DUMP_TEXT_BYTES];
	uint8_t second_buf[DUMP_TEXT_BYTES];
	struct dump_record first;
	struct dump_record second;
	char why[DUMP_WHY_MAX];
	if (dump_parse(span_of(data, size), first_buf, &first, why)) {
		ASSERT(why[0] != '\0');
		return 0;
	}
	size_t len = print(&first, once);
	ASSERT(dump_parse(span_of(once, len), second_buf, &second, why) == 0);
	ASSERT(first.kind == second.kind && addr_equal(&first.addr, &second.addr));
	ASSERT(first.record.expire.secs == second.record.expire.secs);
	ASSERT(first.record.pcount == second.record.pcount);
	same(first.text.helo, second.text.helo);
	same(first.text.sender, second.text.sender);
	same(first.text.recipient, second.text.recipient);
	same(span_of(once, len), span_of(twice, print(&second, twice)));
	return 0;
}
