/* The subcommands that ask a running mired over its control socket. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "ctl/format.h"
#include "mired/names.h"
#include "miredctl/call.h"

enum {
	LIST_WAIT_MS = 600000, /* until a list of millions is sent and in force */
	FIRST_BYTES = 64 << 10,
};

int call_find_socket(const struct call *call, char *path, size_t size)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	if (call->socket) {
		(void)snprintf(path, size, "%s", call->socket);
		return 0;
	}
	int ret = conf_load(&conf, NULL, call->conf_path, 0, NULL, why);
	if (ret == -EACCES && !call->conf_path) {
		(void)snprintf(path, size, "%s", MIRED_SOCKET_PATH);
		return 0;
	}
	if (ret != 0) {
		(void)call_complain("configuration", why);
		return ret;
	}
	(void)snprintf(path, size, "%s", conf.control_socket);
	conf_fini(&conf);
	return 0;
}

static int request_over(const char *path, const char *request, struct span body, int timeout_ms,
                        json_t **answer)
{
	struct ctl_link *link;
	int ret = ctl_link_open(&link, path);
	if (ret != 0) {
		return ret;
	}
	ret = ctl_link_request(link, request, body, timeout_ms, answer);
	ctl_link_close(link);
	return ret;
}

int call_ask(const struct call *call, const char *request, struct span body, int timeout_ms,
             json_t **answer)
{
	char path[CALL_PATH_MAX];
	if (call_find_socket(call, path, sizeof path) != 0) {
		return EXIT_FAILED;
	}
	int ret = request_over(path, request, body, timeout_ms, answer);
	if (ret == -ENOENT || ret == -ECONNREFUSED) {
		(void)fprintf(stderr, "miredctl: no mired answers at %s: %s\n", path,
		              err_text(ret));
		return EXIT_FAILED;
	}
	if (ret != 0) {
		return call_complain(path, err_text(ret));
	}
	const char *error = json_string_value(json_object_get(*answer, "error"));
	if (error) {
		(void)call_complain(call->name, error);
		json_decref(*answer);
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

int call_show(const struct call *call, json_t *answer, call_show_answer *for_people)
{
	if (call->is_json) {
		(void)json_dumpf(answer, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
	} else {
		for_people(answer);
	}
	json_decref(answer);
	return call_end_output();
}

static void show_figures(json_t *answer)
{
	format_figures(answer, stdout);
}

int run_request(const struct call *call)
{
	json_t *answer = NULL;
	int ret = call_ask(call, call->name, (struct span){0}, CALL_WAIT_MS, &answer);
	return ret == EXIT_OK ? call_show(call, answer, show_figures) : ret;
}

/* --- report ----------------------------------------------------------------------------------- */

/* Local time, with its seconds only where rows are that short. A line has 77 columns. */
static void print_time(const json_t *row)
{
	char when[32] = "?";
	struct tm tm;
	time_t began = (time_t)json_integer_value(json_object_get(row, "time"));
	bool has_secs = json_integer_value(json_object_get(row, "secs")) % 60 != 0;
	if (localtime_r(&began, &tm)) {
		(void)strftime(when, sizeof when, has_secs ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%d %H:%M",
		               &tm);
	}
	(void)printf("%-19s", when);
}

static const struct {
	const char *name;
	const char *title;
} columns[] = {
        {"offered", "OFFERED"}, {"deferred", "DEFERRED"},   {"passed", "PASSED"},
        {"trapped", "TRAPPED"}, {"tarpitted", "TARPITTED"},
};

static void show_row(const json_t *row)
{
	const json_t *load = json_object_get(row, "load");
	print_time(row);
	for (size_t i = 0; i < ARRAY_LEN(columns); i++) {
		(void)printf(" %9lld",
		             (long long)json_integer_value(json_object_get(row, columns[i].name)));
	}
	if (json_is_real(load)) {
		(void)printf(" %7.2f\n", json_real_value(load));
	} else {
		(void)printf(" %7s\n", "-");
	}
}

static void show_report(json_t *answer)
{
	size_t i;
	json_t *row;
	(void)printf("%-19s", "TIME");
	for (i = 0; i < ARRAY_LEN(columns); i++) {
		(void)printf(" %9s", columns[i].title);
	}
	(void)printf(" %7s\n", "LOAD");
	json_array_foreach(json_object_get(answer, "rows"), i, row)
	{
		show_row(row);
	}
}

int run_report(const struct call *call)
{
	json_t *answer = NULL;
	char request[MIRED_CTL_REQUEST_MAX];
	(void)snprintf(request, sizeof request, "report %s", call->n_rows ? call->n_rows : "");
	int ret = call_ask(call, request, (struct span){0}, CALL_WAIT_MS, &answer);
	return ret == EXIT_OK ? call_show(call, answer, show_report) : ret;
}

/* --- lists ------------------------------------------------------------------------------------ */

static void show_list(const json_t *list)
{
	char when[32] = "?";
	struct tm tm;
	const char *name = json_string_value(json_object_get(list, "name"));
	time_t loaded = (time_t)json_integer_value(json_object_get(list, "loaded"));
	if (localtime_r(&loaded, &tm)) {
		(void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
	}
	(void)printf("%-32s %10lld  %s\n", name ? name : "?",
	             (long long)json_integer_value(json_object_get(list, "networks")), when);
}

static void show_lists(json_t *answer)
{
	size_t i;
	json_t *list;
	(void)printf("%-32s %10s  %s\n", "LIST", "NETWORKS", "LOADED");
	json_array_foreach(json_object_get(answer, "lists"), i, list)
	{
		show_list(list);
	}
}

int run_lists(const struct call *call)
{
	json_t *answer = NULL;
	int ret = call_ask(call, "lists", (struct span){0}, CALL_WAIT_MS, &answer);
	return ret == EXIT_OK ? call_show(call, answer, show_lists) : ret;
}

static void show_taken(json_t *answer)
{
	(void)printf("lists: %lld, networks: %lld\n",
	             (long long)json_integer_value(json_object_get(answer, "lists")),
	             (long long)json_integer_value(json_object_get(answer, "networks")));
}

struct text {
	char *bytes;
	size_t len;
	size_t size;
};

static int grow(struct text *text)
{
	size_t size = text->size ? text->size * 2 : FIRST_BYTES;
	if (text->size == MIRED_CTL_LIST_MAX) {
		return ERR_TOO_LONG;
	}
	size = size < MIRED_CTL_LIST_MAX ? size : MIRED_CTL_LIST_MAX;
	char *bytes = realloc(text->bytes, size);
	if (!bytes) {
		return -ENOMEM;
	}
	text->bytes = bytes;
	text->size = size;
	return 0;
}

static int read_to_end(int fd, struct text *text)
{
	for (;;) {
		int ret = text->len == text->size ? grow(text) : 0;
		if (ret != 0) {
			return ret;
		}
		ssize_t n = read(fd, text->bytes + text->len, text->size - text->len);
		if (n == 0) {
			return 0;
		}
		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		text->len += n > 0 ? (size_t)n : 0;
	}
}

/* Whole, before anything is sent: a list that cannot be read to its end changes nothing. */
static int read_file(const char *path, struct text *text)
{
	if (strcmp(path, "-") == 0) {
		return read_to_end(STDIN_FILENO, text);
	}
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	int ret = read_to_end(fd, text);
	(void)close(fd);
	return ret;
}

int run_put_list(const struct call *call)
{
	json_t *answer = NULL;
	struct text text = {0};
	int ret = read_file(call->argument, &text);
	if (ret != 0) {
		ret = call_complain(call->argument, err_text(ret));
	} else {
		ret = call_ask(call, "list-put", span_of(text.bytes, text.len), LIST_WAIT_MS,
		               &answer);
		ret = ret == EXIT_OK ? call_show(call, answer, show_taken) : ret;
	}
	free(text.bytes);
	return ret;
}

int run_drop_list(const struct call *call)
{
	json_t *answer = NULL;
	char request[MIRED_CTL_REQUEST_MAX];
	(void)snprintf(request, sizeof request, "list-drop %s", call->argument);
	int ret = call_ask(call, request, (struct span){0}, LIST_WAIT_MS, &answer);
	return ret == EXIT_OK ? call_show(call, answer, show_taken) : ret;
}
