/* Rows of tables about held connections, out of the answer to `held`, for `held` and `top`. Pure.
 * All text is printable ASCII, whatever the answer has. */
#pragma once

#include <jansson.h>
#include <stddef.h>

enum {
	TEXT_ROW_MAX = 512, /* with NUL */
	TEXT_NAME_MAX = 320,
	TEXT_NUMBER_MAX = 24,
};

/* Which table. */
enum held_table { HELD_LONGEST, HELD_NETWORKS, HELD_LISTS, HELD_TABLE_COUNT };

/* Rows the answer has; 0 for NULL. */
size_t held_table_rows(enum held_table table, const json_t *answer);
/* The head of the columns, for a table so many columns wide; it says where counts are not exact. */
void held_table_title(enum held_table table, const json_t *answer, size_t width,
                      char out[static TEXT_ROW_MAX]);
/* A row that held_table_rows counted. */
void held_table_row(enum held_table table, const json_t *answer, size_t idx, size_t width,
                    char out[static TEXT_ROW_MAX]);

/* A JSON string for a terminal, cut; "" for anything else. Returns out. */
const char *text_of(const json_t *string, char *out, size_t size);
/* A duration: 59s, 12m03s, 5h02m, 3d04h. Returns out. */
const char *text_secs(double secs, char out[static TEXT_NUMBER_MAX]);
/* A number in few columns: 999999, then 1.2M, 12M and so on. Returns out. */
const char *text_count(double number, char out[static TEXT_NUMBER_MAX]);
/* Likewise in bytes: 999B, 1.2kB, 12MB. Returns out. */
const char *text_bytes(double number, char out[static TEXT_NUMBER_MAX]);
