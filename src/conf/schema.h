/* The table of all keys and what can be done with one row of it. Internal to conf. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"
#include "conf/conf.h"

enum schema_kind {
	SCHEMA_BOOL, /* bool: yes | no */
	/* numbers: words[0], if any, stands for 0, or where 0 is in bounds for UINT32_MAX */
	SCHEMA_U16,        /* uint16_t, min..max */
	SCHEMA_U32,        /* uint32_t, min..max */
	SCHEMA_U64,        /* uint64_t, min..max */
	SCHEMA_BYTES32,    /* uint32_t with k, m, g */
	SCHEMA_BYTES64,    /* uint64_t with k, m, g, t */
	SCHEMA_MS,         /* uint32_t from a duration; bounds in ms */
	SCHEMA_SECS,       /* int64_t from a duration of whole seconds; bounds in s */
	SCHEMA_TEXT,       /* char *, printable ASCII, bounds are its length */
	SCHEMA_NAME,       /* char *, letters digits _ - . beginning with a letter or _ */
	SCHEMA_PATH,       /* char *, absolute */
	SCHEMA_WORD,       /* enum, one of words */
	SCHEMA_ADDRS,      /* array of struct addr, at most max; its count at count_offset */
	SCHEMA_INTERFACES, /* array of char *, at most max; its count at count_offset */
	SCHEMA_PEERS,      /* likewise: names, addresses or interface[:ttl] */
};

struct schema_row {
	const char *name;
	char letter; /* option letter, 0 = long option only */
	enum schema_kind kind;
	size_t offset;
	size_t count_offset;
	int64_t min;
	int64_t max;
	const char *const *words; /* ends with NULL */
	const char *def;          /* as in a file; NULL: empty list, or found out at start */
	const char *help;
	enum conf_reload reload; /* 0: a new key takes a restart until somebody says otherwise */
};

enum { SCHEMA_WHY_MAX = 256, SCHEMA_ROWS_MAX = 128 };

extern const struct schema_row schema_rows[];
extern const size_t schema_n_rows;

bool schema_is_list(const struct schema_row *row);
/* NULL when there is none. */
const struct schema_row *schema_find(const char *name);
const struct schema_row *schema_find_letter(char letter);

/* Sets the field from text. For a list: is_first empties it before, then the value is appended.
 * On failure why says what is wrong with the value, without naming the key, and the field is
 * untouched. ERR_SYNTAX, ERR_RANGE, ERR_TOO_LONG (list), -ENOMEM. */
MUST_USE int value_set(struct conf *conf, const struct schema_row *row, const char *text,
                       bool is_first, char why[static SCHEMA_WHY_MAX]);
/* The default of every row that has one. */
MUST_USE int value_set_defaults(struct conf *conf, char why[static SCHEMA_WHY_MAX]);
/* Writes the value as value_set and libconfuse read it. */
void value_print(const struct conf *conf, const struct schema_row *row, FILE *out);
/* "1s to 24h", "yes, no", ... for messages and help. */
void value_print_range(const struct schema_row *row, FILE *out);
/* The same as newly allocated text; NULL: no memory. */
char *value_text(const struct conf *conf, const struct schema_row *row);
/* Makes the field of `to` the same as that of `from`, with memory of its own. -ENOMEM: a list may
 * be empty then. */
MUST_USE int value_copy(struct conf *to, const struct conf *from, const struct schema_row *row);
/* Frees what value_set allocated. */
void value_clear(struct conf *conf, const struct schema_row *row);

/* Writes ms as text that conf_parse_duration_ms reads back. Returns buf. */
const char *units_format_ms(int64_t ms, char buf[static 32]);
const char *units_format_bytes(uint64_t bytes, char buf[static 32]);

/* Parses the text of a configuration file into *conf (file or conf_print's text); `label` is
 * named in messages. parse.c, the one user of libconfuse. */
MUST_USE int parse_text(struct conf *conf, char *text, size_t len, const char *label,
                        char why[static CONF_ERROR_MAX]);

/* First pass over the command line: everything but values. *file is set for -f. */
MUST_USE int options_scan(int argc, char **argv, struct conf_cli *cli, const char **file,
                          char why[static CONF_ERROR_MAX]);
/* Second pass: the values. */
MUST_USE int options_apply(struct conf *conf, int argc, char **argv,
                           char why[static CONF_ERROR_MAX]);

/* Conditions between keys. */
MUST_USE int check_conf(const struct conf *conf, char why[static CONF_ERROR_MAX]);
