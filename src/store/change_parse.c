/* The grammar of a change's line: one row a verb, words cut off from the left. What a change does
 * is change.c. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/err.h"
#include "policy/trap.h"
#include "store/change.h"

enum { SHOWN_MAX = 80 }; /* bytes of a word in a message */

static_assert((int)TRAP_ADDRESS_MAX <= (int)CHANGE_TEXT_BYTES,
              "a mailbox fits the parser's buffer");

struct words {
	struct span rest;
	uint8_t *buf;
	char *why;
};

PRINTF(2, 3) static int explain(const struct words *words, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(words->why, CHANGE_WHY_MAX, format, args);
	va_end(args);
	return ERR_SYNTAX;
}

static int explain_word(const struct words *words, const char *what, struct span word)
{
	char text[SHOWN_MAX];
	return explain(words, "%s %s", what, span_escape(word, text, sizeof text));
}

static struct span take_word(struct words *words)
{
	return span_cut(words->rest, ' ', &words->rest);
}

static int take_address(struct words *words, struct change *out)
{
	struct span word = take_word(words);
	if (addr_parse(word, &out->addr)) {
		return explain_word(words, "invalid ip address", word);
	}
	out->has_addr = true;
	return 0;
}

static int take_number(struct words *words, uint64_t max, uint64_t *out)
{
	struct span word = take_word(words);
	int ret = span_to_u64(word, max, out);
	if (ret == 0 && *out == 0) {
		ret = ERR_RANGE;
	}
	if (ret) {
		(void)explain_word(
		        words, ret == ERR_RANGE ? "number out of range:" : "not a number:", word);
	}
	return ret;
}

static int take_mailbox(struct words *words, struct change *out)
{
	if (words->rest.len > TRAP_ADDRESS_MAX) {
		(void)explain(words, "an address of more than %d bytes", TRAP_ADDRESS_MAX);
		return ERR_TOO_LONG;
	}
	out->text.recipient = trap_address_normalise(words->rest, words->buf);
	words->rest = SPAN("");
	return 0;
}

static int parse_spamtrap(struct words *words, struct change *out)
{
	struct span given = words->rest;
	int ret = take_mailbox(words, out);
	if (ret == 0 && !dump_can_be_spamtrap(out->text.recipient)) {
		ret = explain_word(words, "not an email address:", given);
	}
	return ret;
}

/* A key that is no address names a spamtrap, if anything. */
static int parse_delete(struct words *words, struct change *out)
{
	if (words->rest.len == 0) {
		return explain(words, "no key");
	}
	out->has_addr = addr_parse(words->rest, &out->addr) == 0;
	if (out->has_addr) {
		words->rest = SPAN("");
		return 0;
	}
	return take_mailbox(words, out);
}

static int take_record(struct words *words, int ret, const struct dump_record *record,
                       struct change *out)
{
	if (ret == 0) {
		words->rest = SPAN("");
		out->record_kind = record->kind;
		out->has_addr = record->kind != RECORD_TRAP_ADDRESS;
		out->addr = record->addr;
		out->record = record->record;
		out->text = record->text;
	}
	return ret;
}

static int parse_put(struct words *words, struct change *out)
{
	struct dump_record record;
	int ret = dump_parse(words->rest, words->buf, &record, words->why);
	return take_record(words, ret, &record, out);
}

static int parse_merge(struct words *words, struct change *out)
{
	struct dump_record record;
	int ret = dump_parse_merge(words->rest, words->buf, &record, words->why);
	return take_record(words, ret, &record, out);
}

static int parse_seen(struct words *words, struct change *out)
{
	uint64_t count = 0;
	uint64_t life_secs = 0;
	struct span direction = take_word(words);
	out->is_outbound = span_equal(direction, SPAN("out"));
	if (!out->is_outbound && !span_equal(direction, SPAN("in"))) {
		return explain_word(words, "neither in nor out:", direction);
	}
	int ret = take_address(words, out);
	ret = ret ? ret : take_number(words, UINT32_MAX, &count);
	ret = ret ? ret : take_number(words, CHANGE_LIFE_MAX, &life_secs);
	out->count = (uint32_t)count;
	out->life_secs = (int64_t)life_secs;
	return ret;
}

static const struct {
	const char *word;
	enum change_kind kind;
	int (*parse)(struct words *words, struct change *out);
} verbs[] = {
        {"white", CHANGE_WHITE, take_address},
        {"trapped", CHANGE_TRAPPED, take_address},
        {"spamtrap", CHANGE_SPAMTRAP, parse_spamtrap},
        {"delete", CHANGE_DELETE, parse_delete},
        {"delete-grey", CHANGE_DELETE_GREY, take_address},
        {"put", CHANGE_PUT, parse_put},
        {"merge", CHANGE_MERGE, parse_merge},
        {"seen", CHANGE_SEEN, parse_seen},
};

static int parse_verb(struct words *words, struct change *out)
{
	struct span word = take_word(words);
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (span_equal(word, span_of_str(verbs[i].word))) {
			out->kind = verbs[i].kind;
			return verbs[i].parse(words, out);
		}
	}
	return explain_word(words, "no such change:", word);
}

int change_parse(struct span line, uint8_t buf[static CHANGE_TEXT_BYTES], struct change *out,
                 char why[static CHANGE_WHY_MAX])
{
	struct words words = {.rest = line, .buf = buf, .why = why};
	struct change found = {.text = {SPAN(""), SPAN(""), SPAN("")}};
	why[0] = '\0';
	if (line.len > CHANGE_LINE_MAX) {
		(void)explain(&words, "a line of more than %d bytes", CHANGE_LINE_MAX);
		return ERR_TOO_LONG;
	}
	int ret = parse_verb(&words, &found);
	if (ret == 0 && words.rest.len > 0) {
		ret = explain_word(&words, "too many words:", words.rest);
	}
	if (ret == 0) {
		*out = found;
	}
	return ret;
}
