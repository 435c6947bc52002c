/* What all subcommands of miredctl share. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { CALL_PATH_MAX = 4096, CALL_WAIT_MS = 10000 }; /* for an answer that comes at once */

struct call {
	const char *conf_path; /* NULL = the default one */
	const char *socket;    /* NULL = the configuration's */
	bool is_json;
	bool is_check;
	const char *name;     /* of the subcommand */
	const char *argument; /* the first word behind the name, NULL = none */
	char *const *words;   /* all of them */
	size_t n_words;
	const char *n_rows; /* -n; NULL = not given */
	const char *delay;  /* -d of top; NULL = not given */
	bool is_once;       /* -1 of top */
	bool is_http;       /* --http of metrics */
};

/* Says on stderr what went wrong; returns EXIT_FAILED. */
int call_complain(const char *about, const char *reason);
/* The exit status after the last byte of output. */
int call_end_output(void);

/* The path of the control socket; an asker who may not read the default configuration gets the
 * default one. Not 0: it has been said why not. */
int call_find_socket(const struct call *call, char *path, size_t size);
/* Asks a running mired; body: empty when the request has none. *answer is a new reference.
 * EXIT_FAILED: it has been said why, and *answer is none. */
int call_ask(const struct call *call, const char *request, struct span body, int timeout_ms,
             json_t **answer);
typedef void call_show_answer(json_t *answer);
/* Prints the answer as JSON if that is wanted, else for people; takes it. The exit status. */
int call_show(const struct call *call, json_t *answer, call_show_answer *for_people);

/* daemon.c: subcommands that ask a running mired. */
int run_request(const struct call *call);
int run_lists(const struct call *call);
int run_report(const struct call *call);
int run_put_list(const struct call *call);
int run_drop_list(const struct call *call);

/* held.c */
int run_held(const struct call *call);
/* top.c */
int run_top(const struct call *call);

/* check.c: exit status 1 for findings, 2 when it could not be checked. */
int run_check(const struct call *call);

/* counters.c: asks the kernel. */
enum { COUNTERS_WORDS_MAX = 1000 };
int run_counters(const struct call *call);

/* metrics.c */
int run_metrics(const struct call *call);

/* reload.c */
int run_reload(const struct call *call);

/* why.c */
int run_why(const struct call *call);

/* synckey.c */
int run_sync_key(const struct call *call);
