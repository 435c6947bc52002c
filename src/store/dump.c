/* The writer and the reader of dump.h stand next to each other; kind_names and the fields below are
 * shared by both. Texts of the store came from the network: none of them may break out of its line
 * or its field. */
#include "store/dump.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "policy/trap.h"

enum {
	FIELDS_PLAIN = 10, /* of a GREY line */
	FIELDS_MAX = 12,   /* of one in the merge form */
	COUNTS = 5,        /* first, pass, expire, bcount, pcount: the end of a line */
	SHOWN_MAX = 64,    /* bytes of a field in a message */
};

#define TIME_MAX ((UINT64_C(1) << 48) - 1)

static const struct {
	const char *name;
	enum record_kind kind;
} kind_names[] = {
        {"WHITE", RECORD_WHITE},
        {"TRAPPED", RECORD_TRAPPED},
        {"GREY", RECORD_GREY},
        {"SPAMTRAP", RECORD_TRAP_ADDRESS},
};

static bool must_escape(uint8_t c)
{
	return c < ' ' || c == 0x7f || c == '\\' || c == '|';
}

/* --- writing ---------------------------------------------------------------------------------- */

const char *dump_kind_name(enum record_kind kind)
{
	size_t i = 0;
	while (i + 1 < ARRAY_LEN(kind_names) && kind_names[i].kind != kind) {
		i++;
	}
	return kind_names[i].name;
}

static void put_text(struct span text, FILE *out)
{
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.ptr[i];
		if (must_escape(c)) {
			(void)fprintf(out, "\\x%02x", c);
		} else {
			(void)putc(c, out);
		}
	}
}

static void put_field(struct span text, FILE *out)
{
	put_text(text, out);
	(void)putc('|', out);
}

static void put_counts(const struct grey_record *record, FILE *out)
{
	(void)fprintf(out, "%" PRId64 "|%" PRId64 "|%" PRId64 "|%" PRIu32 "|%" PRIu32,
	              record->first.secs, record->pass.secs, record->expire.secs, record->bcount,
	              record->pcount);
}

static void put_address(const struct store_row *row, FILE *out)
{
	char address[ADDR_TEXT_MAX];
	if (row->kind != RECORD_TRAP_ADDRESS) {
		(void)fprintf(out, "%s|", addr_format(&row->key.addr, address));
	}
}

static int end_line(FILE *out)
{
	(void)putc('\n', out);
	return ferror(out) ? -(errno ? errno : EIO) : 0;
}

int dump_print(const struct store_row *row, FILE *out)
{
	(void)fprintf(out, "%s|", dump_kind_name(row->kind));
	put_address(row, out);
	switch (row->kind) {
	case RECORD_WHITE:
		(void)fputs("||", out); /* spamdb's empty fields */
		put_counts(&row->record, out);
		break;
	case RECORD_GREY:
		put_field(row->text.helo, out);
		put_field(row->text.sender, out);
		put_field(row->text.recipient, out);
		put_counts(&row->record, out);
		break;
	case RECORD_TRAPPED:
		(void)fprintf(out, "%" PRId64, row->record.expire.secs);
		break;
	case RECORD_TRAP_ADDRESS:
		put_text(row->text.recipient, out);
		break;
	}
	return end_line(out);
}

int dump_print_merge(const struct store_row *row, FILE *out)
{
	const struct grey_record *record = &row->record;
	(void)fprintf(out, "%c%s|", record->is_deleted ? '-' : '+', dump_kind_name(row->kind));
	put_address(row, out);
	switch (row->kind) {
	case RECORD_WHITE:
	case RECORD_TRAPPED:
		(void)fprintf(out, "%" PRId64 "|", record->changed_at.secs);
		put_counts(record, out);
		break;
	case RECORD_GREY:
		put_field(row->text.helo, out);
		put_field(row->text.sender, out);
		put_field(row->text.recipient, out);
		(void)fprintf(out, "%" PRId64 "|", record->changed_at.secs);
		put_counts(record, out);
		(void)fprintf(out, "|%" PRId64, record->last.secs);
		break;
	case RECORD_TRAP_ADDRESS:
		put_field(row->text.recipient, out);
		(void)fprintf(out, "%" PRId64 "|%" PRId64, record->changed_at.secs,
		              record->first.secs);
		break;
	}
	return end_line(out);
}

/* --- reading ---------------------------------------------------------------------------------- */

