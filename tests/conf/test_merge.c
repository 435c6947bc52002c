/* What a reload makes of two configurations, over every key of the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "conf/schema.h"
#include "conf_fixture.h"

enum { TEXT_MAX = 8192, VALUE_MAX = 128 };

static const char base[] = "interface = {eth0}\nmx-addresses = {192.0.2.1}\n"
                           "low-priority-mx = {192.0.2.9}\nmax-connections = 1000\n";

/* What was told of changes. */
struct told {
	unsigned n;
	char key[VALUE_MAX], before[VALUE_MAX], after[VALUE_MAX], mend[VALUE_MAX];
	bool is_pending, is_in_force;
};

static void tell(void *ctx, const struct conf_change *change)
{
	struct told *told = ctx;
	told->n++;
	told->is_pending = change->is_pending;
	told->is_in_force = change->is_in_force;
	(void)snprintf(told->key, VALUE_MAX, "%s", change->key);
	(void)snprintf(told->before, VALUE_MAX, "%s", change->before);
	(void)snprintf(told->after, VALUE_MAX, "%s", change->after);
	(void)snprintf(told->mend, VALUE_MAX, "%s", change->mend ? change->mend : "");
}

static void load(struct fixture *fixture, struct conf *conf, const char *text)
{
	if (fixture_load(fixture, text, NULL) != 0) {
		fail_msg("%s", fixture->why);
	}
	*conf = fixture->conf;
	memset(&fixture->conf, 0, sizeof fixture->conf);
}

static int merge_with(struct conf *fresh, const struct conf *running, struct told *told,
                      char why[static CONF_ERROR_MAX])
{
	struct conf_merge_env env = {.connections_max = 1000, .on_change = tell, .ctx = told};
	*told = (struct told){0};
	return conf_merge(fresh, running, &env, why);
}

