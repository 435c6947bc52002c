/* The texts of the kernel and of systemctl, taken apart. Pure. */
#include <string.h>

#include "base/err.h"
#include "verify/machine.h"

/* The next word behind white space; empty at the end. */
static struct span take_word(struct span *text)
{
	static const char white[] = " \t\n";
	size_t begin = 0;
	while (begin < text->len && strchr(white, text->ptr[begin])) {
		begin++;
	}
	size_t end = begin;
	while (end < text->len && !strchr(white, text->ptr[end])) {
		end++;
	}
	struct span word = span_of(text->ptr + begin, end - begin);
	*text = span_of(text->ptr + end, text->len - end);
	return word;
}

int machine_parse_numbers(struct span text, uint64_t *out, size_t n_max)
{
	int n = 0;
	for (struct span word = take_word(&text); word.len > 0; word = take_word(&text)) {
		if ((size_t)n == n_max) {
			return ERR_SYNTAX;
		}
		if (word.ptr[0] == '-') {
			return ERR_RANGE;
		}
		int ret = span_to_u64(word, UINT64_MAX, &out[n]);
		if (ret) {
			return ret;
		}
		n++;
	}
	return n;
}

/* True, and *text is what follows on its line, when some line begins with the prefix. */
static bool find_line(struct span *text, const char *prefix)
{
	size_t len = strlen(prefix);
	while (text->len > 0) {
		const uint8_t *lf = memchr(text->ptr, '\n', text->len);
		size_t n = lf ? (size_t)(lf - text->ptr) : text->len;
		if (n >= len && memcmp(text->ptr, prefix, len) == 0) {
			*text = span_of(text->ptr + len, n - len);
			return true;
		}
		size_t skip = lf ? n + 1 : n;
		*text = span_of(text->ptr + skip, text->len - skip);
	}
	return false;
}

static int parse_limit(struct span word, const char *endless, uint64_t *out)
{
	if (span_equal(word, span_of_str(endless))) {
		*out = UINT64_MAX;
		return 0;
	}
	return span_to_u64(word, UINT64_MAX, out);
}

int machine_parse_limits(struct span text, uint64_t *hard)
{
	if (!find_line(&text, "Max open files ")) {
		return ERR_SYNTAX;
	}
	(void)take_word(&text); /* the soft one, which mired raises */
	return parse_limit(take_word(&text), "unlimited", hard) ? ERR_SYNTAX : 0;
}

int machine_parse_unit(struct span text, uint64_t *hard)
{
	struct span state = text;
	if (!find_line(&state, "LoadState=")) {
		return ERR_SYNTAX;
	}
	/* of a unit that is not there the line shows the default */
	if (!span_equal(state, span_of_str("loaded"))) {
		return ERR_NOT_FOUND;
	}
	return !find_line(&text, "LimitNOFILE=") || parse_limit(text, "infinity", hard) ? ERR_SYNTAX
	                                                                                : 0;
}
