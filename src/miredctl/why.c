/* miredctl why: what the daemon knows of an address, what the kernel does, whether it is connected
 * now; and what follows from all that. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/err.h"
#include "conf/conf.h"
#include "ctl/ctl.h"
#include "fw/fw_query.h"
#include "miredctl/call.h"
#include "miredctl/why_text.h"

/* --- the kernel ------------------------------------------------------------------------------- */

static json_t *error_json(const char *text)
{
	return json_pack("{s:s}", "error", text);
}

static json_t *sets_json(const struct fw_membership memberships[static FW_QUERY_SETS])
{
	json_t *sets = json_array();
	for (size_t i = 0; i < FW_QUERY_SETS; i++) {
		const struct fw_membership *in = &memberships[i];
		if (!in->is_in) {
			continue;
		}
		json_t *set = json_pack("{s:s}", "set", in->set);
		if (in->has_timeout) {
			(void)json_object_set_new(
			        set, "timeout_secs",
			        json_integer((json_int_t)(in->left_ms / MS_PER_SEC)));
		}
		(void)json_array_append_new(sets, set);
	}
	return json_pack("{s:o}", "sets", sets);
}

static json_t *ask_kernel(const struct conf *conf, const struct addr *addr)
{
	struct fw_query *query = NULL;
	struct fw_membership sets[FW_QUERY_SETS];
	if (!conf->firewall) {
		return error_json("firewall = no: mired has no sets");
	}
	int ret = fw_query_open(&query, conf);
	ret = ret ? ret : fw_query_address(query, addr, sets);
	fw_query_close(query);
	if (ret == -EPERM) {
		return error_json("only root may ask it");
	}
	if (ret == -ENOENT) {
		return error_json("its table is missing");
	}
	return ret ? error_json(err_text(ret)) : sets_json(sets);
}

static json_t *kernel_json(const struct call *call, const struct addr *addr)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		return error_json(why);
	}
	json_t *kernel = ask_kernel(&conf, addr);
	conf_fini(&conf);
	return kernel;
}

/* --- the daemon ------------------------------------------------------------------------------- */

static json_t *held_json(const struct call *call, const char *address)
{
	char request[MIRED_CTL_REQUEST_MAX];
	json_t *answer = NULL;
	json_t *held = NULL;
	(void)snprintf(request, sizeof request, "held %s", address);
	if (call_ask(call, request, (struct span){0}, CALL_WAIT_MS, &answer) == EXIT_OK) {
		held = json_incref(json_object_get(answer, "connections"));
	}
	json_decref(answer);
	return held ? held : json_null();
}

/* A mail address in <>, so that one with blanks is a word, and the null sender, too. */
static int put_word(char *request, size_t size, const char *word)
{
	size_t len = strlen(request);
	bool is_bracketed = word[0] == '<';
	int n = snprintf(request + len, size - len, is_bracketed ? " %s" : " <%s>", word);
	return n > 0 && (size_t)n < size - len ? 0 : ERR_TOO_LONG;
}

static int make_request(const struct call *call, char request[static MIRED_CTL_REQUEST_MAX])
{
	int n = snprintf(request, MIRED_CTL_REQUEST_MAX, "why %s", call->argument);
	int ret = n > 0 && n < MIRED_CTL_REQUEST_MAX ? 0 : ERR_TOO_LONG;
	for (size_t i = 1; i < call->n_words && ret == 0; i++) {
		ret = put_word(request, MIRED_CTL_REQUEST_MAX, call->words[i]);
	}
	return ret;
}

static void show(json_t *answer)
{
	why_text(answer, stdout);
}

int run_why(const struct call *call)
{
	char request[MIRED_CTL_REQUEST_MAX];
	struct addr addr;
	json_t *answer = NULL;
	if (call->n_words == 2) {
		(void)call_complain("why", "a sender without a recipient");
		return EXIT_USAGE;
	}
	int ret = make_request(call, request);
	if (ret != 0) {
		return call_complain("why", err_text(ret));
	}
	ret = call_ask(call, request, (struct span){0}, CALL_WAIT_MS, &answer);
	if (ret != EXIT_OK) {
		return ret;
	}
	const char *address = json_string_value(json_object_get(answer, "address"));
	if (address && addr_parse(span_of_str(address), &addr) == 0) {
		(void)json_object_set_new(answer, "kernel", kernel_json(call, &addr));
		(void)json_object_set_new(answer, "held", held_json(call, address));
	}
	return call_show(call, answer, show);
}
