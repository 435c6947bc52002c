/* What `miredctl why` says, from answers as the daemon gives them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "miredctl/why_fate.h"
#include "miredctl/why_text.h"

#define SETTINGS                                                                               \
	"'settings':{'mode':'greylist','low_priority_mx':false,'nospamd_file':'/etc/nospamd'," \
	"'allowed_domains_file':'/etc/domains'},"
#define BLACKLIST "'settings':{'mode':'blacklist','nospamd_file':'/etc/nospamd'},"
#define HOST      "'address':'192.0.2.1','network':null,'time':1000000,"
#define NO_SETS   "'kernel':{'sets':[]},"
#define IN(set)   "'kernel':{'sets':[{'set':'" set "'}]},"
#define UNKNOWN   "'kernel':{'error':'only root may ask it'},"
#define GREY      "'class':'grey',"
#define NEW       "'attempt':{'verdict':'new','passes':1001501,'until':1014400},"
#define EARLY     "'attempt':{'verdict':'early','passes':1000060,'until':1007200},"
#define PASSES    "'attempt':{'verdict':'passes','passes':999000,'until':1007200},"
#define MAIL \
	"'mail':{'sender':'<a@b>','recipient':'<c@d>','spamtrap':false,'foreign_domain':false},"
#define BAIT "'mail':{'sender':'<a@b>','recipient':'<c@d>','spamtrap':true,'foreign_domain':false},"
#define FOREIGN \
	"'mail':{'sender':'<a@b>','recipient':'<c@d>','spamtrap':false,'foreign_domain':true},"
#define WHITE                                                                                 \
	"'class':'white','attempt':{'verdict':'white'},"                                      \
	"'white':{'live':true,'first':900000,'changed':950000,'expire':2000000,'deferred':2," \
	"'passed':7},"
#define TRAPPED                                                                                 \
	"'class':'listed','attempt':{'verdict':'trapped'},"                                     \
	"'trapped':{'live':true,'first':990000,'changed':990000,'expire':1086400,'deferred':1," \
	"'passed':0},"
#define LISTED "'class':'listed','attempt':{'verdict':'listed'},'lists':['mine'],"
#define DYING  "'attempt':{'verdict':'early','passes':1007200,'until':1000060},"
#define QUOTE                                                                                    \
	"'mail':{'sender':'<a@b>','recipient':'<c\\u0027d@e>','spamtrap':true,'foreign_domain':" \
	"false},"

/* ' stands for ". */
static json_t *json_of(const char *text)
{
	char json[4096];
	size_t len = strlen(text);
	json_error_t error;
	assert_true(len + 8 < sizeof json);
	json[0] = '{';
	for (size_t i = 0; i < len; i++) {
		json[i + 1] = text[i];
		if (text[i] == '\'') {
			json[i + 1] = '"';
		}
	}
	(void)memcpy(json + len + 1, "\"z\":0}", sizeof "\"z\":0}");
	json_t *object = json_loads(json, 0, &error);
	if (!object) {
		fail_msg("%s: %s", error.text, json);
	}
	return object;
}

static char *text_of(const char *json)
{
	char *text = NULL;
	size_t len = 0;
	json_t *answer = json_of(json);
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	why_text(answer, out);
	assert_int_equal(fclose(out), 0);
	json_decref(answer);
	return text;
}

/* Line breaks count as blanks. */
static void assert_says(const char *json, const char *words)
{
	char *text = text_of(json);
	for (char *c = text; *c; c++) {
		*c = (char)(*c == '\n' ? ' ' : *c);
	}
	if (!strstr(text, words)) {
		fail_msg("no \"%s\" in \"%s\"", words, text);
	}
	free(text);
}

/* --- what happens now ------------------------------------------------------------------------- */

