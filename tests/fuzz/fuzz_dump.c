/* A line of a dump, in either form. What is read is printed and read again: it must be the same
 * record, and the second line the same as the first. */
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "store/dump.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef int print_row(const struct store_row *row, FILE *out);

static size_t print(print_row *printer, const struct dump_record *record,
                    char out[static DUMP_LINE_MAX])
{
	struct store_row row = {.kind = record->kind,
	                        .key.addr = record->addr,
	                        .record = record->record,
	                        .text = record->text};
	FILE *stream = fmemopen(out, DUMP_LINE_MAX, "w");
	ASSERT(stream && printer(&row, stream) == 0);
	long len = ftell(stream);
	ASSERT(fclose(stream) == 0 && len > 0 && out[len - 1] == '\n');
	return (size_t)len - 1;
}

static void same(struct span a, struct span b)
{
	ASSERT(span_equal(a, b));
}

typedef int parse_line(struct span line, uint8_t buf[static DUMP_TEXT_BYTES],
                       struct dump_record *out, char why[static DUMP_WHY_MAX]);

static void there_and_back(struct span line, parse_line *parse, print_row *printer)
{
	static char once[DUMP_LINE_MAX];
	static char twice[DUMP_LINE_MAX];
	uint8_t first_buf[DUMP_TEXT_BYTES];
	uint8_t second_buf[DUMP_TEXT_BYTES];
	struct dump_record first;
	struct dump_record second;
	char why[DUMP_WHY_MAX];
	if (parse(line, first_buf, &first, why)) {
		ASSERT(why[0] != '\0');
		return;
	}
	size_t len = print(printer, &first, once);
	ASSERT(parse(span_of(once, len), second_buf, &second, why) == 0);
	ASSERT(first.kind == second.kind && addr_equal(&first.addr, &second.addr));
	ASSERT(first.record.expire.secs == second.record.expire.secs);
	ASSERT(first.record.changed_at.secs == second.record.changed_at.secs);
	ASSERT(first.record.last.secs == second.record.last.secs);
	ASSERT(first.record.pcount == second.record.pcount);
	ASSERT(first.record.is_deleted == second.record.is_deleted);
	same(first.text.helo, second.text.helo);
	same(first.text.sender, second.text.sender);
	same(first.text.recipient, second.text.recipient);
	same(span_of(once, len), span_of(twice, print(printer, &second, twice)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	there_and_back(span_of(data, size), dump_parse, dump_print);
	there_and_back(span_of(data, size), dump_parse_merge, dump_print_merge);
	return 0;
}