/* A line on its way; the first error stays. */
struct parse {
	struct span fields[FIELDS_MAX];
	size_t n_fields;
	uint8_t *buf;
	size_t n_buf;
	int ret;
	char *why;
};

PRINTF(3, 4) static void fault(struct parse *parse, int code, const char *format, ...)
{
	va_list args;
	if (parse->ret) {
		return;
	}
	parse->ret = code;
	va_start(args, format);
	(void)vsnprintf(parse->why, DUMP_WHY_MAX, format, args);
	va_end(args);
}

static void fault_field(struct parse *parse, int code, const char *what, struct span field)
{
	char text[SHOWN_MAX + 1];
	fault(parse, code, "%s %s", what, span_escape(field, text, sizeof text));
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9') {
		return c - '0';
	}
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte of an escape as put_text makes it at the head of `text`, or -1. */
static int escaped_byte(struct span text)
{
	if (text.len < 4 || text.ptr[0] != '\\' || text.ptr[1] != 'x' ||
	    hex_digit(text.ptr[2]) < 0 || hex_digit(text.ptr[3]) < 0) {
		return -1;
	}
	int c = hex_digit(text.ptr[2]) << 4 | hex_digit(text.ptr[3]);
	return must_escape((uint8_t)c) ? c : -1;
}

static struct span get_text(struct parse *parse, struct span field)
{
	uint8_t *text = parse->buf + parse->n_buf;
	size_t len = 0;
	while (field.len > 0) {
		int c = escaped_byte(field);
		if (len == RECORD_STRING_MAX) {
			fault(parse, ERR_TOO_LONG, "a text of more than %d bytes",
			      RECORD_STRING_MAX);
			break;
		}
		text[len++] = c < 0 ? field.ptr[0] : (uint8_t)c;
		field = span_skip(field, c < 0 ? 1 : 4);
	}
	parse->n_buf += len;
	return span_of(text, len);
}

static uint64_t get_number(struct parse *parse, struct span field, uint64_t max)
{
	uint64_t n = 0;
	int ret = span_to_u64(field, max, &n);
	if (ret == ERR_RANGE) {
		fault_field(parse, ret, "number out of range:", field);
	} else if (ret) {
		fault_field(parse, ret, "not a number:", field);
	}
	return n;
}

static struct wall get_time(struct parse *parse, struct span field)
{
	return (struct wall){(int64_t)get_number(parse, field, TIME_MAX)};
}

static struct grey_record get_counts(struct parse *parse, const struct span fields[static COUNTS])
{
	return (struct grey_record){
	        .first = get_time(parse, fields[0]),
	        .pass = get_time(parse, fields[1]),
	        .expire = get_time(parse, fields[2]),
	        .bcount = (uint32_t)get_number(parse, fields[3], UINT32_MAX),
	        .pcount = (uint32_t)get_number(parse, fields[4], UINT32_MAX),
	};
}

static void get_address(struct parse *parse, struct addr *out)
{
	if (addr_parse(parse->fields[1], out)) {
		fault_field(parse, ERR_SYNTAX, "invalid ip address", parse->fields[1]);
	}
}

static bool has_fields(struct parse *parse, size_t n)
{
	if (parse->n_fields != n) {
		fault(parse, ERR_SYNTAX, "%zu fields, expected %zu", parse->n_fields, n);
	}
	return parse->ret == 0;
}

static void parse_white(struct parse *parse, struct dump_record *out)
{
	if (!has_fields(parse, 9)) {
		return;
	}
	get_address(parse, &out->addr);
	for (int i = 2; i < 4; i++) {
		if (parse->fields[i].len > 0) {
			fault_field(parse, ERR_SYNTAX,
			            "a WHITE record with a text:", parse->fields[i]);
		}
	}
	out->record = get_counts(parse, parse->fields + 4);
}

static void parse_grey(struct parse *parse, struct dump_record *out)
{
	bool has_helo = parse->n_fields == FIELDS_PLAIN;
	if (!has_helo && !has_fields(parse, FIELDS_PLAIN - 1)) {
		return;
	}
	const struct span *field = parse->fields + 2;
	get_address(parse, &out->addr);
	out->text.helo = get_text(parse, has_helo ? *field++ : SPAN(""));
	out->text.sender = get_text(parse, *field++);
	out->text.recipient = get_text(parse, *field++);
	out->record = get_counts(parse, field);
}

