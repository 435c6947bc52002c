/* miredctl check: everything that can be known to be wrong with the configuration, this machine and
 * the mired that runs, a line each with what mends it. Needs no daemon. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/span.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "miredctl/call.h"
#include "verify/judge.h"
#include "verify/site.h"
#include "verify/verify.h"

enum { STATUS_WAIT_MS = 5000 };

/* Where a text goes. */
struct text_place {
	char *bytes;
	size_t size;
};

struct output {
	json_t *findings; /* NULL: lines for people */
	size_t n_faults;
};

/* A name of a file may be no UTF-8, which JSON does not know. */
static json_t *json_text(const char *text)
{
	char escaped[4 * FINDING_TEXT_MAX + 1];
	json_t *string = json_string(text);
	return string ? string
	              : json_string(span_escape(span_of_str(text), escaped, sizeof escaped));
}

static void put(void *ctx, const struct finding *finding)
{
	struct output *output = ctx;
	if (output->findings) {
		(void)json_array_append_new(
		        output->findings,
		        json_pack("{s:s,s:o,s:s}", "severity", severity_name(finding->severity),
		                  "text", json_text(finding->text), "mend", finding->mend));
		return;
	}
	(void)printf("%s: %s%s%s\n", severity_name(finding->severity), finding->text,
	             finding->mend[0] ? " -> " : "", finding->mend);
}

/* --- what mired --check-config says ----------------------------------------------------------- */

static void put_line(struct output *output, const char *line)
{
	static const char note[] = "note: ";
	struct finding finding = {.severity = SEVERITY_ERROR};
	if (strncmp(line, note, strlen(note)) == 0) {
		finding.severity = SEVERITY_NOTE;
		line += strlen(note);
	}
	(void)snprintf(finding.text, sizeof finding.text, "%s", line);
	put(output, &finding);
}

static int check_conf(const struct conf *conf, struct output *output)
{
	char *text = NULL;
	char *rest = NULL;
	size_t len = 0;
	FILE *lines = open_memstream(&text, &len);
	if (!lines) {
		return call_complain("check", strerror(errno));
	}
	output->n_faults += (size_t)verify_conf(conf, lines);
	if (fclose(lines) != 0) {
		free(text);
		return call_complain("check", strerror(errno));
	}
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		put_line(output, line);
	}
	free(text);
	return EXIT_OK;
}

/* --- the daemon, if one runs ------------------------------------------------------------------ */

static uint64_t figure(const json_t *status, const char *group, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(json_object_get(status, group), name));
}

static bool is_true(const json_t *status, const char *group, const char *name)
{
	return json_is_true(json_object_get(json_object_get(status, group), name));
}

static void copy_text(const json_t *status, const char *group, const char *name,
                      struct text_place out)
{
	const json_t *value = json_object_get(json_object_get(status, group), name);
	const char *text = json_string_value(value);
	(void)snprintf(out.bytes, out.size, "%s", text ? text : "");
}

static void take_machine(const json_t *status, struct machine *machine)
{
	machine->daemon = (pid_t)json_integer_value(json_object_get(status, "pid"));
	machine->daemon_max_connections = (uint32_t)figure(status, "connections", "max");
	machine->has_store = true;
	machine->store = (struct store_stats){.used_bytes = figure(status, "store", "used_bytes"),
	                                      .free_bytes = figure(status, "store", "free_bytes"),
	                                      .map_bytes = figure(status, "store", "map_bytes")};
}

/* What does not fit is no great loss: a restart brings all of them into force. */
static void take_pending(const json_t *status, struct text_place out)
{
	size_t idx;
	const json_t *key;
	size_t used = 0;
	out.bytes[0] = '\0';
	json_array_foreach(json_object_get(json_object_get(status, "conf"), "pending_restart"), idx,
	                   key)
	{
		const char *name = json_string_value(key);
		if (name && used + strlen(name) + 3 < out.size) {
			used += (size_t)snprintf(out.bytes + used, out.size - used, "%s%s",
			                         used ? ", " : "", name);
		}
	}
}

static void take_site(const json_t *status, struct site_daemon *daemon)
{
	daemon->is_there = true;
	daemon->uptime_secs = json_integer_value(json_object_get(status, "uptime_secs"));
	daemon->started_at = clock_wall().secs - daemon->uptime_secs;
	daemon->has_firewall = is_true(status, "firewall", "connected");
	daemon->is_complete = is_true(status, "firewall", "complete");
	daemon->has_refresh = is_true(status, "firewall", "has_refresh");
	daemon->has_destroy = is_true(status, "firewall", "has_destroy");
	daemon->is_clock_paused = is_true(status, "clock", "paused");
	daemon->n_seen = figure(status, "connections", "passed");
	copy_text(status, "engine", "accept_mode",
	          (struct text_place){daemon->accept_mode, sizeof daemon->accept_mode});
	copy_text(status, "conf", "digest",
	          (struct text_place){daemon->digest, sizeof daemon->digest});
	take_pending(status, (struct text_place){daemon->pending, sizeof daemon->pending});
}

static void ask_daemon(const char *socket, struct machine *machine, struct site *site)
{
	json_t *status = NULL;
	int ret = ctl_wait_request(socket, "status", STATUS_WAIT_MS, &status);
	if (ret) {
		/* nobody is there; or nobody may ask; or something is in the way */
		site->daemon.is_stuck = ret == -ETIMEDOUT || ret == ERR_CLOSED || ret == ERR_SYNTAX;
		site->daemon.is_silent = ret == -EACCES;
		return;
	}
	site->daemon.is_silent = json_object_get(status, "error") != NULL;
	if (!site->daemon.is_silent) {
		take_machine(status, machine);
		take_site(status, &site->daemon);
	}
	json_decref(status);
}

/* --- the whole -------------------------------------------------------------------------------- */

static int end(const struct output *output, uint32_t n_conns)
{
	if (output->findings) {
		json_t *answer =
		        json_pack("{s:b,s:I,s:O}", "ok", output->n_faults == 0, "connections",
		                  (json_int_t)n_conns, "findings", output->findings);
		(void)json_dumpf(answer, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
		json_decref(answer);
	} else if (output->n_faults == 0) {
		(void)printf("ok: carries %u connections\n", n_conns);
	}
	if (call_end_output() != EXIT_OK) {
		return EXIT_USAGE;
	}
	return output->n_faults == 0 ? EXIT_OK : EXIT_FAILED;
}

static int check(const struct call *call, const struct conf *conf, struct output *output)
{
	struct machine machine = {0};
	struct site site = {0};
	if (check_conf(conf, output) != EXIT_OK) {
		return EXIT_USAGE;
	}
	ask_daemon(call->socket ? call->socket : conf->control_socket, &machine, &site);
	machine_read(&machine, conf);
	site_read(&site, conf);
	machine.is_activated = site.socket_unit == SITE_UNIT_ACTIVE;
	output->n_faults += judge_machine(conf, &machine, put, output);
	output->n_faults += judge_site(conf, &site, put, output);
	return end(output, judge_connections(conf, &machine));
}

int run_check(const struct call *call)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	struct output output = {.findings = call->is_json ? json_array() : NULL};
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		json_decref(output.findings);
		(void)call_complain("configuration", why);
		return EXIT_USAGE; /* it could not be checked */
	}
	int status = check(call, &conf, &output);
	json_decref(output.findings);
	conf_fini(&conf);
	return status;
}
