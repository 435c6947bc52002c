/* See log_events.h. */
#include "base/log_events.h"

#include <assert.h>
#include <string.h>

#include "base/compiler.h"

#define ROW(name, level, when, id, text) \
	[LOG_EVENT_##name] = {#name, id, text, LOG_LEVEL_##level, LOG_##when},
static const struct log_event_row rows[LOG_EVENT_COUNT] = {
        [LOG_EVENT_NONE] = {"", "", "", LOG_LEVEL_INFO, LOG_ALWAYS}, LOG_EVENTS(ROW)};
#undef ROW

#define NAME(name, label, help) label,
static const char *const names[] = {LOG_FIELDS(NAME)};
#undef NAME

static_assert(sizeof(struct log_fields) == ARRAY_LEN(names) * sizeof(char *),
              "log_fields_encode takes the struct for an array of values");

enum { LIST_IDX = offsetof(struct log_fields, list) / sizeof(char *) };

const struct log_event_row *log_event_row(enum log_event event)
{
	return &rows[event];
}

/* Returns the bytes written, 0 when they do not fit. */
static size_t put(const char *name, const char *value, size_t len, char *out, size_t size)
{
	size_t name_len = strlen(name);
	size_t value_len = len < LOG_FIELD_BYTES_MAX ? len : LOG_FIELD_BYTES_MAX;
	if (name_len + 1 + value_len + 1 > size) {
		return 0;
	}
	char *at = mempcpy(out, name, name_len);
	*at++ = '=';
	for (size_t i = 0; i < value_len; i++) {
		unsigned char c = (unsigned char)value[i];
		*at++ = value[i];
		if (c < 0x20 || c == 0x7f) {
			at[-1] = '?';
		}
	}
	*at++ = '\n';
	return (size_t)(at - out);
}

/* One field for each word. The three dots for those that had no room name no list. */
static size_t put_words(const char *name, const char *words, char *out, size_t size)
{
	size_t used = 0;
	for (const char *at = words + strspn(words, " "); *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");
		if (len != 3 || memcmp(at, "...", 3) != 0) {
			used += put(name, at, len, out + used, size - used);
		}
		at += len;
	}
	return used;
}

size_t log_fields_encode(const struct log_fields *fields, char *out, size_t size)
{
	const char *values[ARRAY_LEN(names)];
	size_t used = 0;
	memcpy(values, fields, sizeof values);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!values[i]) {
			continue;
		}
		bool has_words = i == LIST_IDX;
		used += has_words ? put_words(names[i], values[i], out + used, size - used)
		                  : put(names[i], values[i], strlen(values[i]), out + used,
		                        size - used);
	}
	return used;
}
