/* The one table of texts for our own error codes; the system's come from strerror. */
#include "base/err.h"

#include <stddef.h>
#include <string.h>

static const struct {
	enum err code;
	const char *text;
} texts[] = {
        {ERR_SYNTAX, "syntax error"},       {ERR_RANGE, "number out of range"},
        {ERR_TOO_LONG, "too long"},         {ERR_TRUNCATED, "truncated"},
        {ERR_CORRUPT, "corrupt data"},      {ERR_VERSION, "unknown format version"},
        {ERR_NOT_FOUND, "not found"},       {ERR_BUSY, "in use by another process"},
        {ERR_FULL, "no space left"},        {ERR_PANIC, "store environment must be opened again"},
        {ERR_UNSUPPORTED, "not supported"}, {ERR_CLOSED, "closed by the other side"},
        {ERR_DENIED, "permission denied"},
};

const char *err_text(int code)
{
	if (code == 0) {
		return "no error";
	}
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		if ((int)texts[i].code == code) {
			return texts[i].text;
		}
	}
	return code < 0 && code > -1000 ? strerror(-code) : "unknown error code";
}