static const struct {
	const char *answer;
	enum fate fate;
	const char *words;
} fates[] = {
        {HOST SETTINGS NO_SETS GREY NEW, FATE_NEW,
         "Never seen, and on no list. If it connects now, its first mail is deferred (451). It "
         "passes when tried again with the same helo, sender and recipient from 1970-01-12 "
         "14:11:41 (in 25m 1s) until 1970-01-12 17:46:39 (in 3h 59m)"},
        {HOST SETTINGS NO_SETS GREY NEW MAIL "'events':[{'event':'new'}],", FATE_NEW,
         "If it connects now, that mail is deferred"},
        {HOST SETTINGS NO_SETS GREY NEW "'tuples':[{'retry':'early'}],", FATE_NEW,
         "If it connects now, a mail that is not among these tuples is deferred"},
        {HOST SETTINGS UNKNOWN GREY NEW, FATE_NEW,
         "passes. (The kernel was not asked: it may let it through before.)   miredb -a 192.0.2.1"},
        {HOST SETTINGS NO_SETS GREY EARLY MAIL, FATE_EARLY,
         "too early. A retry with the same helo from 1970-01-12 13:47:40 (in 1m)"},
        {HOST SETTINGS NO_SETS GREY PASSES MAIL, FATE_PASSES,
         "with the same helo (until 1970-01-12 15:46:39 (in 1h 59m)), it is deferred (451) for the "
         "last time"},
        {HOST SETTINGS NO_SETS GREY NEW BAIT, FATE_TRAPS, "miredb -d -T '<c@d>'"},
        {HOST SETTINGS NO_SETS GREY NEW QUOTE, FATE_TRAPS, "miredb -d -T '<c'\\''d@e>' "},
        {HOST SETTINGS NO_SETS GREY EARLY FOREIGN, FATE_FOREIGN,
         "is in no allowed domain.   edit /etc/domains, then: miredctl reload"},
        {HOST SETTINGS NO_SETS GREY DYING MAIL, FATE_ENDS,
         "once more: too early. Its tuple ends before a retry would pass, 1970-01-12 13:47:40 (in "
         "1m)"},
        {HOST SETTINGS NO_SETS GREY NEW MAIL "'more_tuples':true,", FATE_NEW,
         "passes. (Not all of its tuples were looked at.)"},
        {HOST SETTINGS NO_SETS WHITE BAIT, FATE_TRAPS, "it is trapped"},
        {HOST SETTINGS IN("spamd-white") WHITE, FATE_WHITE,
         "miredb -d 192.0.2.1       greylisted again, by the tuples it has"},
        {HOST SETTINGS IN("spamd-white6") WHITE, FATE_WHITE, "the mail server gets"},
        {HOST SETTINGS NO_SETS WHITE, FATE_LOST, "the kernel has lost its entry"},
        {HOST SETTINGS IN("spamd-greytrap") WHITE, FATE_MISLED,
         "though it is white: the kernel has it among the trapped. (The kernel's sets hold what is "
         "not stored: systemctl restart mired makes them anew.)"},
        {HOST SETTINGS IN("spamd-white") GREY NEW, FATE_WHITE, "(The kernel's sets hold what is"},
        {HOST SETTINGS IN("spamd-white") GREY "'white':{'live':false}," NEW, FATE_WHITE,
         "the kernel has it as white.   miredb -d"},
        {HOST SETTINGS IN("spamd-greytrap") GREY NEW, FATE_NEW, "(The kernel's sets hold what is"},
        {HOST "'settings':{'mode':'greylist','firewall':false}," UNKNOWN WHITE, FATE_UNHELPED,
         "though it is white. (firewall = no: who comes to mired is up to rules of your own.)"},
        {HOST SETTINGS UNKNOWN WHITE, FATE_UNCHECKED, "white, too. (The kernel was not asked"},
        {HOST SETTINGS NO_SETS TRAPPED, FATE_TRAPPED,
         "because it is trapped, until 1970-01-13 13:46:40 (in 1d)."},
        {HOST SETTINGS IN("spamd-greytrap") TRAPPED, FATE_TRAPPED, "miredb -a 192.0.2.1"},
        {HOST SETTINGS NO_SETS LISTED, FATE_LISTED,
         "echo 192.0.2.1 >> /etc/nospamd && miredctl reload"},
        {HOST SETTINGS IN("spamd-greytrap") TRAPPED "'lists':['mine'],", FATE_LISTED_TRAPPED,
         "because it is on a list and, until 1970-01-13 13:46:40 (in 1d), trapped.   echo "
         "192.0.2.1"},
        {HOST BLACKLIST UNKNOWN TRAPPED "'lists':['mine'],", FATE_LISTED, "on a list"},
        /* by hand, after the list came: it stays until a list is loaded again */
        {HOST SETTINGS IN("spamd-white") LISTED, FATE_WHITE, "the kernel has it as white"},
        {HOST SETTINGS IN("nospamd") LISTED, FATE_NOSPAMD, "a line of nospamd exempts it"},
        {HOST SETTINGS IN("nospamd6") TRAPPED, FATE_NOSPAMD, "edit /etc/nospamd, then"},
        {HOST SETTINGS
         "'kernel':{'sets':[{'set':'spamd-white'},{'set':'spamd-greytrap'}]}," TRAPPED,
         FATE_TRAPPED, "it is trapped"},
        {HOST BLACKLIST NO_SETS "'class':'passive',", FATE_UNLISTED, "on no list"},
        {HOST BLACKLIST UNKNOWN "'class':'passive',", FATE_UNLISTED, "on no list"},
        {HOST BLACKLIST IN("spamd") LISTED, FATE_LISTED, "on a list"},
        {HOST BLACKLIST NO_SETS LISTED, FATE_UNLISTED, "gets the connection"},
        {HOST BLACKLIST UNKNOWN LISTED, FATE_LISTED, "on a list"},
        {HOST BLACKLIST UNKNOWN LISTED BAIT, FATE_LISTED, "on a list"},
};

