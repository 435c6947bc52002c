/* spamd-cfg lines: what is read is written in a form that reads as the same. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lists/cfgline.h"

enum { N_MAX = 1000 };

static size_t count_v4(const struct cfgline *line)
{
	size_t n = 0;
	for (size_t i = 0; i < line->n; i++) {
		n += addr_is_v4(&line->cidrs[i].addr);
	}
	return n;
}

static void check_again(const struct cfgline *line)
{
	char why[CFGLINE_WHY_MAX];
	char *text;
	size_t len;
	struct cfgline again;
	FILE *file = open_memstream(&text, &len);
	ASSERT(file);
	int ret = cfgline_write(file, line);
	ASSERT(ret == 0 && fclose(file) == 0);
	ret = cfgline_parse(span_of(text, len - 1), N_MAX, &again, why);
	ASSERT(ret == 0 && again.n == line->n && again.is_clear == line->is_clear);
	ASSERT(span_equal(again.tag, line->tag) && span_equal(again.text, line->text));
	ASSERT(count_v4(&again) == count_v4(line));
	cfgline_fini(&again);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[CFGLINE_WHY_MAX] = "";
	struct cfgline line;
	if (size > 0 && memchr(data, '\n', size)) {
		return 0; /* a line has none */
	}
	if (cfgline_parse(span_of(data, size), N_MAX, &line, why)) {
		ASSERT(why[0] != '\0');
		return 0;
	}
	check_again(&line);
	cfgline_fini(&line);
	return 0;
}
