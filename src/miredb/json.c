/* The JSON form of a record. Texts of the store came from the network and need not be UTF-8. */
#include "miredb/json.h"

#include <errno.h>
#include <string.h>

#include "store/dump.h"

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

json_t *json_of_row(const struct store_row *row)
{
	char address[ADDR_TEXT_MAX];
	json_t *object = json_object();
	set_text(object, "kind", span_of_str(dump_kind_name(row->kind)));
	if (row->kind == RECORD_TRAP_ADDRESS) {
		set_text(object, "address", row->text.recipient);
		set_number(object, "first", row->record.first.secs);
		return object;
	}
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
	return object;
}

int json_print(json_t *object, FILE *out)
{
	int ret = json_dumpf(object, out, JSON_COMPACT) ? -(errno ? errno : EIO) : 0;
	json_decref(object);
	(void)putc('\n', out);
	return ret == 0 && ferror(out) ? -(errno ? errno : EIO) : ret;
}

int json_print_row(const struct store_row *row, FILE *out)
{
	return json_print(json_of_row(row), out);
}
