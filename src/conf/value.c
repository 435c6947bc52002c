/* One value of the configuration: from text into its field, from its field to text. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/schema.h"

enum {
	INTERFACE_NAME_MAX = 15,
	PEER_NAME_MAX = 127, /* sync/setup.h: SYNC_NAME_MAX, with NUL */
	SHOWN_MAX = 80,
};

static void *field_of(struct conf *conf, const struct schema_row *row)
{
	return (char *)conf + row->offset;
}

static const void *const_field_of(const struct conf *conf, const struct schema_row *row)
{
	return (const char *)conf + row->offset;
}

static size_t *count_of(struct conf *conf, const struct schema_row *row)
{
	return (size_t *)(void *)((char *)conf + row->count_offset);
}

static size_t list_length(const struct conf *conf, const struct schema_row *row)
{
	return *(const size_t *)(const void *)((const char *)conf + row->count_offset);
}

static int refuse(int code, const struct schema_row *row, const char *text,
                  char why[static SCHEMA_WHY_MAX])
{
	char shown[SHOWN_MAX];
	FILE *out = fmemopen(why, SCHEMA_WHY_MAX, "w");
	if (!out) {
		why[0] = '\0';
		return code;
	}
	(void)fprintf(out, "\"%s\" is %s: ", span_escape(span_of_str(text), shown, sizeof shown),
	              code == ERR_RANGE ? "out of range" : "not a good value");
	value_print_range(row, out);
	(void)fclose(out);
	why[SCHEMA_WHY_MAX - 1] = '\0';
	return code;
}

static int find_word(const char *const *words, const char *text)
{
	for (int i = 0; words && words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			return i;
		}
	}
	return ERR_SYNTAX;
}

/* The number a text stands for, in the unit of the row's bounds. */
static int parse_number(const struct schema_row *row, const char *text, uint64_t *out)
{
	int64_t ms;
	int ret;
	switch (row->kind) {
	case SCHEMA_MS:
	case SCHEMA_SECS:
		ret = conf_parse_duration_ms(text, &ms);
		if (ret == 0 && row->kind == SCHEMA_SECS) {
			ret = ms % 1000 == 0 ? 0 : ERR_RANGE;
			ms /= 1000;
		}
		*out = ret == 0 ? (uint64_t)ms : 0;
		return ret;
	case SCHEMA_BYTES32:
	case SCHEMA_BYTES64:
		return conf_parse_size(text, out);
	case SCHEMA_U16:
	case SCHEMA_U32:
	case SCHEMA_U64:
		return span_to_u64(span_of_str(text), UINT64_MAX, out);
	case SCHEMA_BOOL:
	case SCHEMA_WORD:
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
	case SCHEMA_PATH:
	case SCHEMA_ADDRS:
	case SCHEMA_INTERFACES:
	case SCHEMA_PEERS:
		break;
	}
	return ERR_SYNTAX;
}

static void store_number(void *field, enum schema_kind kind, uint64_t value)
{
	if (kind == SCHEMA_U16) {
		*(uint16_t *)field = (uint16_t)value;
	} else if (kind == SCHEMA_SECS) {
		*(int64_t *)field = (int64_t)value;
	} else if (kind == SCHEMA_U64 || kind == SCHEMA_BYTES64) {
		*(uint64_t *)field = value;
	} else {
		*(uint32_t *)field = (uint32_t)value;
	}
}

static uint64_t load_number(const void *field, enum schema_kind kind)
{
	if (kind == SCHEMA_U16) {
		return *(const uint16_t *)field;
	}
	if (kind == SCHEMA_SECS) {
		return (uint64_t) * (const int64_t *)field;
	}
	if (kind == SCHEMA_U64 || kind == SCHEMA_BYTES64) {
		return *(const uint64_t *)field;
	}
	return *(const uint32_t *)field;
}

/* What the row's word stands for: a number that is out of its bounds. */
static uint64_t word_number(const struct schema_row *row)
{
	return row->min == 0 ? UINT32_MAX : 0;
}

