/* Small compiler helpers used everywhere. */
#pragma once

#define MUST_USE      __attribute__((warn_unused_result))
#define PRINTF(f, a)  __attribute__((format(printf, f, a)))
#define CACHE_LINE    64
#define CACHE_ALIGNED __attribute__((aligned(CACHE_LINE)))
#define ARRAY_LEN(a)  (sizeof(a) / sizeof(*(a)))

/* Checks our own logic, never input: prints the expression to stderr and aborts. Stays on in
 * release builds. */
#define ASSERT(expr) ((expr) ? (void)0 : assert_failed(#expr, __FILE__, __LINE__))

_Noreturn void assert_failed(const char *expr, const char *file, int line);
