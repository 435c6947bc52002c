/* The process that fetches: forked at the start, it becomes the fetch user for good and does one
 * list after the other as the program asks, each in a child that is ended when its time or size is
 * over. It ends with the program. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "lists/capfile.h"
#include "mired-setup/bytes.h"
#include "mired-setup/fetch.h"

enum { FETCHER_WHY_MAX = 512 };

struct fetcher;

struct fetcher_conf {
	const char *user; /* who it becomes; NULL: it stays who it is, without capabilities */
	uint64_t bytes_max;
	uint32_t timeout_ms;
};

/* Forks: call it before anything is open that the fetcher must not have. -errno, or what
 * sandbox_drop says, with why. */
MUST_USE int fetcher_start(const struct fetcher_conf *conf, struct fetcher **out,
                           char why[static FETCHER_WHY_MAX]);
/* NULL is fine. */
void fetcher_stop(struct fetcher *fetcher);

/* Called now and then while data come. */
typedef void fetcher_progress(void *ctx, size_t n_bytes);
struct fetcher_request {
	enum capfile_method method;
	const char *source; /* URL or command line, below COPY_SOURCE_MAX */
	struct fetch_known known;
	fetcher_progress *progress;
	void *ctx;
};

/* Waits for the whole list: data is appended to. Returns the report's code; report->why says what
 * went wrong. */
MUST_USE int fetcher_wait_get(struct fetcher *fetcher, const struct fetcher_request *request,
                              struct bytes *data, struct fetch_report *report);