static const char *print(const struct conf *conf, char text[static TEXT_MAX])
{
	FILE *out = fmemopen(text, TEXT_MAX, "w");
	assert_non_null(out);
	assert_int_equal(conf_print(conf, out), 0);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* Values that differ from those of `base` and go together with it. */
static const struct {
	const char *key;
	const char *value;
} special[] = {
        {"passtime", "30m"},        {"greyexp", "5h"},
        {"max-connections", "900"}, {"max-listed", "500"},
        {"banner", "%h ready"},     {"traffic-class", "2:3a"},
        {"hostname", "mx.net"},     {"sync-listen", "127.0.0.9"},
};

static void number_for(const struct schema_row *row, char value[static VALUE_MAX])
{
	char buf[32];
	int64_t number = row->max;
	switch (row->kind) {
	case SCHEMA_MS:
		(void)snprintf(value, VALUE_MAX, "%s", units_format_ms(number, buf));
		return;
	case SCHEMA_SECS:
		(void)snprintf(value, VALUE_MAX, "%s", units_format_ms(number * 1000, buf));
		return;
	case SCHEMA_BYTES32:
	case SCHEMA_BYTES64:
		(void)snprintf(value, VALUE_MAX, "%s", units_format_bytes((uint64_t)number, buf));
		return;
	case SCHEMA_U16:
	case SCHEMA_U32:
	case SCHEMA_U64:
		(void)snprintf(value, VALUE_MAX, "%lld", (long long)number);
		return;
	case SCHEMA_BOOL:
	case SCHEMA_WORD:
	case SCHEMA_TEXT:
	case SCHEMA_NAME:
	case SCHEMA_PATH:
	case SCHEMA_ADDRS:
	case SCHEMA_INTERFACES:
	case SCHEMA_PEERS:
		break;
	}
	fail_msg("%s is no number", row->name);
}

static void value_for(const struct schema_row *row, char value[static VALUE_MAX])
{
	static const char *const texts[] = {
	        [SCHEMA_TEXT] = "other text",   [SCHEMA_NAME] = "other",
	        [SCHEMA_PATH] = "/other/path",  [SCHEMA_ADDRS] = "198.51.100.77",
	        [SCHEMA_INTERFACES] = "other0", [SCHEMA_PEERS] = "peer.example",
	};
	for (size_t i = 0; i < ARRAY_LEN(special); i++) {
		if (strcmp(special[i].key, row->name) == 0) {
			(void)snprintf(value, VALUE_MAX, "%s", special[i].value);
			return;
		}
	}
	if (row->kind == SCHEMA_BOOL || row->kind == SCHEMA_WORD) {
		bool is_first = strcmp(row->def, row->words[0]) == 0;
		(void)snprintf(value, VALUE_MAX, "%s", row->words[is_first ? 1 : 0]);
	} else if (row->kind < ARRAY_LEN(texts) && texts[row->kind]) {
		(void)snprintf(value, VALUE_MAX, "%s", texts[row->kind]);
	} else {
		number_for(row, value);
	}
}

static bool is_taken(enum conf_reload reload)
{
	return reload != CONF_RESTART && reload != CONF_RESTART_BOTH;
}

static void change_one(struct fixture *fixture, const struct schema_row *row)
{
	static char before[TEXT_MAX], changed[TEXT_MAX], after[TEXT_MAX];
	char value[VALUE_MAX], reason[SCHEMA_WHY_MAX], why[CONF_ERROR_MAX] = "";
	struct conf running, fresh;
	struct told told;
	load(fixture, &running, base);
	load(fixture, &fresh, base);
	value_for(row, value);
	if (value_set(&fresh, row, value, true, reason) != 0) {
		fail_msg("%s = %s: %s", row->name, value, reason);
	}
	(void)print(&running, before);
	(void)print(&fresh, changed);
	assert_string_not_equal(before, changed);
	if (merge_with(&fresh, &running, &told, why) != 0) {
		fail_msg("%s = %s: %s", row->name, value, why);
	}
	assert_int_equal(told.n, 1);
	assert_string_equal(told.key, row->name);
	assert_non_null(strstr(told.after, value));
	assert_string_not_equal(told.before, told.after);
	assert_int_equal(told.is_pending, !is_taken(row->reload));
	bool is_done = row->reload == CONF_LIVE || row->reload == CONF_LIVE_BELOW ||
	               row->reload == CONF_LIVE_FILLED;
	assert_int_equal(told.mend[0] == '\0', is_done);
	assert_int_equal(told.is_in_force, is_done || row->reload == CONF_LIVE_LOGD);
	assert_string_equal(print(&fresh, after), is_taken(row->reload) ? changed : before);
	conf_fini(&running);
	assert_string_equal(print(&fresh, after), is_taken(row->reload) ? changed : before);
	conf_fini(&fresh);
}

static void each_changed_key_is_told_and_taken_or_kept(void **state)
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		change_one(*state, &schema_rows[i]);
	}
}

static void what_did_not_change_is_not_told(void **state)
{
	struct conf running, fresh;
	struct told told;
	char why[CONF_ERROR_MAX];
	load(*state, &running, base);
	load(*state, &fresh, base);
	assert_int_equal(merge_with(&fresh, &running, &told, why), 0);
	assert_int_equal(told.n, 0);
	conf_fini(&running);
	conf_fini(&fresh);
}

