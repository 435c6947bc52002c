/* mired's command line, from the same table as the file. Two passes: the first finds -f and the
 * orders to the program, the second sets values when the file has been read. Positional arguments
 * are ignored, as spamd does. */
#include <ctype.h>
#include <getopt.h>
#include <string.h>

#include "base/err.h"
#include "base/span.h"
#include "conf/schema.h"

/* Letters of spamd whose feature is not built yet; with a colon: takes a value. */
#define UNSUPPORTED "C:K:"

enum {
	OPTION_CHECK = 256, /* beyond all letters */
	OPTION_PRINT,
	OPTION_REMOVE_RULES,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_ROW, /* + index of the row */
	SHORT_MAX = 128,
	N_FIXED = 6,
	LINE_PART_MAX = 120,
};

static const struct option fixed_options[N_FIXED] = {
        {"config", required_argument, NULL, 'f'},
        {"check-config", no_argument, NULL, OPTION_CHECK},
        {"print-config", no_argument, NULL, OPTION_PRINT},
        {"remove-rules", no_argument, NULL, OPTION_REMOVE_RULES},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
};

struct grammar {
	char letters[SHORT_MAX];
	struct option options[N_FIXED + SCHEMA_ROWS_MAX + 1];
};

static void make_grammar(struct grammar *grammar)
{
	/* ':' first: a missing value is told apart from an unknown option */
	size_t used = (size_t)snprintf(grammar->letters, SHORT_MAX, ":f:G:45" UNSUPPORTED);
	memset(grammar->options, 0, sizeof grammar->options);
	memcpy(grammar->options, fixed_options, sizeof fixed_options);
	for (size_t i = 0; i < schema_n_rows; i++) {
		const struct schema_row *row = &schema_rows[i];
		bool is_flag = row->kind == SCHEMA_BOOL;
		grammar->options[N_FIXED + i] =
		        (struct option){row->name, is_flag ? optional_argument : required_argument,
		                        NULL, OPTION_ROW + (int)i};
		if (row->letter && used + 3 < SHORT_MAX) {
			grammar->letters[used++] = row->letter;
			grammar->letters[used] = ':';
			used += !is_flag;
			grammar->letters[used] = '\0';
		}
	}
}

/* Why the option that getopt_long has just refused is wrong. */
static int refuse_option(int answer, char **argv, char why[static CONF_ERROR_MAX])
{
	char shown[LINE_PART_MAX];
	(void)span_escape(span_of_str(argv[optind - 1]), shown, sizeof shown);
	bool is_long = strncmp(argv[optind - 1], "--", 2) == 0;
	const char *complaint = answer == ':' ? "needs a value" : "is unknown or has a bad value";
	if (is_long || optopt == 0 || optopt > 255 || !isprint(optopt)) {
		(void)snprintf(why, CONF_ERROR_MAX, "option %s %s", shown, complaint);
	} else {
		(void)snprintf(why, CONF_ERROR_MAX, "option -%c %s", optopt,
		               answer == ':' ? complaint : "is unknown");
	}
	return ERR_SYNTAX;
}

static int refuse_unsupported(int letter, char why[static CONF_ERROR_MAX])
{
	(void)snprintf(why, CONF_ERROR_MAX, "option -%c is not supported in this version", letter);
	return ERR_UNSUPPORTED;
}

static int next_option(const struct grammar *grammar, int argc, char **argv)
{
	opterr = 0;
	return getopt_long(argc, argv, grammar->letters, grammar->options, NULL);
}

static int scan_one(int option, struct conf_cli *cli, const char **file)
{
	switch (option) {
	case 'f':
		*file = optarg;
		return 0;
	case OPTION_CHECK:
		cli->check_only = true;
		return 0;
	case OPTION_PRINT:
		cli->print = true;
		return 0;
	case OPTION_REMOVE_RULES:
		cli->remove_rules = true;
		return 0;
	case OPTION_HELP:
		cli->help = true;
		return 0;
	case OPTION_VERSION:
		cli->version = true;
		return 0;
	default:
		return 0; /* a value: the second pass's */
	}
}