static void what_happens_now_follows_from_kernel_and_daemon(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
		json_t *answer = json_of(fates[i].answer);
		if (why_fate_of(answer) != fates[i].fate) {
			fail_msg("row %zu: %d", i, (int)why_fate_of(answer));
		}
		json_decref(answer);
		assert_says(fates[i].answer, fates[i].words);
	}
}

static void every_fate_has_a_row_above(void **state)
{
	bool has[FATE_COUNT] = {false};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(fates); i++) {
		has[fates[i].fate] = true;
	}
	for (size_t i = 0; i < FATE_COUNT; i++) {
		assert_true(has[i]);
	}
}

static void a_stranger_is_warned_of_the_low_priority_mx(void **state)
{
	(void)state;
	const char *settings = "'settings':{'mode':'greylist','low_priority_mx':true},";
	char answer[1024];
	(void)snprintf(answer, sizeof answer, "%s%s%s", HOST NO_SETS GREY NEW, settings, "");
	assert_says(answer, "At the low-priority MX it would be trapped.");
	(void)snprintf(answer, sizeof answer, "%s%s%s", HOST NO_SETS GREY NEW, settings,
	               "'events':[{'event':'connected'}],");
	assert_says(answer, "At the low-priority MX it would be trapped.");
}

/* keeper_is_low_priority_hit: what was stored of it once speaks for it until it is swept. */
static void who_left_a_record_is_not_warned_of_the_low_priority_mx(void **state)
{
	(void)state;
	static const char *const known[] = {
	        "'white':{'live':false,'expire':999000},",
	        "'n_tuples':1,'tuples':[{'retry':'new','expire':999940}],",
	};
	for (size_t i = 0; i < ARRAY_LEN(known); i++) {
		char answer[1024];
		(void)snprintf(answer, sizeof answer, "%s'settings':{'low_priority_mx':true},%s",
		               HOST NO_SETS GREY NEW, known[i]);
		char *text = text_of(answer);
		assert_null(strstr(text, "low-priority"));
		free(text);
	}
}

/* --- what is known ---------------------------------------------------------------------------- */

static void parts_are_shown_in_lines_of_their_own(void **state)
{
	(void)state;
	static const char *const tuple =
	        "'n_tuples':1,'tuples':[{'sender':'<a@b>','recipient':'<c@d>','helo':'h','asked':"
	        "false,'attempts':2,'first':999940,'last':999990,'passes':1001441,'expire':1014340,"
	        "'retry':'early'}],";
	static const char *const rest =
	        "'lists':[],'white':null,'trapped':null,'held':2,"
	        "'events':[{'time':999990,'event':'early','by':'peer','address':'192.0.2.1',"
	        "'text':'<c@d>','cut':true},"
	        "{'time':999940,'event':'new','by':'client','address':'192.0.2.9','text':'<c@d>',"
	        "'cut':false}],"
	        "'kernel':{'sets':[{'set':'spamd-white','timeout_secs':90061}]},";
	char answer[2048];
	(void)snprintf(answer, sizeof answer, "%s%s%s", HOST SETTINGS GREY NEW, tuple, rest);
	char *text = text_of(answer);
	char *end = strstr(text, "\n\n");
	assert_non_null(end);
	end[1] = '\0';
	assert_string_equal(
	        text,
	        "192.0.2.1\n"
	        "lists      on none\n"
	        "trapped    no\n"
	        "white      no\n"
	        "tuples     1\n"
	        "           from <a@b> to <c@d>, helo h\n"
	        "             first 1970-01-12 13:45:40 (1m ago), tried 2 times\n"
	        "             a retry passes from 1970-01-12 14:10:41 (in 24m 1s)\n"
	        "             until 1970-01-12 17:45:39 (in 3h 58m)\n"
	        "kernel     in spamd-white for another 1d 1h\n"
	        "held       2 connections now\n"
	        "events     1970-01-12 13:46:30  deferred, tried again too early, to <c@d>..., "
	        "told by a peer\n"
	        "           1970-01-12 13:45:40  deferred, a new tuple, to <c@d> (192.0.2.9)\n");
	free(text);
}