static void change_in_text_and_mend(void **state)
{
	static const struct {
		const char *was, *is, *key, *before, *after, *mend;
		bool is_pending;
	} rows[] = {
	        {"stutter = 1s\n", "stutter = 2s\n", "stutter", "1s", "2s", "", false},
	        {"workers = 2\n", "workers = 4\n", "workers", "2", "4", "systemctl restart mired",
	         true},
	        {"", "interface = {eth0, eth1}\n", "interface", "{}", "{'eth0', 'eth1'}", "",
	         false},
	        {"max-connections = 500\n", "max-connections = 1000\n", "max-connections", "500",
	         "1000", "", false},
	        {"max-connections = 500\n", "max-connections = 1001\n", "max-connections", "500",
	         "1001", "systemctl restart mired", true},
	        {"max-connections = 500\n", "", "max-connections", "500", "auto",
	         "systemctl restart mired", true},
	        {"", "low-priority-mx = 192.0.2.9\n", "low-priority-mx", "{}", "{'192.0.2.9'}",
	         "systemctl restart mired", true},
	        {"low-priority-mx = 192.0.2.9\n", "", "low-priority-mx", "{'192.0.2.9'}", "{}",
	         "systemctl restart mired", true},
	        {"", "nflog-in = 30\n", "nflog-in", "25", "30",
	         "systemctl restart mired mired-logd", true},
	        {"", "seen-interval = 20s\n", "seen-interval", "10s", "20s",
	         "systemctl restart mired-logd", false},
	        {"", "whiteexp = 10d\n", "whiteexp", "36d", "10d", "systemctl restart mired-logd",
	         false},
	        {"", "list-size = 1g\n", "list-size", "256m", "1g", "systemctl start mired-setup",
	         false},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct conf running, fresh;
		struct told told;
		char why[CONF_ERROR_MAX];
		load(*state, &running, rows[i].was);
		load(*state, &fresh, rows[i].is);
		assert_int_equal(merge_with(&fresh, &running, &told, why), 0);
		assert_int_equal(told.n, 1);
		assert_string_equal(told.key, rows[i].key);
		assert_string_equal(told.before, rows[i].before);
		assert_string_equal(told.after, rows[i].after);
		assert_string_equal(told.mend, rows[i].mend);
		assert_int_equal(told.is_pending, rows[i].is_pending);
		conf_fini(&running);
		conf_fini(&fresh);
	}
}

static void auto_is_taken_back_where_the_start_was_auto(void **state)
{
	struct conf running, fresh;
	struct told told = {0};
	char why[CONF_ERROR_MAX];
	struct conf_merge_env env = {
	        .connections_max = 1000, .was_auto = true, .on_change = tell, .ctx = &told};
	load(*state, &running, "max-connections = 500\n");
	load(*state, &fresh, "");
	assert_int_equal(conf_merge(&fresh, &running, &env, why), 0);
	assert_false(told.is_pending);
	assert_int_equal(fresh.max_connections, 0);
	conf_fini(&running);
	conf_fini(&fresh);
}

/* Each file is good in itself. */
static void old_and_new_values_that_do_not_go_together_are_refused(void **state)
{
	struct conf running, fresh;
	struct told told;
	char why[CONF_ERROR_MAX];
	load(*state, &running, "rules = local-mta\ninterface = eth0\n");
	load(*state, &fresh, "rules = none\n");
	assert_int_equal(merge_with(&fresh, &running, &told, why), ERR_SYNTAX);
	assert_non_null(strstr(why, "local-mta needs interface"));
	assert_non_null(strstr(why, "systemctl restart mired takes all of it"));
	conf_fini(&running);
	conf_fini(&fresh);
}

static void equal_configurations_have_equal_digests(void **state)
{
	struct conf a, b, c;
	char digests[3][CONF_DIGEST_MAX];
	load(*state, &a, base);
	load(*state, &b, base);
	load(*state, &c, "stutter = 2s\n");
	assert_int_equal(conf_digest(&a, digests[0]), 0);
	assert_int_equal(conf_digest(&b, digests[1]), 0);
	assert_int_equal(conf_digest(&c, digests[2]), 0);
	assert_int_equal(strlen(digests[0]), CONF_DIGEST_MAX - 1);
	assert_string_equal(digests[0], digests[1]);
	assert_string_not_equal(digests[0], digests[2]);
	conf_fini(&a);
	conf_fini(&b);
	conf_fini(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        TEST(each_changed_key_is_told_and_taken_or_kept),
	        TEST(what_did_not_change_is_not_told),
	        TEST(change_in_text_and_mend),
	        TEST(auto_is_taken_back_where_the_start_was_auto),
	        TEST(old_and_new_values_that_do_not_go_together_are_refused),
	        TEST(equal_configurations_have_equal_digests),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
