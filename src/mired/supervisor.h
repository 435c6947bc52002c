/* The supervisor: the root process that opens what needs rights, starts the roles, hands it over,
 * and starts again what dies. It reads nothing from the network. */
#pragma once

#include "conf/conf.h"

/* Runs until SIGTERM or SIGINT, or until going on is hopeless; returns the exit status (enum
 * role_exit). Fills in conf->workers. Main thread; starts the log. */
int supervisor_main(struct conf *conf, int argc, char **argv);
