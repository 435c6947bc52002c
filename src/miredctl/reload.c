/* miredctl reload: what changed, what still takes a restart, what was left out; and the lists,
 * which mired-setup brings. */
#include <fcntl.h>
#include <jansson.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

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

/* Whether the file that names the lists was changed since they were loaded. */
static bool is_newer(const struct call *call, const char *lists_file)
{
	struct stat st;
	json_int_t newest = newest_list_secs(call);
	return newest != 0 && stat(lists_file, &st) == 0 && st.st_mtime > (time_t)newest;
}

/* The exit status of a program that is found in PATH; -1 when it could not be run. */
static int run_program(char *const argv[], const posix_spawn_file_actions_t *files)
{
	pid_t pid = 0;
	int status = 0;
	(void)fflush(stdout);
	if (posix_spawnp(&pid, argv[0], files, NULL, argv, environ) != 0 ||
	    waitpid(pid, &status, 0) != pid) {
		return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A systemd that does not answer has no such timer; what it says of itself is nobody's concern. */
static bool is_timer_active(void)
{
	char *const is_active[] = {"systemctl", "--quiet", "is-active", "mired-setup.timer", NULL};
	posix_spawn_file_actions_t files;
	if (posix_spawn_file_actions_init(&files) != 0) {
		return false;
	}
	bool is_active_now = posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null",
	                                                      O_WRONLY, 0) == 0 &&
	                     run_program(is_active, &files) == 0;
	(void)posix_spawn_file_actions_destroy(&files);
	return is_active_now;
}

/* Where systemd brings the lists by its timer it does so now; not waited for, since fetching may
 * take minutes and a reload asked of systemd goes before it. The unit knows the default
 * configuration only. */
static bool has_systemd_brought_them(const struct call *call)
{
	char *const start[] = {"systemctl", "--no-block", "start", "mired-setup.service", NULL};
	return !call->conf_path && access("/run/systemd/system", F_OK) == 0 && is_timer_active() &&
	       run_program(start, NULL) == 0;
}

/* mired-setup by the same configuration; it says itself what fails. */
static int run_setup(const struct call *call)
{
	char *const by_default[] = {"mired-setup", NULL};
	char *const by_file[] = {"mired-setup", "-f", (char *)call->conf_path, NULL};
	int status = run_program(call->conf_path ? by_file : by_default, NULL);
	if (status < 0) {
		(void)call_complain("mired-setup", "is not found or cannot be run");
	}
	return status == 0 ? EXIT_OK : EXIT_FAILED;
}

/* The daemon fetches nothing; lists are mired-setup's, which knows a daemon by its configuration:
 * one that was called by another socket is left to whoever did that. */
static int bring_lists(const struct call *call)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	int ret = EXIT_OK;
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		return EXIT_OK; /* the daemon took it: its options mended it */
	}
	bool is_root = geteuid() == 0;
	bool is_other = call->socket && strcmp(call->socket, conf.control_socket) != 0;
	if (!is_other && is_root && has_systemd_brought_them(call)) {
		(void)puts("lists: mired-setup.service brings them");
	} else if (!is_other && is_newer(call, conf.lists_file)) {
		(void)printf("%s is newer than the lists in force: %s\n", conf.lists_file,
		             is_root ? "mired-setup brings them" : "run mired-setup as root");
		ret = is_root ? run_setup(call) : EXIT_OK;
	}
	conf_fini(&conf);
	return ret;
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
		ret = bring_lists(call);
		int end = call_end_output();
		ret = ret ? ret : end;
	}
	return ret;
}