static void what_is_known_is_said_whatever_it_is(void **state)
{
	(void)state;
	static const struct {
		const char *answer;
		const char *words;
	} rows[] = {
	        {HOST SETTINGS WHITE,
	         "white      until 1970-01-24 03:33:20 (in 11d 13h)            first seen "
	         "1970-01-11 10:00:00 (1d 3h ago), renewed 1970-01-11 23:53:20 (13h 53m ago)       "
	         "     2 times deferred, passed 7 times"},
	        {HOST SETTINGS TRAPPED, "trapped    until 1970-01-13 13:46:40 (in 1d)"},
	        {HOST SETTINGS "'white':{'live':false,'expire':999000},",
	         "white      no longer: ended 1970-01-12 13:30:00 (16m 40s ago)"},
	        /* a change within the second of the last one is stamped with the next */
	        {HOST SETTINGS
	         "'white':{'live':true,'first':1000000,'changed':1000001,'expire':2},",
	         "first seen 1970-01-12 13:46:40 (now), renewed 1970-01-12 13:46:40 (now)"},
	        {HOST SETTINGS LISTED "'reply':['450-one','450 two'],",
	         "told       450-one            450 two"},
	        {HOST SETTINGS "'lists':['a','b'],", "lists      on a, b"},
	        {HOST SETTINGS UNKNOWN, "kernel     not known: only root may ask it"},
	        {HOST SETTINGS "'clock_paused':true,", "nothing expires until it is"},
	        {HOST SETTINGS MAIL "'n_tuples':5,'tuples':[{'asked':false}],",
	         "tuples     5; of this mail:            none"},
	        {HOST SETTINGS "'n_tuples':100000,'more_tuples':true,",
	         "tuples     more than 100000            others are not shown"},
	        {HOST SETTINGS MAIL, "<c@d> is no spamtrap, and its domain gets mail here"},
	        {HOST SETTINGS BAIT, "<c@d> is a spamtrap"},
	        {HOST SETTINGS FOREIGN, "<c@d> is in no allowed domain"},
	        {HOST SETTINGS "'n_tuples':1,'tuples':[{'retry':'passes','expire':1000061}],",
	         "a retry passes now and until 1970-01-12 13:47:40 (in 1m)"},
	        {HOST SETTINGS
	         "'n_tuples':1,'tuples':[{'retry':'early','passes':1000100,'expire':1000060}],",
	         "ends before a retry passes: 1970-01-12 13:47:40 (in 1m)"},
	        {HOST SETTINGS "'n_tuples':1,'tuples':[{'retry':'new','expire':999940}],",
	         "ended 1970-01-12 13:45:40 (1m ago)"},
	        {"'address':'2001:db8::1','network':'2001:db8::/64','time':1000000," SETTINGS,
	         "2001:db8::1, known by its network 2001:db8::/64 but trapped by itself"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		assert_says(rows[i].answer, rows[i].words);
	}
}

static void nothing_that_moves_a_terminal_is_printed(void **state)
{
	(void)state;
	char *text = text_of(HOST SETTINGS "'lists':['a\\u001b[2Jb\\n'],'reply':['\\u00e9'],");
	assert_non_null(strstr(text, "a?[2Jb?"));
	for (const char *c = text; *c; c++) {
		assert_true(*c == '\n' || (*c >= ' ' && *c <= '~'));
	}
	free(text);
}

static void an_empty_answer_is_no_crash(void **state)
{
	(void)state;
	assert_says("", "none remembered");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(what_happens_now_follows_from_kernel_and_daemon),
	        cmocka_unit_test(every_fate_has_a_row_above),
	        cmocka_unit_test(a_stranger_is_warned_of_the_low_priority_mx),
	        cmocka_unit_test(who_left_a_record_is_not_warned_of_the_low_priority_mx),
	        cmocka_unit_test(parts_are_shown_in_lines_of_their_own),
	        cmocka_unit_test(what_is_known_is_said_whatever_it_is),
	        cmocka_unit_test(nothing_that_moves_a_terminal_is_printed),
	        cmocka_unit_test(an_empty_answer_is_no_crash),
	};
	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
