/* The two forms of a line. Texts of the store came from the network: none of them may break out of
 * its line. */
#include "miredb/print.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>

static const char *kind_name(enum record_kind kind)
{
	switch (kind) {
	case RECORD_WHITE:
		return "WHITE";
	case RECORD_TRAPPED:
		return "TRAPPED";
	case RECORD_GREY:
		return "GREY";
	case RECORD_TRAP_ADDRESS:
		return "SPAMTRAP";
	}
	return "UNKNOWN";
}

static int stream_error(FILE *out)
{
	return ferror(out) ? -(errno ? errno : EIO) : 0;
}

/* --- spamdb's form ---------------------------------------------------------------------------- */

static void put_text(struct span text, FILE *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (c < ' ' || c == 0x7f) {
			(void)fprintf(out, "\\x%02x", c);
		} else {
			(void)putc(c, out);
		}
	}
	(void)putc('|', out);
}

static void put_counts(const struct grey_record *record, FILE *out)
{
	(void)fprintf(out, "%" PRId64 "|%" PRId64 "|%" PRId64 "|%" PRIu32 "|%" PRIu32 "\n",
	              record->first.secs, record->pass.secs, record->expire.secs, record->bcount,
	              record->pcount);
}

int print_plain(const struct store_row *row, FILE *out)
{
	char address[ADDR_TEXT_MAX];
	(void)fprintf(out, "%s|%s|", kind_name(row->kind), addr_format(&row->key.addr, address));
	switch (row->kind) {
	case RECORD_WHITE:
		(void)fputs("||", out); /* spamdb's empty fields */
		put_counts(&row->record, out);
		break;
	case RECORD_GREY:
		put_text(row->text.helo, out);
		put_text(row->text.sender, out);
		put_text(row->text.recipient, out);
		put_counts(&row->record, out);
		break;
	case RECORD_TRAPPED:
	case RECORD_TRAP_ADDRESS:
		(void)fprintf(out, "%" PRId64 "\n", row->record.expire.secs);
		break;
	}
	return stream_error(out);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static void set_hex(json_t *object, const char *name, struct span text)
{
	static const char digits[] = "0123456789abcdef";
	char key[32];
	char hex[2 * RECORD_STRING_MAX];
	size_t n = text.len < RECORD_STRING_MAX ? text.len : RECORD_STRING_MAX;
	for (size_t i = 0; i < n; i++) {
		hex[2 * i] = digits[text.ptr[i] >> 4];
		hex[2 * i + 1] = digits[text.ptr[i] & 15];
	}
	(void)snprintf(key, sizeof key, "%s_hex", name);
	(void)json_object_set_new(object, key, json_stringn(hex, 2 * n));
}

static json_t *replaced(struct span text)
{
	static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */
	char copy[3 * RECORD_STRING_MAX];
	size_t len = 0;
	for (size_t i = 0; i < text.len && i < RECORD_STRING_MAX; i++) {
		if (text.ptr[i] < 0x80) {
			copy[len++] = (char)text.ptr[i];
		} else {
			memcpy(copy + len, replacement, sizeof replacement - 1);
			len += sizeof replacement - 1;
		}
	}
	return json_stringn(copy, len);
}

static void set_text(json_t *object, const char *name, struct span text)
{
	json_t *value = json_stringn((const char *)text.ptr, text.len);
	if (!value) {
		value = replaced(text);
		set_hex(object, name, text);
	}
	(void)json_object_set_new(object, name, value);
}

static void set_number(json_t *object, const char *name, int64_t n)
{
	(void)json_object_set_new(object, name, json_integer(n));
}

int print_json(const struct store_row *row, FILE *out)
{
	char address[ADDR_TEXT_MAX];
	json_t *object = json_object();
	set_text(object, "kind", span_of_str(kind_name(row->kind)));
	set_text(object, "address", span_of_str(addr_format(&row->key.addr, address)));
	if (row->kind == RECORD_GREY) {
		set_text(object, "helo", row->text.helo);
		set_text(object, "sender", row->text.sender);
		set_text(object, "recipient", row->text.recipient);
	}
	set_number(object, "first", row->record.first.secs);
	set_number(object, "pass", row->record.pass.secs);
	set_number(object, "expire", row->record.expire.secs);
	set_number(object, "bcount", row->record.bcount);
	set_number(object, "pcount", row->record.pcount);
	int ret = json_dumpf(object, out, JSON_COMPACT) ? -(errno ? errno : EIO) : 0;
	json_decref(object);
	(void)putc('\n', out);
	return ret ? ret : stream_error(out);
}
