/* Starting the engine's threads: named, and with every signal blocked, so that signals arrive in
 * the one thread that asks for them (signalfd). */
#pragma once

#include <pthread.h>

#include "base/compiler.h"

/* name: at most 15 bytes. -errno. */
MUST_USE int thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *arg);