static int set_number(struct conf *conf, const struct schema_row *row, const char *text)
{
	uint64_t value = 0;
	if (row->words && strcmp(text, row->words[0]) == 0) {
		store_number(field_of(conf, row), row->kind, word_number(row));
		return 0;
	}
	int ret = parse_number(row, text, &value);
	if (ret == 0 && (value < (uint64_t)row->min || value > (uint64_t)row->max)) {
		ret = ERR_RANGE;
	}
	if (ret == 0) {
		store_number(field_of(conf, row), row->kind, value);
	}
	return ret;
}

static int set_word(struct conf *conf, const struct schema_row *row, const char *text)
{
	int word = find_word(row->words, text);
	if (word < 0) {
		return word;
	}
	if (row->kind == SCHEMA_BOOL) {
		*(bool *)field_of(conf, row) = word != 0;
	} else {
		store_number(field_of(conf, row), row->kind, (uint64_t)word);
	}
	return 0;
}

static bool is_name_byte(unsigned char c, const char *extra)
{
	return isascii(c) && (isalnum(c) || (c != '\0' && strchr(extra, c)));
}

static bool is_good_string(const struct schema_row *row, const char *text)
{
	if (row->kind == SCHEMA_PATH && text[0] != '/') {
		return false;
	}
	if (row->kind == SCHEMA_NAME && !isalpha((unsigned char)text[0]) && text[0] != '_') {
		return false;
	}
	for (const char *c = text; *c; c++) {
		unsigned char byte = (unsigned char)*c;
		bool is_good = row->kind == SCHEMA_NAME   ? is_name_byte(byte, "_-.")
		               : row->kind == SCHEMA_PATH ? byte >= 0x20 && byte != 0x7f
		                                          : byte >= 0x20 && byte < 0x7f;
		if (!is_good) {
			return false;
		}
	}
	return true;
}

static int set_string(struct conf *conf, const struct schema_row *row, const char *text)
{
	size_t len = strlen(text);
	if (!is_good_string(row, text)) {
		return ERR_SYNTAX;
	}
	if (len < (size_t)row->min || len > (size_t)row->max) {
		return ERR_RANGE;
	}
	char *copy = strdup(text);
	if (!copy) {
		return -ENOMEM;
	}
	char **field = field_of(conf, row);
	free(*field);
	*field = copy;
	return 0;
}

static int add_addr(struct conf *conf, const struct schema_row *row, const char *text)
{
	struct addr *list = field_of(conf, row);
	size_t *count = count_of(conf, row);
	struct addr addr;
	int ret = addr_parse(span_of_str(text), &addr);
	if (ret != 0) {
		return ret;
	}
	if (*count == (size_t)row->max) {
		return ERR_TOO_LONG;
	}
	list[*count] = addr;
	(*count)++;
	return 0;
}

/* The name of an interface or a peer. */
static int add_name(struct conf *conf, const struct schema_row *row, const char *text)
{
	size_t len_max = row->kind == SCHEMA_PEERS ? PEER_NAME_MAX : INTERFACE_NAME_MAX;
	char **list = field_of(conf, row);
	size_t *count = count_of(conf, row);
	size_t len = strlen(text);
	if (len == 0 || len > len_max) {
		return ERR_SYNTAX;
	}
	for (size_t i = 0; i < len; i++) {
		if (!is_name_byte((unsigned char)text[i], "_-.:@+")) {
			return ERR_SYNTAX;
		}
	}
	if (*count == (size_t)row->max) {
		return ERR_TOO_LONG;
	}
	list[*count] = strdup(text);
	if (!list[*count]) {
		return -ENOMEM;
	}
	(*count)++;
	return 0;
}

static int set(struct conf *conf, const struct schema_row *row, const char *text)
{
	switch (row->kind) {
	case SCHEMA_BOOL:
	case SCHEMA_WORD:
		return set_word(conf, row, text);
	case SCHEMA_U16:
	case SCHEMA_U32:
	case SCHEMA_U64:
	case SCHEMA_BYTES32:
	case SCHEMA_BYTES64:
	case SCHEMA_MS:
	case SCHEMA_SECS:
		return set_number(conf, row, text);
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
	case SCHEMA_PATH:
		return set_string(conf, row, text);
	case SCHEMA_ADDRS:
		return add_addr(conf, row, text);
	case SCHEMA_INTERFACES:
	case SCHEMA_PEERS:
		return add_name(conf, row, text);
	}
	return ERR_SYNTAX;
}