static void parse_trapped(struct parse *parse, struct dump_record *out)
{
	if (has_fields(parse, 3)) {
		get_address(parse, &out->addr);
		out->record.expire = get_time(parse, parse->fields[2]);
	}
}

bool dump_can_be_spamtrap(struct span address)
{
	return trap_address_is_valid(address) && address.ptr[0] != '<' &&
	       address.ptr[address.len - 1] != '>';
}

static void get_mailbox(struct parse *parse, struct dump_record *out)
{
	uint8_t normal[TRAP_ADDRESS_MAX];
	struct span text = get_text(parse, parse->fields[1]);
	struct span address = trap_address_normalise(text, normal);
	if (!dump_can_be_spamtrap(address)) {
		fault_field(parse, ERR_SYNTAX, "not an email address:", text);
		return;
	}
	memcpy(parse->buf, address.ptr, address.len);
	out->text.recipient = span_of(parse->buf, address.len);
}

static void parse_spamtrap(struct parse *parse, struct dump_record *out)
{
	if (has_fields(parse, 2)) {
		get_mailbox(parse, out);
	}
}

/* greyd keeps the domains that may be mailed to in its database; here they have a file. */
static void parse_domain(struct parse *parse, struct dump_record *out)
{
	(void)out;
	fault(parse, ERR_UNSUPPORTED, "a DOMAIN belongs into the file of allowed domains");
}

/* CHANGED and what follows it. */
static void get_stamped(struct parse *parse, const struct span *field, struct dump_record *out)
{
	out->record = get_counts(parse, field + 1);
	out->record.changed_at = get_time(parse, field[0]);
}

static void parse_merge_host(struct parse *parse, struct dump_record *out)
{
	if (has_fields(parse, 8)) {
		get_address(parse, &out->addr);
		get_stamped(parse, parse->fields + 2, out);
	}
}

static void parse_merge_grey(struct parse *parse, struct dump_record *out)
{
	const struct span *field = parse->fields + 2;
	if (!has_fields(parse, FIELDS_MAX)) {
		return;
	}
	get_address(parse, &out->addr);
	out->text.helo = get_text(parse, *field++);
	out->text.sender = get_text(parse, *field++);
	out->text.recipient = get_text(parse, *field++);
	get_stamped(parse, field, out);
	out->record.last = get_time(parse, parse->fields[FIELDS_MAX - 1]);
}

static void parse_merge_spamtrap(struct parse *parse, struct dump_record *out)
{
	if (has_fields(parse, 4)) {
		get_mailbox(parse, out);
		out->record.changed_at = get_time(parse, parse->fields[2]);
		out->record.first = get_time(parse, parse->fields[3]);
	}
}

struct line_kind {
	const char *name;
	enum record_kind kind;
	void (*parse)(struct parse *parse, struct dump_record *out);
};

static const struct line_kind line_kinds[] = {
        {"WHITE", RECORD_WHITE, parse_white},
        {"TRAPPED", RECORD_TRAPPED, parse_trapped},
        {"GREY", RECORD_GREY, parse_grey},
        {"SPAMTRAP", RECORD_TRAP_ADDRESS, parse_spamtrap},
        {"DOMAIN", RECORD_TRAP_ADDRESS, parse_domain},
};

/* Behind the sign. */
static const struct line_kind merge_kinds[] = {
        {"WHITE", RECORD_WHITE, parse_merge_host},
        {"TRAPPED", RECORD_TRAPPED, parse_merge_host},
        {"GREY", RECORD_GREY, parse_merge_grey},
        {"SPAMTRAP", RECORD_TRAP_ADDRESS, parse_merge_spamtrap},
};

/* Cuts off what is behind the last `|`. */
static struct span take_last(struct span *rest)
{
	size_t i = rest->len;
	while (i > 0 && rest->ptr[i - 1] != '|') {
		i--;
	}
	struct span field = span_of(rest->ptr + i, rest->len - i);
	rest->len = i > 0 ? i - 1 : 0;
	return field;
}

/* Cuts off what begins with the last `<` that follows a `|`; false when there is none. */
static bool take_last_mailbox(struct span *rest, struct span *field)
{
	size_t i = rest->len;
	while (i > 1 && (rest->ptr[i - 1] != '<' || rest->ptr[i - 2] != '|')) {
		i--;
	}
	if (i <= 1) {
		return false;
	}
	*field = span_of(rest->ptr + i - 1, rest->len - i + 1);
	rest->len = i - 2;
	return true;
}

