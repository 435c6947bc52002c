#include "mired/exposition.h"

#include <stdbool.h>
#include <string.h>

#include "base/compiler.h"

#define TOTAL "_total"

static const char *const type_names[] = {
        [EXPOSITION_COUNTER] = "counter",
        [EXPOSITION_GAUGE] = "gauge",
        [EXPOSITION_HISTOGRAM] = "histogram",
};

static const char *const units[] = {"seconds", "bytes"};

/* What all names of the family have in common. */
static size_t family_len(const struct exposition *exposition)
{
	size_t len = strlen(exposition->name);
	size_t n = strlen(TOTAL);
	bool is_total = len > n && strcmp(exposition->name + len - n, TOTAL) == 0;
	return exposition->format == EXPOSITION_OPENMETRICS && is_total ? len - n : len;
}

static void write_unit(struct exposition *exposition, int len)
{
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		int n = (int)strlen(units[i]);
		if (len > n && exposition->name[len - n - 1] == '_' &&
		    strncmp(exposition->name + len - n, units[i], (size_t)n) == 0) {
			(void)fprintf(exposition->out, "# UNIT %.*s %s\n", len, exposition->name,
			              units[i]);
		}
	}
}

void exposition_begin(struct exposition *exposition, enum exposition_type type, const char *name,
                      const char *help)
{
	(void)snprintf(exposition->name, sizeof exposition->name, "%s", name);
	int len = (int)family_len(exposition);
	(void)fprintf(exposition->out, "# HELP %.*s %s\n", len, name, help);
	(void)fprintf(exposition->out, "# TYPE %.*s %s\n", len, name, type_names[type]);
	if (exposition->format == EXPOSITION_OPENMETRICS) {
		write_unit(exposition, len);
	}
}

static void write_label_value(FILE *out, const char *value)
{
	for (; *value != '\0'; value++) {
		if (*value == '\n') {
			(void)fputs("\\n", out);
			continue;
		}
		if (*value == '\\' || *value == '"') {
			(void)fputc('\\', out);
		}
		(void)fputc(*value, out);
	}
}

static void write_name(struct exposition *exposition, const struct exposition_label *label)
{
	(void)fputs(exposition->name, exposition->out);
	if (label) {
		(void)fprintf(exposition->out, "{%s=\"", label->name);
		write_label_value(exposition->out, label->value);
		(void)fputs("\"}", exposition->out);
	}
}

void exposition_count(struct exposition *exposition, const struct exposition_label *label,
                      uint64_t value)
{
	write_name(exposition, label);
	(void)fprintf(exposition->out, " %llu\n", (unsigned long long)value);
}

void exposition_number(struct exposition *exposition, const struct exposition_label *label,
                       double value)
{
	write_name(exposition, label);
	(void)fprintf(exposition->out, " %.12g\n", value);
}

void exposition_histogram(struct exposition *exposition, const struct latency_figures *figures)
{
	const char *name = exposition->name;
	for (size_t i = 0; i < LATENCY_EDGES; i++) {
		(void)fprintf(exposition->out, "%s_bucket{le=\"%g\"} %llu\n", name,
		              latency_edge_secs(i), (unsigned long long)figures->n_within[i]);
	}
	(void)fprintf(exposition->out, "%s_bucket{le=\"+Inf\"} %llu\n", name,
	              (unsigned long long)figures->n);
	(void)fprintf(exposition->out, "%s_sum %.12g\n", name, figures->sum_secs);
	(void)fprintf(exposition->out, "%s_count %llu\n", name, (unsigned long long)figures->n);
}

void exposition_end(struct exposition *exposition)
{
	(void)fputs("# EOF\n", exposition->out);
}
