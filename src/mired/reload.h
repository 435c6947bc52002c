/* A reload as the supervisor does it: file and options again, the checks of a start as far as they
 * count while mired runs, and then everything or nothing. Keys that need a restart keep their
 * values. What has to be told to roles is in places afterwards; the supervisor tells them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "conf/conf.h"
#include "mired/places.h"

/* Owned by the supervisor's only thread. */
struct reload {
	int argc; /* the command line, whose options win over the file again */
	char **argv;
	struct conf asked; /* what is in force, as file and options say it (see places_settle) */
};

/* *conf as just loaded; the command line is borrowed until reload_fini. Sets places->state.
 * -ENOMEM.
 */
MUST_USE int reload_init(struct reload *reload, const struct conf *conf, int argc, char **argv);
void reload_fini(struct reload *reload);

/* What the status says of a configuration that was loaded now; a new object. pending: keys that
 * wait for a restart, taken over (NULL: none). */
json_t *reload_state(const struct conf *asked, json_t *pending);

/* Does it, and says in the log what changed, or why nothing did. True: places has another
 * configuration (conf, conf_fd, state_fd, files, rules_fd). *answer is a new object, as the verb
 * `reload` gives it. */
bool reload_run(struct reload *reload, struct places *places, struct mono now, json_t **answer);