int value_set(struct conf *conf, const struct schema_row *row, const char *text, bool is_first,
              char why[static SCHEMA_WHY_MAX])
{
	if (is_first && schema_is_list(row)) {
		value_clear(conf, row);
	}
	int ret = set(conf, row, text);
	if (ret == ERR_TOO_LONG) {
		(void)snprintf(why, SCHEMA_WHY_MAX, "more than %d values", (int)row->max);
	} else if (ret == ERR_SYNTAX || ret == ERR_RANGE) {
		return refuse(ret, row, text, why);
	} else if (ret != 0) {
		(void)snprintf(why, SCHEMA_WHY_MAX, "%s", err_text(ret));
	}
	return ret;
}

/* A list's default is written as words. */
static int set_default(struct conf *conf, const struct schema_row *row,
                       char why[static SCHEMA_WHY_MAX])
{
	struct span rest = span_of_str(row->def);
	char word[ADDR_TEXT_MAX];
	int ret = 0;
	if (!schema_is_list(row)) {
		return value_set(conf, row, row->def, true, why);
	}
	for (bool is_first = true; ret == 0 && rest.len > 0; is_first = false) {
		(void)span_to_str(span_cut(rest, ' ', &rest), word, sizeof word);
		ret = value_set(conf, row, word, is_first, why);
	}
	return ret;
}

int value_set_defaults(struct conf *conf, char why[static SCHEMA_WHY_MAX])
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		int ret = schema_rows[i].def ? set_default(conf, &schema_rows[i], why) : 0;
		if (ret != 0) {
			return ret;
		}
	}
	return 0;
}

void value_clear(struct conf *conf, const struct schema_row *row)
{
	if (row->kind == SCHEMA_TEXT || row->kind == SCHEMA_NAME || row->kind == SCHEMA_PATH) {
		char **field = field_of(conf, row);
		free(*field);
		*field = NULL;
	}
	if (row->kind == SCHEMA_INTERFACES || row->kind == SCHEMA_PEERS) {
		char **list = field_of(conf, row);
		for (size_t i = 0; i < list_length(conf, row); i++) {
			free(list[i]);
			list[i] = NULL;
		}
	}
	if (schema_is_list(row)) {
		*count_of(conf, row) = 0;
	}
}

/* In single quotes nothing is expanded but the two escapes. NULL: a text that nobody has set. */
static void print_quoted(const char *text, FILE *out)
{
	(void)fputc('\'', out);
	for (; text && *text; text++) {
		if (*text == '\'' || *text == '\\') {
			(void)fputc('\\', out);
		}
		(void)fputc(*text, out);
	}
	(void)fputc('\'', out);
}

static void print_list(const struct conf *conf, const struct schema_row *row, FILE *out)
{
	char buf[ADDR_TEXT_MAX];
	(void)fputc('{', out);
	for (size_t i = 0; i < list_length(conf, row); i++) {
		(void)fputs(i > 0 ? ", " : "", out);
		const void *list = const_field_of(conf, row);
		print_quoted(row->kind == SCHEMA_ADDRS
		                     ? addr_format((const struct addr *)list + i, buf)
		                     : ((char *const *)list)[i],
		             out);
	}
	(void)fputc('}', out);
}

static void print_number(const struct schema_row *row, uint64_t value, FILE *out)
{
	char buf[32];
	if (row->kind == SCHEMA_MS) {
		(void)fputs(units_format_ms((int64_t)value, buf), out);
	} else if (row->kind == SCHEMA_SECS) {
		(void)fputs(units_format_ms((int64_t)value * 1000, buf), out);
	} else if (row->kind == SCHEMA_BYTES32 || row->kind == SCHEMA_BYTES64) {
		(void)fputs(units_format_bytes(value, buf), out);
	} else if (row->words && value == word_number(row)) {
		(void)fputs(row->words[0], out);
	} else {
		(void)fprintf(out, "%llu", (unsigned long long)value);
	}
}

void value_print(const struct conf *conf, const struct schema_row *row, FILE *out)
{
	const void *field = const_field_of(conf, row);
	if (schema_is_list(row)) {
		print_list(conf, row, out);
	} else if (row->kind == SCHEMA_TEXT || row->kind == SCHEMA_NAME ||
	           row->kind == SCHEMA_PATH) {
		print_quoted(*(char *const *)field, out);
	} else if (row->kind == SCHEMA_BOOL) {
		(void)fputs(row->words[*(const bool *)field], out);
	} else if (row->kind == SCHEMA_WORD) {
		(void)fputs(row->words[load_number(field, row->kind)], out);
	} else {
		print_number(row, load_number(field, row->kind), out);
	}
}

