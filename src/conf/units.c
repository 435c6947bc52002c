/* Durations and sizes as people write them: a whole number and a unit. Pure. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/schema.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* The last one that divides a value is the one it is printed with. */
static const struct unit durations[] = {
        {"ms", 1},
        {"", MS_PER_SEC},
        {"s", MS_PER_SEC},
        {"m", UINT64_C(60) * MS_PER_SEC},
        {"h", UINT64_C(3600) * MS_PER_SEC},
        {"d", UINT64_C(86400) * MS_PER_SEC},
        {"w", UINT64_C(7) * 86400 * MS_PER_SEC},
};

static const struct unit sizes[] = {
        {"", 1},
        {"k", UINT64_C(1) << 10},
        {"m", UINT64_C(1) << 20},
        {"g", UINT64_C(1) << 30},
        {"t", UINT64_C(1) << 40},
};

static int parse_units(const char *text, const struct unit *units, size_t n_units, uint64_t *out)
{
	size_t n_digits = strspn(text, "0123456789");
	struct span suffix = span_of_str(text + n_digits);
	uint64_t value;
	int ret = span_to_u64(span_of(text, n_digits), UINT64_MAX, &value);
	for (size_t i = 0; i < n_units && n_digits > 0; i++) {
		if (!span_equal_nocase(suffix, span_of_str(units[i].name))) {
			continue;
		}
		if (ret != 0 || __builtin_mul_overflow(value, units[i].factor, &value) ||
		    value > INT64_MAX) {
			return ERR_RANGE;
		}
		*out = value;
		return 0;
	}
	return ERR_SYNTAX;
}

int conf_parse_duration_ms(const char *text, int64_t *ms)
{
	uint64_t value;
	int ret = parse_units(text, durations, ARRAY_LEN(durations), &value);
	if (ret == 0) {
		*ms = (int64_t)value;
	}
	return ret;
}

int conf_parse_size(const char *text, uint64_t *bytes)
{
	return parse_units(text, sizes, ARRAY_LEN(sizes), bytes);
}

/* One to four hexadecimal digits, which is what fits. */
static int parse_class_number(struct span text, uint32_t *out)
{
	static const char digits[] = "0123456789abcdef";
	uint32_t number = 0;
	if (text.len == 0 || text.len > 4) {
		return ERR_SYNTAX;
	}
	for (size_t i = 0; i < text.len; i++) {
		uint8_t c =
		        text.ptr[i] >= 'A' && text.ptr[i] <= 'F' ? text.ptr[i] | 0x20 : text.ptr[i];
		const char *digit = c ? strchr(digits, c) : NULL;
		if (!digit) {
			return ERR_SYNTAX;
		}
		number = number << 4 | (uint32_t)(digit - digits);
	}
	*out = number;
	return 0;
}

int conf_parse_class(const char *text, uint32_t *class_id)
{
	enum { ROOT_MAJOR = 0xffff }; /* TC_H_ROOT and TC_H_INGRESS */
	struct span minor_text;
	uint32_t major;
	uint32_t minor;
	if (strcmp(text, "off") == 0) {
		*class_id = 0;
		return 0;
	}
	struct span major_text = span_cut(span_of_str(text), ':', &minor_text);
	int ret = parse_class_number(major_text, &major);
	ret = ret ? ret : parse_class_number(minor_text, &minor);
	if (ret) {
		return ret;
	}
	if (major == 0 || major == ROOT_MAJOR || minor == 0) {
		return ERR_RANGE;
	}
	*class_id = major << 16 | minor;
	return 0;
}

static const char *format_units(uint64_t value, const struct unit *units, size_t n_units,
                                char buf[static 32])
{
	size_t best = 0;
	for (size_t i = 0; i < n_units && value > 0; i++) {
		if (value % units[i].factor == 0) {
			best = i;
		}
	}
	(void)snprintf(buf, 32, "%llu%s", (unsigned long long)(value / units[best].factor),
	               units[best].name);
	return buf;
}

const char *units_format_ms(int64_t ms, char buf[static 32])
{
	static const struct unit seconds = {"s", MS_PER_SEC};
	/* zero would take the first unit; weeks read worse than days */
	return ms == 0 ? format_units(0, &seconds, 1, buf)
	               : format_units((uint64_t)ms, durations, ARRAY_LEN(durations) - 1, buf);
}

const char *units_format_bytes(uint64_t bytes, char buf[static 32])
{
	return format_units(bytes, sizes, ARRAY_LEN(sizes), buf);
}
