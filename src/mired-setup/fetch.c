/* libcurl, told to believe nobody: protocols, redirects, size, time and speed are bounded. Runs in
 * a child of its own, so nothing has to be cleaned up after an attack but the child. */
#include "mired-setup/fetch.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"

enum {
	REDIRECTS_MAX = 5,
	CONNECT_SECS = 30,
	SLOW_BYTES = 100, /* a second; slower than this for SLOW_SECS is given up */
	SLOW_SECS = 30,
	STATUS_OK = 200,
	STATUS_NOT_MODIFIED = 304,
};

struct transfer {
	const struct fetch_job *job;
	int fd;
	uint64_t n_bytes;
	bool is_too_large;
	CURL *curl;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
};

static const struct {
	const char *first;    /* what the request may use */
	const char *redirect; /* where it may be sent on */
} protocols[] = {
        [CAPFILE_HTTP] = {"http", "http,https"},
        [CAPFILE_HTTPS] = {"https", "https"},
        [CAPFILE_FTP] = {"ftp", "ftp"},
};

static size_t on_data(char *data, size_t size, size_t n, void *ctx)
{
	struct transfer *transfer = ctx;
	size_t len = size * n;
	transfer->n_bytes += len;
	if (transfer->n_bytes > transfer->job->bytes_max) {
		transfer->is_too_large = true;
		return 0;
	}
	for (size_t done = 0; done < len;) {
		ssize_t put = write(transfer->fd, data + done, len - done);
		if (put < 0 && errno != EINTR) {
			return 0;
		}
		done += put > 0 ? (size_t)put : 0;
	}
	return len;
}

static bool add_header(struct transfer *transfer, const char *name, const char *value)
{
	char line[COPY_ETAG_MAX + 64];
	if (value[0] == '\0') {
		return true;
	}
	(void)snprintf(line, sizeof line, "%s: %s", name, value);
	struct curl_slist *longer = curl_slist_append(transfer->headers, line);
	transfer->headers = longer ? longer : transfer->headers;
	return longer != NULL;
}

static bool set_numbers(struct transfer *transfer)
{
	const struct {
		CURLoption option;
		long value;
	} numbers[] = {
	        {CURLOPT_NOSIGNAL, 1},
	        {CURLOPT_FAILONERROR, 1},
	        {CURLOPT_FOLLOWLOCATION, 1},
	        {CURLOPT_MAXREDIRS, REDIRECTS_MAX},
	        {CURLOPT_CONNECTTIMEOUT, CONNECT_SECS},
	        {CURLOPT_LOW_SPEED_LIMIT, SLOW_BYTES},
	        {CURLOPT_LOW_SPEED_TIME, SLOW_SECS},
	        {CURLOPT_TIMEOUT_MS, (long)transfer->job->timeout_ms},
	        {CURLOPT_SSL_VERIFYPEER, 1},
	        {CURLOPT_SSL_VERIFYHOST, 2},
	};
	bool is_set = true;
	for (size_t i = 0; i < ARRAY_LEN(numbers) && is_set; i++) {
		is_set = curl_easy_setopt(transfer->curl, numbers[i].option, numbers[i].value) ==
		         CURLE_OK;
	}
	return is_set;
}

static bool set_up(struct transfer *transfer)
{
	const struct fetch_job *job = transfer->job;
	CURL *curl = transfer->curl;
	return add_header(transfer, "If-None-Match", job->known.etag) &&
	       add_header(transfer, "If-Modified-Since", job->known.modified) &&
	       set_numbers(transfer) &&
	       curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, transfer->error) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_URL, job->source) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, protocols[job->method].first) ==
	               CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR,
	                        protocols[job->method].redirect) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_USERAGENT, "mired-setup/" MIRED_VERSION) ==
	               CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)job->bytes_max) ==
	               CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_HTTPHEADER, transfer->headers) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer) == CURLE_OK;
}

static void take_header(CURL *curl, const char *name, char *out, size_t size)
{
	struct curl_header *header = NULL;
	/* -1: of the last answer, not of one that sent us on */
	if (curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK) {
		copy_take_value(header->value, out, size);
	}
}

static void report_failure(const struct transfer *transfer, CURLcode code,
                           struct fetch_report *report)
{
	if (transfer->is_too_large || code == CURLE_FILESIZE_EXCEEDED) {
		fetch_report_fail(report, ERR_TOO_LONG, "it is larger than %llu bytes (list-size)",
		                  (unsigned long long)transfer->job->bytes_max);
		return;
	}
	const char *text = transfer->error[0] ? transfer->error : curl_easy_strerror(code);
	fetch_report_fail(report, code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : ERR_CLOSED, "%s",
	                  text);
}

/* Judges the answer's status; only HTTP has one that curl does not judge itself. */
static void report_answer(const struct transfer *transfer, struct fetch_report *report)
{
	long status = 0;
	bool is_conditional = transfer->headers != NULL;
	(void)curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
	if (transfer->job->method == CAPFILE_FTP) {
		return;
	}
	if (status == STATUS_NOT_MODIFIED && is_conditional && transfer->n_bytes == 0) {
		report->is_unchanged = true;
		return;
	}
	if (status != STATUS_OK) {
		fetch_report_fail(report, ERR_CLOSED, "the server answers with status %ld", status);
		return;
	}
	take_header(transfer->curl, "ETag", report->etag, sizeof report->etag);
	take_header(transfer->curl, "Last-Modified", report->modified, sizeof report->modified);
	take_header(transfer->curl, "Content-Type", report->content_type,
	            sizeof report->content_type);
}

void fetch_download(const struct fetch_job *job, int fd, struct fetch_report *report)
{
	struct transfer transfer = {.job = job, .fd = fd};
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		fetch_report_fail(report, -ENOMEM, "libcurl does not start");
		return;
	}
	transfer.curl = curl_easy_init();
	if (!transfer.curl || !set_up(&transfer)) {
		fetch_report_fail(report, ERR_UNSUPPORTED, "libcurl lacks what is needed");
	} else {
		CURLcode code = curl_easy_perform(transfer.curl);
		if (code != CURLE_OK) {
			report_failure(&transfer, code, report);
		} else {
			report_answer(&transfer, report);
		}
	}
	curl_easy_cleanup(transfer.curl);
	curl_slist_free_all(transfer.headers);
	curl_global_cleanup();
}