int options_scan(int argc, char **argv, struct conf_cli *cli, const char **file,
                 char why[static CONF_ERROR_MAX])
{
	struct grammar grammar;
	make_grammar(&grammar);
	optind = 0; /* glibc: start afresh */
	for (int option; (option = next_option(&grammar, argc, argv)) != -1;) {
		if (option == '?' || option == ':') {
			return refuse_option(option, argv, why);
		}
		if (option < 128 && option != ':' && strchr(UNSUPPORTED, option)) {
			return refuse_unsupported(option, why);
		}
		(void)scan_one(option, cli, file);
	}
	return 0;
}

/* -G minutes:hours:hours, BSD's units. */
static int apply_times(struct conf *conf, const char *text, char why[static CONF_ERROR_MAX])
{
	static const struct {
		const char *key;
		char unit;
	} parts[] = {{"passtime", 'm'}, {"greyexp", 'h'}, {"whiteexp", 'h'}};
	struct span rest = span_of_str(text);
	char reason[SCHEMA_WHY_MAX];
	size_t n_colons = 0;
	for (const char *c = text; *c; c++) {
		n_colons += *c == ':';
	}
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		char value[32];
		uint64_t number;
		struct span part = span_cut(rest, ':', &rest);
		if (n_colons != 2 || span_to_u64(part, 1000000, &number) != 0) {
			(void)snprintf(why, CONF_ERROR_MAX,
			               "option -G needs three numbers, minutes:hours:hours");
			return ERR_SYNTAX;
		}
		(void)snprintf(value, sizeof value, "%u%c", (unsigned)number, parts[i].unit);
		int ret = value_set(conf, schema_find(parts[i].key), value, true, reason);
		if (ret != 0) {
			(void)snprintf(why, CONF_ERROR_MAX, "option -G: %s: %s", parts[i].key,
			               reason);
			return ret;
		}
	}
	return 0;
}

/* -4 and -5 are short for 450 and 550; the last one wins. */
static int apply_code(struct conf *conf, char digit, char why[static CONF_ERROR_MAX])
{
	char reason[SCHEMA_WHY_MAX];
	const char text[] = {digit, '5', '0', '\0'};
	int ret = value_set(conf, schema_find("listed-code"), text, true, reason);
	if (ret != 0) {
		(void)snprintf(why, CONF_ERROR_MAX, "option -%c: %s", digit, reason);
	}
	return ret;
}

static int apply_row(struct conf *conf, const struct schema_row *row, bool is_first,
                     char why[static CONF_ERROR_MAX])
{
	char reason[SCHEMA_WHY_MAX];
	int ret = value_set(conf, row, optarg ? optarg : "yes", is_first, reason);
	if (ret != 0) {
		(void)snprintf(why, CONF_ERROR_MAX, "option --%s: %s", row->name, reason);
		if (row->letter) {
			(void)snprintf(why, CONF_ERROR_MAX, "option -%c (--%s): %s", row->letter,
			               row->name, reason);
		}
	}
	return ret;
}

int options_apply(struct conf *conf, int argc, char **argv, char why[static CONF_ERROR_MAX])
{
	struct grammar grammar;
	bool has_seen[SCHEMA_ROWS_MAX] = {false};
	make_grammar(&grammar);
	optind = 0;
	for (int option; (option = next_option(&grammar, argc, argv)) != -1;) {
		const struct schema_row *row = option >= OPTION_ROW
		                                       ? &schema_rows[option - OPTION_ROW]
		                                       : schema_find_letter((char)option);
		int ret = 0;
		if (option == 'G') {
			ret = apply_times(conf, optarg, why);
		} else if (option == '4' || option == '5') {
			ret = apply_code(conf, (char)option, why);
		} else if (row && (option >= OPTION_ROW || option < OPTION_CHECK)) {
			ret = apply_row(conf, row, !has_seen[row - schema_rows], why);
			has_seen[row - schema_rows] = true;
		}
		if (ret != 0) {
			return ret;
		}
	}
	return 0;
}
