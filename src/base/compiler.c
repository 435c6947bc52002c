/* The end of a failed ASSERT: a bug of ours, never input. */
#include "base/compiler.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void assert_failed(const char *expr, const char *file, int line)
{
	(void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
	abort();
}
