/* miredctl metrics: prints the daemon's figures as Prometheus takes them, or serves them over HTTP.
 * Each scrape is one request to the control socket: whoever comes by HTTP has nothing else of the
 * daemon before him. */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "miredctl/call.h"
#include "miredctl/http.h"

enum {
	SCRAPE_WAIT_MS = 5000,
	WHY_MAX = 512,
	FRESH_MS = 250, /* so long a page serves everybody: who asks without end costs the daemon
	                   little */
};

#define PAGE_PATH        "/metrics"
#define TYPE_PLAIN       "text/plain; version=0.0.4; charset=utf-8"
#define TYPE_OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* --- over HTTP -------------------------------------------------------------------------------- */

enum format { FORMAT_PLAIN, FORMAT_OPENMETRICS, FORMAT_COUNT };

static const struct {
	const char *request;
	const char *type;
} formats[FORMAT_COUNT] = {
        [FORMAT_PLAIN] = {"metrics plain", TYPE_PLAIN},
        [FORMAT_OPENMETRICS] = {"metrics openmetrics", TYPE_OPENMETRICS},
};

struct scrape {
	char socket[CALL_PATH_MAX];
	struct {
		json_t *text; /* NULL: none so far */
		struct mono at;
	} last[FORMAT_COUNT];
};

static void explain(const struct scrape *scrape, const char *reason, struct http_page *out)
{
	char text[CALL_PATH_MAX + WHY_MAX];
	(void)snprintf(text, sizeof text, "no figures from %s: %s\n", scrape->socket, reason);
	out->text = strdup(text);
	out->status = 503;
}

/* The text, borrowed; NULL: explained in out. */
static const char *fetch(struct scrape *scrape, enum format format, struct http_page *out)
{
	struct mono now = clock_mono();
	json_t *answer = NULL;
	if (scrape->last[format].text && mono_diff_ms(now, scrape->last[format].at) < FRESH_MS) {
		return json_string_value(scrape->last[format].text);
	}
	int ret =
	        ctl_wait_request(scrape->socket, formats[format].request, SCRAPE_WAIT_MS, &answer);
	if (ret == 0 && json_is_string(answer)) {
		json_decref(scrape->last[format].text);
		scrape->last[format].text = answer;
		scrape->last[format].at = now;
		return json_string_value(answer);
	}
	const char *error = json_string_value(json_object_get(answer, "error"));
	explain(scrape, error ? error : err_text(ret), out);
	json_decref(answer);
	return NULL;
}

/* Prometheus names OpenMetrics among what it accepts; who does not gets the plain text. */
static void make_page(void *ctx, const char *accept, struct http_page *out)
{
	bool is_openmetrics = strstr(accept, "application/openmetrics-text") != NULL;
	enum format format = is_openmetrics ? FORMAT_OPENMETRICS : FORMAT_PLAIN;
	const char *text = fetch(ctx, format, out);
	if (text) {
		out->type = formats[format].type;
		out->text = strdup(text);
	}
}

static void scrape_fini(struct scrape *scrape)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++) {
		json_decref(scrape->last[i].text);
	}
}

/* A descriptor that is readable when it is over. */
static int open_signals(void)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int serve_on(struct scrape *scrape, uint16_t port, int stop)
{
	char where[64];
	const struct http_env env = {.path = PAGE_PATH,
	                             .port = port,
	                             .stop = stop,
	                             .make_page = make_page,
	                             .ctx = scrape};
	struct http *http = NULL;
	(void)snprintf(where, sizeof where, "http://127.0.0.1:%u" PAGE_PATH, (unsigned)port);
	int ret = http_open(&http, &env);
	if (ret == 0) {
		(void)sd_notifyf(0, "READY=1\nSTATUS=serving %s", where);
		ret = http_run(http);
		(void)sd_notify(0, "STOPPING=1");
	}
	http_close(http);
	return ret == 0 ? EXIT_OK : call_complain(where, err_text(ret));
}

static int serve(const struct call *call)
{
	struct scrape scrape = {.socket = ""};
	struct conf conf;
	char why[CONF_ERROR_MAX];
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		return call_complain("configuration", why);
	}
	uint16_t port = conf.metrics_port;
	(void)snprintf(scrape.socket, sizeof scrape.socket, "%s",
	               call->socket ? call->socket : conf.control_socket);
	conf_fini(&conf);
	if (port == 0) {
		(void)call_complain("metrics", "metrics-port is off in mired.conf; 9625 is free");
		return EXIT_USAGE;
	}
	int stop = open_signals();
	if (stop < 0) {
		return call_complain("signals", err_text(stop));
	}
	int status = serve_on(&scrape, port, stop);
	scrape_fini(&scrape);
	(void)close(stop);
	return status;
}

/* --- once ------------------------------------------------------------------------------------- */

static int print_once(const struct call *call)
{
	char request[MIRED_CTL_REQUEST_MAX];
	json_t *answer = NULL;
	(void)snprintf(request, sizeof request, "metrics %s", call->argument ? call->argument : "");
	int ret = call_ask(call, request, (struct span){0}, CALL_WAIT_MS, &answer);
	if (ret != EXIT_OK) {
		return ret;
	}
	const char *text = json_string_value(answer);
	(void)fputs(text ? text : "", stdout);
	json_decref(answer);
	return text ? call_end_output() : call_complain(call->name, "the answer is no text");
}

int run_metrics(const struct call *call)
{
	if (call->is_json || (call->is_http && call->argument)) {
		(void)call_complain(call->name, call->is_json
		                                        ? "there is no --json"
		                                        : "over HTTP the client says the format");
		return EXIT_USAGE;
	}
	return call->is_http ? serve(call) : print_once(call);
}