/* A line with bare `|` in its texts: the kind and the address from the front, the counts from the
 * end, mailboxes where they begin. */
static void split_odd_grey(struct parse *parse, struct span line)
{
	struct span rest = line;
	parse->fields[0] = span_cut(rest, '|', &rest);
	parse->fields[1] = span_cut(rest, '|', &rest);
	for (size_t i = FIELDS_PLAIN; i > FIELDS_PLAIN - COUNTS; i--) {
		parse->fields[i - 1] = take_last(&rest);
	}
	parse->n_fields = FIELDS_PLAIN;
	if (!take_last_mailbox(&rest, &parse->fields[4]) ||
	    !take_last_mailbox(&rest, &parse->fields[3])) {
		fault(parse, ERR_SYNTAX, "too many fields");
	}
	parse->fields[2] = rest;
}

static size_t count_fields(struct span line)
{
	size_t n = 1;
	for (size_t i = 0; i < line.len; i++) {
		n += line.ptr[i] == '|';
	}
	return n;
}

static void split(struct parse *parse, struct span line, size_t n_max)
{
	size_t n = count_fields(line);
	if (n > n_max) {
		fault(parse, ERR_SYNTAX, "too many fields");
		return;
	}
	for (struct span rest = line; parse->n_fields < n;) {
		parse->fields[parse->n_fields++] = span_cut(rest, '|', &rest);
	}
}

/* Looks for the record's name among those of the form. */
static void parse_kind(struct parse *parse, const struct line_kind *kinds, size_t n_kinds,
                       struct dump_record *out)
{
	for (size_t i = 0; i < n_kinds && parse->ret == 0; i++) {
		if (span_equal(parse->fields[0], span_of_str(kinds[i].name))) {
			out->kind = kinds[i].kind;
			kinds[i].parse(parse, out);
			return;
		}
	}
	fault_field(parse, ERR_SYNTAX, "no kind of record:", parse->fields[0]);
}

static bool is_odd_grey(struct span line)
{
	return count_fields(line) > FIELDS_PLAIN && memcmp(line.ptr, "GREY|", 5) == 0;
}

bool dump_is_merge(struct span line)
{
	return line.len > 0 && (line.ptr[0] == '+' || line.ptr[0] == '-');
}

static void parse_plain(struct parse *parse, struct span line, struct dump_record *out)
{
	if (dump_is_merge(line)) {
		fault(parse, ERR_SYNTAX, "a record for import --merge");
	} else if (is_odd_grey(line)) {
		split_odd_grey(parse, line);
	} else {
		split(parse, line, FIELDS_PLAIN);
	}
	parse_kind(parse, line_kinds, ARRAY_LEN(line_kinds), out);
}

static void parse_merge(struct parse *parse, struct span line, struct dump_record *out)
{
	if (!dump_is_merge(line)) {
		fault(parse, ERR_SYNTAX, "neither + nor - at its head");
		return;
	}
	split(parse, span_skip(line, 1), FIELDS_MAX);
	parse_kind(parse, merge_kinds, ARRAY_LEN(merge_kinds), out);
	out->record.is_deleted = line.ptr[0] == '-';
}

typedef void parse_form(struct parse *parse, struct span line, struct dump_record *out);

static int parse_line(struct parse *parse, struct span line, parse_form *form,
                      struct dump_record *out)
{
	struct dump_record found = {.text = {SPAN(""), SPAN(""), SPAN("")}};
	parse->why[0] = '\0';
	if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
		line.len--;
	}
	if (line.len > DUMP_LINE_MAX) {
		fault(parse, ERR_TOO_LONG, "a line of more than %d bytes", DUMP_LINE_MAX);
	} else {
		form(parse, line, &found);
	}
	if (parse->ret == 0) {
		*out = found;
	}
	return parse->ret;
}

int dump_parse(struct span line, uint8_t buf[static DUMP_TEXT_BYTES], struct dump_record *out,
               char why[static DUMP_WHY_MAX])
{
	struct parse parse = {.buf = buf, .why = why};
	return parse_line(&parse, line, parse_plain, out);
}

int dump_parse_merge(struct span line, uint8_t buf[static DUMP_TEXT_BYTES], struct dump_record *out,
                     char why[static DUMP_WHY_MAX])
{
	struct parse parse = {.buf = buf, .why = why};
	return parse_line(&parse, line, parse_merge, out);
}
