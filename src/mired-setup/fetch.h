/* One download, in the unprivileged child: the only file that knows libcurl. */
#pragma once

#include <stdint.h>

#include "lists/capfile.h"
#include "mired-setup/copy.h"
#include "mired-setup/report.h"

/* What may make the request conditional: of the copy we have. "" = nothing. */
struct fetch_known {
	char etag[COPY_ETAG_MAX];
	char modified[COPY_DATE_MAX];
};

struct fetch_job {
	enum capfile_method method;
	const char *source; /* URL, or command line */
	uint64_t bytes_max;
	uint32_t timeout_ms;
	struct fetch_known known;
};

/* Writes the data to fd as they come. Redirects stay within the method's protocol, or go from http
 * to https; certificates are verified. */
void fetch_download(const struct fetch_job *job, int fd, struct fetch_report *report);
