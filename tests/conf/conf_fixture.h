/* What the tests of the configuration share: a file of their own and loads that must fail. */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "conf/conf.h"

enum { FIXTURE_ARGS_MAX = 32, FIXTURE_ARG_BYTES = 320 };

struct fixture {
	char path[64];
	char args[FIXTURE_ARGS_MAX][FIXTURE_ARG_BYTES]; /* getopt_long wants writable ones */
	char why[CONF_ERROR_MAX];
	struct conf conf;
	struct conf_cli cli;
};

static inline int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof *fixture);
	if (!fixture) {
		return -1;
	}
	(void)snprintf(fixture->path, sizeof fixture->path, "/tmp/mired-conf-XXXXXX");
	int fd = mkstemp(fixture->path);
	if (fd < 0) {
		free(fixture);
		return -1;
	}
	(void)close(fd);
	*state = fixture;
	return 0;
}

static inline int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	conf_fini(&fixture->conf);
	(void)unlink(fixture->path);
	free(fixture);
	return 0;
}

/* Writes len bytes as the file and loads it, with the given options (NULL-terminated, without the
 * program's name; NULL for none). */
static inline int fixture_load_bytes(struct fixture *fixture, const char *text, size_t len,
                                     const char *const *options)
{
	char *argv[FIXTURE_ARGS_MAX] = {"mired", "-f", fixture->path};
	int argc = 3;
	FILE *file = fopen(fixture->path, "w");
	if (!file || fwrite(text, 1, len, file) != len || fclose(file) != 0) {
		return -1;
	}
	for (size_t i = 0; options && options[i] && argc < FIXTURE_ARGS_MAX - 1; i++) {
		(void)snprintf(fixture->args[i], FIXTURE_ARG_BYTES, "%s", options[i]);
		argv[argc++] = fixture->args[i];
	}
	conf_fini(&fixture->conf);
	return conf_load(&fixture->conf, &fixture->cli, NULL, argc, argv, fixture->why);
}

static inline int fixture_load(struct fixture *fixture, const char *text,
                               const char *const *options)
{
	return fixture_load_bytes(fixture, text, strlen(text), options);
}
