/* miredctl reload: what changed, what still takes a restart, what was left out, and whether the
 * lists are older than the file that says which ones there are. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/conf.h"
#include "miredctl/call.h"

static const char *text_of(const json_t *row, const char *name)
{
	const char *text = json_string_value(json_object_get(row, name));
	return text ? text : "";
}

/* What only mired-setup reads needs no restart; what mired took, others may need one for. */
static void show_change(const json_t *row)
{
	const char *mend = text_of(row, "mend");
	bool is_restart = strstr(mend, " restart ") != NULL;
	bool is_in_force = json_is_true(json_object_get(row, "in_force"));
	(void)printf("%s: %s -> %s%s%s\n", text_of(row, "key"), text_of(row, "before"),
	             text_of(row, "after"),
	             !mend[0]      ? ""
	             : is_in_force ? "; mired-logd needs a restart for it: "
	             : is_restart  ? " needs a restart: "
	                           : " counts from the next run on: ",
	             mend);
}

static void show_changes(json_t *answer)
{
	size_t i;
	json_t *row;
	const json_t *changes = json_object_get(answer, "changes");
	json_array_foreach(json_object_get(answer, "warnings"), i, row)
	{
		(void)fprintf(stderr, "miredctl: warning: %s\n", json_string_value(row));
	}
	json_array_foreach(changes, i, row)
	{
		show_change(row);
	}
	if (json_array_size(changes) == 0) {
		(void)puts("no key has changed; nospamd and the allowed domains are read again");
	}
}

/* 0: there are none. */
static json_int_t newest_list_secs(const struct call *call)
{
	size_t i;
	json_t *row;
	json_t *answer = NULL;
	json_int_t newest = 0;
	if (call_ask(call, "lists", (struct span){0}, CALL_WAIT_MS, &answer) != EXIT_OK) {
		return 0;
	}
	json_array_foreach(json_object_get(answer, "lists"), i, row)
	{
		json_int_t loaded = json_integer_value(json_object_get(row, "loaded"));
		newest = loaded > newest ? loaded : newest;
	}
	json_decref(answer);
	return newest;
}

/* A reload fetches nothing: that takes minutes, and is mired-setup's. */
static void hint_at_lists(const struct call *call)
{
	struct conf conf;
	struct stat st;
	char why[CONF_ERROR_MAX];
	json_int_t newest = newest_list_secs(call);
	if (newest == 0 || conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		return;
	}
	if (stat(conf.lists_file, &st) == 0 && st.st_mtime > (time_t)newest) {
		(void)printf("%s is newer than the lists in force: systemctl start mired-setup\n",
		             conf.lists_file);
	}
	conf_fini(&conf);
}

int run_reload(const struct call *call)
{
	json_t *answer = NULL;
	int ret = call_ask(call, call->name, (struct span){0}, CALL_WAIT_MS, &answer);
	if (ret != EXIT_OK) {
		return ret;
	}
	ret = call_show(call, answer, show_changes);
	if (ret == EXIT_OK && !call->is_json) {
		hint_at_lists(call);
		ret = call_end_output();
	}
	return ret;
}
