/* Capability records as cgetent(3) reads them: a text of records, found by name, their fields with
 * tc= replaced. Only for capfile.c. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/span.h"

enum {
	CAPREC_FIELDS_MAX = 4096, /* of one record; bounds what nested tc= multiply */
	CAPREC_DEPTH_MAX = 32,
};

/* One logical line. */
struct caprec {
	struct span text;
	unsigned line_no; /* where it begins */
};

/* Owns its text. */
struct caprecs {
	uint8_t *text; /* continuation lines joined */
	struct caprec *list;
	size_t n;
	size_t n_room;
};

/* The fields of one record, tc= replaced; spans into the records' text. */
struct capfields {
	struct span list[CAPREC_FIELDS_MAX];
	size_t n;
};

/* -ENOMEM. */
MUST_USE int caprecs_read(struct span text, struct caprecs *out);
void caprecs_fini(struct caprecs *recs);
/* The first record with this name or alias; NULL: there is none. */
const struct caprec *caprecs_find(const struct caprecs *recs, struct span name);
/* ERR_NOT_FOUND: a tc= names no record. ERR_RANGE: tc= nested deeper than CAPREC_DEPTH_MAX, as a
 * loop is. ERR_TOO_LONG: more than CAPREC_FIELDS_MAX fields. */
MUST_USE int caprecs_fields(const struct caprecs *recs, const struct caprec *rec,
                            struct capfields *out);

bool capfields_has_flag(const struct capfields *fields, struct span key);
/* The raw value of `key=`; false: absent or cancelled with @. */
bool capfields_string(const struct capfields *fields, struct span key, struct span *value);
/* Decodes escapes of a raw value into a new string. -ENOMEM; ERR_SYNTAX: a NUL. */
MUST_USE int caprec_decode(struct span raw, char **out);
