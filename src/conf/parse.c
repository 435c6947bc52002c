/* The configuration file's grammar, by libconfuse; the only file that knows it. The library gets
 * each value as text to our callback, so ranges and units are checked in value.c, with the line
 * at hand. Comments are blanked before it sees them: version 3.3 counts the lines of comments
 * twice, and its messages would name the wrong line. */
#include <confuse.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/schema.h"

enum { PARSE_MESSAGE_MAX = 200 };

struct parse {
	struct conf *conf;
	const char *label;
	char *why;
	int ret;                        /* first error */
	bool has_seen[SCHEMA_ROWS_MAX]; /* by row */
};

/* The library's callbacks carry no context of ours; set during parse_text only. */
static _Thread_local struct parse *current;

static bool is_word_byte(char c)
{
	return c != '\0' && !strchr(" \t\r\n\"'#={}(),+", c);
}

/* Length of the comment that starts at text[i], 0 when none does. */
static size_t comment_length(const char *text, size_t i)
{
	bool is_inside_word = i > 0 && is_word_byte(text[i - 1]);
	const char *start = text + i;
	if (*start == '#' || (!is_inside_word && strncmp(start, "//", 2) == 0)) {
		return strcspn(start, "\n");
	}
	if (!is_inside_word && strncmp(start, "/*", 2) == 0) {
		const char *end = strstr(start + 2, "*/");
		return end ? (size_t)(end + 2 - start) : strlen(start);
	}
	return 0;
}

/* Length of the quoted string that starts at text, 0 when none does. */
static size_t quoted_length(const char *text)
{
	if (*text != '"' && *text != '\'') {
		return 0;
	}
	for (size_t i = 1; text[i]; i++) {
		if (text[i] == *text) {
			return i + 1;
		}
		if (text[i] == '\\' && text[i + 1]) {
			i++;
		}
	}
	return strlen(text);
}

static void blank_comments(char *text)
{
	size_t i = 0;
	while (text[i]) {
		size_t quoted = quoted_length(text + i);
		size_t comment = quoted ? 0 : comment_length(text, i);
		for (size_t k = i; k < i + comment; k++) {
			text[k] = text[k] == '\n' ? '\n' : ' ';
		}
		i += quoted ? quoted : comment ? comment : 1;
	}
}

static void fail(int line, int code, const char *reason)
{
	if (current->ret == 0) {
		current->ret = code;
		(void)snprintf(current->why, CONF_ERROR_MAX, "%.200s:%d: %s", current->label, line,
		               reason);
	}
}

static void on_error(cfg_t *cfg, const char *format, va_list args)
{
	static const char unknown[] = "no such option ";
	char message[PARSE_MESSAGE_MAX];
	char escaped[PARSE_MESSAGE_MAX];
	char reason[PARSE_MESSAGE_MAX * 2];
	if (vsnprintf(message, sizeof message, format, args) < 0) {
		message[0] = '\0';
	}
	(void)span_escape(span_of_str(message), escaped, sizeof escaped);
	bool is_unknown = strncmp(escaped, unknown, strlen(unknown)) == 0;
	(void)snprintf(reason, sizeof reason, "%s%s", is_unknown ? "unknown key " : "",
	               escaped + (is_unknown ? strlen(unknown) : 0));
	fail(cfg->line, ERR_SYNTAX, reason);
}

static int on_value(cfg_t *cfg, cfg_opt_t *opt, const char *value, void *result)
{
	const struct schema_row *row = schema_find(opt->name);
	char why[SCHEMA_WHY_MAX];
	char reason[SCHEMA_WHY_MAX + 64];
	ASSERT(row); /* the options were made from the rows */
	bool *has_seen = &current->has_seen[row - schema_rows];
	bool is_first = opt->nvalues <= 1;
	int ret = 0;
	if (is_first && *has_seen) {
		(void)snprintf(why, sizeof why, "is set twice");
		ret = ERR_SYNTAX;
	} else {
		ret = value_set(current->conf, row, value, is_first, why);
	}
	*has_seen = true;
	if (ret != 0) {
		(void)snprintf(reason, sizeof reason, "%s: %s", row->name, why);
		fail(cfg->line, ret, reason);
		return -1;
	}
	*(const char **)result = value; /* the library copies it; nobody reads it again */
	return 0;
}

static void make_options(cfg_opt_t opts[static SCHEMA_ROWS_MAX + 1])
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		cfg_opt_t one = CFG_STR_CB(schema_rows[i].name, NULL, CFGF_NODEFAULT, on_value);
		cfg_opt_t list =
		        CFG_STR_LIST_CB(schema_rows[i].name, NULL, CFGF_NODEFAULT, on_value);
		opts[i] = schema_is_list(&schema_rows[i]) ? list : one;
	}
	cfg_opt_t end = CFG_END();
	opts[schema_n_rows] = end;
}

/* The library calls back for values only: a list written without any is emptied here. */
static void clear_empty_lists(cfg_t *cfg)
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		const cfg_opt_t *opt = cfg_getopt(cfg, schema_rows[i].name);
		if (schema_is_list(&schema_rows[i]) && opt && (opt->flags & CFGF_MODIFIED) &&
		    opt->nvalues == 0) {
			value_clear(current->conf, &schema_rows[i]);
		}
	}
}

static int parse_with_library(const char *text)
{
	cfg_opt_t opts[SCHEMA_ROWS_MAX + 1];
	make_options(opts);
	cfg_t *cfg = cfg_init(opts, CFGF_NONE);
	if (!cfg) {
		return -ENOMEM;
	}
	(void)cfg_set_error_function(cfg, on_error);
	int ret = cfg_parse_buf(cfg, text);
	if (ret != CFG_SUCCESS) {
		fail(cfg->line, ERR_SYNTAX, "syntax error");
	} else {
		clear_empty_lists(cfg);
	}
	(void)cfg_free(cfg);
	return 0;
}

static int line_of(const char *text, size_t at)
{
	int line = 1;
	for (size_t i = 0; i < at; i++) {
		line += text[i] == '\n';
	}
	return line;
}

int parse_text(struct conf *conf, char *text, size_t len, const char *label,
               char why[static CONF_ERROR_MAX])
{
	struct parse parse = {.conf = conf, .label = label, .why = why};
	current = &parse;
	int ret = 0;
	if (strlen(text) != len) {
		fail(line_of(text, strlen(text)), ERR_SYNTAX, "NUL byte");
	} else if (len > 0 && text[len - 1] == '\\') {
		/* the library's scanner would copy it to stdout */
		fail(line_of(text, len), ERR_SYNTAX, "backslash at the end of the file");
	} else {
		blank_comments(text);
		/* the library's scanner refuses an empty buffer */
		ret = text[strspn(text, " \t\r\n")] ? parse_with_library(text) : 0;
	}
	current = NULL;
	if (ret != 0) {
		(void)snprintf(why, CONF_ERROR_MAX, "%.200s: %s", label, err_text(ret));
	}
	return ret != 0 ? ret : parse.ret;
}