char *value_text(const struct conf *conf, const struct schema_row *row)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	if (!out) {
		return NULL;
	}
	value_print(conf, row, out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* --- copying ---------------------------------------------------------------------------------- */

static int copy_string(struct conf *to, const struct conf *from, const struct schema_row *row)
{
	const char *text = *(char *const *)const_field_of(from, row);
	char *copy = text ? strdup(text) : NULL;
	if (text && !copy) {
		return -ENOMEM;
	}
	value_clear(to, row);
	*(char **)field_of(to, row) = copy;
	return 0;
}

static int copy_names(struct conf *to, const struct conf *from, const struct schema_row *row)
{
	char *const *names = const_field_of(from, row);
	char **copies = field_of(to, row);
	value_clear(to, row);
	for (size_t i = 0; i < list_length(from, row); i++) {
		copies[i] = strdup(names[i]);
		if (!copies[i]) {
			value_clear(to, row);
			return -ENOMEM;
		}
		*count_of(to, row) = i + 1;
	}
	return 0;
}

static void copy_addrs(struct conf *to, const struct conf *from, const struct schema_row *row)
{
	size_t n = list_length(from, row);
	memcpy(field_of(to, row), const_field_of(from, row), n * sizeof(struct addr));
	*count_of(to, row) = n;
}

int value_copy(struct conf *to, const struct conf *from, const struct schema_row *row)
{
	switch (row->kind) {
	case SCHEMA_BOOL:
		*(bool *)field_of(to, row) = *(const bool *)const_field_of(from, row);
		return 0;
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
	case SCHEMA_PATH:
		return copy_string(to, from, row);
	case SCHEMA_ADDRS:
		copy_addrs(to, from, row);
		return 0;
	case SCHEMA_INTERFACES:
	case SCHEMA_PEERS:
		return copy_names(to, from, row);
	case SCHEMA_WORD:
	case SCHEMA_U16:
	case SCHEMA_U32:
	case SCHEMA_U64:
	case SCHEMA_BYTES32:
	case SCHEMA_BYTES64:
	case SCHEMA_MS:
	case SCHEMA_SECS:
		break;
	}
	store_number(field_of(to, row), row->kind,
	             load_number(const_field_of(from, row), row->kind));
	return 0;
}

/* --- ranges ----------------------------------------------------------------------------------- */

static void print_words(const struct schema_row *row, FILE *out)
{
	for (size_t i = 0; row->words && row->words[i]; i++) {
		(void)fprintf(out, "%s%s", i > 0 ? ", " : "", row->words[i]);
	}
}

void value_print_range(const struct schema_row *row, FILE *out)
{
	switch (row->kind) {
	case SCHEMA_BOOL:
	case SCHEMA_WORD:
		print_words(row, out);
		return;
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
		(void)fprintf(out, "%s of %d to %d characters",
		              row->kind == SCHEMA_TEXT ? "printable text" : "a plain name",
		              (int)row->min, (int)row->max);
		return;
	case SCHEMA_PATH:
		(void)fprintf(out, "absolute path of at most %d bytes", (int)row->max);
		return;
	case SCHEMA_ADDRS:
		(void)fputs("IPv4 or IPv6 addresses", out);
		return;
	case SCHEMA_INTERFACES:
		(void)fputs("names of network interfaces", out);
		return;
	case SCHEMA_PEERS:
		(void)fputs("host names, IPv4 addresses, or interface[:ttl]", out);
		return;
	case SCHEMA_U16:
	case SCHEMA_U32:
	case SCHEMA_U64:
	case SCHEMA_BYTES32:
	case SCHEMA_BYTES64:
	case SCHEMA_MS:
	case SCHEMA_SECS:
		break;
	}
	(void)fputs(row->words ? row->words[0] : "", out);
	(void)fputs(row->words ? ", " : "", out);
	print_number(row, (uint64_t)row->min, out);
	(void)fputs(" to ", out);
	print_number(row, (uint64_t)row->max, out);
}
