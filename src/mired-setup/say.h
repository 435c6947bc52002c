/* What mired-setup says: problems to the log, and to stderr unless that leads into the journal,
 * too; progress to stderr only. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "conf/conf.h"

enum { SAY_WHY_MAX = 768 };

/* is_debug: the lines of -d appear. Progress appears if stderr is a terminal. */
void say_open(bool is_debug);
/* The log goes from now on where the configuration says. */
void say_configured(const struct conf *conf);
/* From now on there is no stderr: the log only. */
void say_detached(void);

/* No newline at the end; foreign bytes only escaped. */
void say_error(const char *format, ...) PRINTF(1, 2);
void say_warning(const char *format, ...) PRINTF(1, 2);
/* The log only: what was done. */
void say_note(const char *format, ...) PRINTF(1, 2);
/* stderr, with -d only; as it is, without the program's name. */
void say_debug(const char *format, ...) PRINTF(1, 2);
/* The line that is overwritten on a terminal. is_last: it stays. */
void say_progress(bool is_last, const char *format, ...) PRINTF(2, 3);
