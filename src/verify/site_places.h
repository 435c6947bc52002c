/* The ports of the configuration; part of site.c. */
#pragma once

#include "verify/site.h"

/* With a daemon, connects to each place from this host and waits to be greeted; else tries whether
 * the port is free. */
void site_read_places(struct site *site, const struct conf *conf);
