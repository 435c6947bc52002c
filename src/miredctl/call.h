/* What all subcommands of miredctl share. */
#pragma once

#include <stdbool.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct call {
	const char *conf_path; /* NULL = the default one */
	const char *socket;    /* NULL = the configuration's */
	bool is_json;
	bool is_check;
	const char *name;     /* of the subcommand */
	const char *argument; /* of the subcommands that take one, else NULL */
	const char *n_rows;   /* -n of report; NULL = not given */
};

/* Says on stderr what went wrong; returns EXIT_FAILED. */
int call_complain(const char *about, const char *reason);
/* The exit status after the last byte of output. */
int call_end_output(void);

/* daemon.c: subcommands that ask a running mired. */
int run_request(const struct call *call);
int run_lists(const struct call *call);
int run_report(const struct call *call);
int run_put_list(const struct call *call);
int run_drop_list(const struct call *call);

/* check.c: exit status 1 for findings, 2 when it could not be checked. */
int run_check(const struct call *call);

/* synckey.c */
int run_sync_key(const struct call *call);
