/* miredctl counters: what the kernel counted for each rule, and for the addresses that are named in
 * which sets they are, since when and with what traffic. Asks the kernel itself, not the daemon; a
 * set is never read as a whole. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "conf/conf.h"
#include "fw/fw_query.h"
#include "miredctl/call.h"

enum { RANGE_TEXT_MAX = 2 * ADDR_TEXT_MAX, SECS_PER_HOUR = 3600, SECS_PER_DAY = 86400 };

static int complain(const struct conf *conf, int ret)
{
	if (ret == -EPERM) {
		return call_complain("counters", "only root may ask the packet filter");
	}
	if (ret == -ENOENT) {
		(void)fprintf(stderr,
		              "miredctl: counters: there is no table inet %s: mired does not run, "
		              "or with firewall = no\n",
		              conf->nft_table);
		return EXIT_FAILED;
	}
	if (ret == ERR_TOO_LONG) {
		(void)fprintf(stderr,
		              "miredctl: counters: table inet %s has more than %d counters, yours "
		              "included\n",
		              conf->nft_table, FW_COUNTERS_MAX);
		return EXIT_FAILED;
	}
	return call_complain("counters", err_text(ret));
}

/* --- texts ------------------------------------------------------------------------------------ */

static int note_network(void *ctx, const struct cidr *cidr)
{
	struct cidr *only = ctx;
	bool is_first = only->bits == UINT8_MAX;
	*only = *cidr;
	return is_first ? 0 : ERR_TOO_LONG;
}

/* One address, a network, or first and last of what is no network. */
static const char *range_text(const struct addr_range *range, char out[static RANGE_TEXT_MAX])
{
	struct cidr cidr = {.bits = UINT8_MAX};
	char first[ADDR_TEXT_MAX];
	char last[ADDR_TEXT_MAX];
	if (addr_equal(&range->first, &range->last)) {
		return addr_format(&range->first, out);
	}
	if (cidr_cut(range, note_network, &cidr) == 0) {
		return cidr_format(&cidr, out);
	}
	(void)snprintf(out, RANGE_TEXT_MAX, "%s-%s", addr_format(&range->first, first),
	               addr_format(&range->last, last));
	return out;
}

/* "35d04h", "3h07m", "2m05s". */
static const char *time_text(uint64_t ms, char out[static 24])
{
	unsigned long long secs = ms / 1000;
	if (secs >= SECS_PER_DAY) {
		(void)snprintf(out, 24, "%llud%02lluh", secs / SECS_PER_DAY,
		               secs % SECS_PER_DAY / SECS_PER_HOUR);
	} else if (secs >= SECS_PER_HOUR) {
		(void)snprintf(out, 24, "%lluh%02llum", secs / SECS_PER_HOUR,
		               secs % SECS_PER_HOUR / 60);
	} else {
		(void)snprintf(out, 24, "%llum%02llus", secs / 60, secs % 60);
	}
	return out;
}

/* --- for people ------------------------------------------------------------------------------- */

static void show_count(const struct answer_count *count)
{
	(void)printf(" %12llu %15llu", (unsigned long long)count->packets,
	             (unsigned long long)count->bytes);
}

static void show_counters(const struct answer_counter *counters, size_t n)
{
	char name[4 * ANSWER_NAME_MAX];
	(void)printf("%-32s %12s %15s\n", "COUNTER", "PACKETS", "BYTES");
	for (size_t i = 0; i < n; i++) {
		(void)printf("%-32s",
		             span_escape(span_of_str(counters[i].name), name, sizeof name));
		show_count(&counters[i].count);
		(void)printf("\n");
	}
}

static void show_membership(const struct fw_membership *in)
{
	char range[RANGE_TEXT_MAX];
	char left[24];
	(void)printf("  %-16s %-13s", in->set,
	             in->has_timeout ? time_text(in->left_ms, left) : "-");
	if (in->has_count) {
		show_count(&in->count);
	} else {
		(void)printf(" %12s %15s", "-", "-");
	}
	(void)printf("  %s\n", range_text(&in->range, range));
}

static void show_address(const struct addr *addr, const struct fw_membership *sets)
{
	char text[ADDR_TEXT_MAX];
	bool is_anywhere = false;
	(void)printf("\n%s", addr_format(addr, text));
	for (size_t i = 0; i < FW_QUERY_SETS; i++) {
		if (sets[i].is_in && !is_anywhere) {
			(void)printf("\n  %-16s %-13s %12s %15s  %s\n", "SET", "EXPIRES IN",
			             "PACKETS", "BYTES", "AS");
		}
		is_anywhere |= sets[i].is_in;
		if (sets[i].is_in) {
			show_membership(&sets[i]);
		}
	}
	if (!is_anywhere) {
		(void)printf(": in no set\n");
	}
}

/* --- for programs ----------------------------------------------------------------------------- */

static void add_count(json_t *object, const struct answer_count *count)
{
	(void)json_object_set_new(object, "packets", json_integer((json_int_t)count->packets));
	(void)json_object_set_new(object, "bytes", json_integer((json_int_t)count->bytes));
}

static json_t *counters_json(const struct answer_counter *counters, size_t n)
{
	json_t *object = json_object();
	char name[4 * ANSWER_NAME_MAX];
	for (size_t i = 0; i < n; i++) {
		json_t *counter = json_object();
		add_count(counter, &counters[i].count);
		(void)json_object_set_new(
		        object, span_escape(span_of_str(counters[i].name), name, sizeof name),
		        counter);
	}
	return object;
}

static json_t *membership_json(const struct fw_membership *in)
{
	char first[ADDR_TEXT_MAX];
	char last[ADDR_TEXT_MAX];
	json_t *object = json_pack("{s:s,s:s,s:s}", "set", in->set, "first",
	                           addr_format(&in->range.first, first), "last",
	                           addr_format(&in->range.last, last));
	if (in->has_timeout) {
		(void)json_object_set_new(object, "timeout_ms",
		                          json_integer((json_int_t)in->timeout_ms));
		(void)json_object_set_new(object, "left_ms", json_integer((json_int_t)in->left_ms));
	}
	if (in->has_count) {
		add_count(object, &in->count);
	}
	return object;
}

static json_t *address_json(const struct addr *addr, const struct fw_membership *sets)
{
	char text[ADDR_TEXT_MAX];
	json_t *in = json_array();
	for (size_t i = 0; i < FW_QUERY_SETS; i++) {
		if (sets[i].is_in) {
			(void)json_array_append_new(in, membership_json(&sets[i]));
		}
	}
	return json_pack("{s:s,s:o}", "address", addr_format(addr, text), "sets", in);
}

/* --- the whole -------------------------------------------------------------------------------- */

struct question {
	const struct call *call;
	struct fw_query *query;
	struct addr *addrs; /* call->n_words of them */
	json_t *answer;     /* NULL: lines for people */
};

static int ask_counters(struct question *question)
{
	struct answer_counter *counters = calloc(FW_COUNTERS_MAX, sizeof *counters);
	size_t n = 0;
	int ret = counters ? fw_query_counters(question->query, counters, &n) : -ENOMEM;
	if (ret == 0 && question->answer) {
		(void)json_object_set_new(question->answer, "counters", counters_json(counters, n));
	} else if (ret == 0) {
		show_counters(counters, n);
	}
	free(counters);
	return ret;
}

static int ask_addresses(struct question *question)
{
	json_t *list = question->answer ? json_array() : NULL;
	struct fw_membership sets[FW_QUERY_SETS];
	int ret = 0;
	for (size_t i = 0; i < question->call->n_words && ret == 0; i++) {
		ret = fw_query_address(question->query, &question->addrs[i], sets);
		if (ret == 0 && list) {
			(void)json_array_append_new(list, address_json(&question->addrs[i], sets));
		} else if (ret == 0) {
			show_address(&question->addrs[i], sets);
		}
	}
	if (list) {
		(void)json_object_set_new(question->answer, "addresses", list);
	}
	return ret;
}

static int ask(struct question *question, const struct conf *conf)
{
	int ret = fw_query_open(&question->query, conf);
	ret = ret ? ret : ask_counters(question);
	ret = ret ? ret : ask_addresses(question);
	fw_query_close(question->query);
	if (ret) {
		return complain(conf, ret);
	}
	if (question->answer) {
		(void)json_dumpf(question->answer, stdout, JSON_COMPACT);
		(void)fputc('\n', stdout);
	}
	return call_end_output();
}

/* All of them before anything is asked. */
static int read_addresses(struct question *question)
{
	const struct call *call = question->call;
	for (size_t i = 0; i < call->n_words; i++) {
		if (addr_parse(span_of_str(call->words[i]), &question->addrs[i]) != 0) {
			(void)call_complain(call->words[i], "no IP address");
			return EXIT_USAGE;
		}
	}
	return EXIT_OK;
}

int run_counters(const struct call *call)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	if (conf_load(&conf, NULL, call->conf_path, 0, NULL, why) != 0) {
		return call_complain("configuration", why);
	}
	struct question question = {.call = call,
	                            .addrs = calloc(call->n_words + 1, sizeof(struct addr)),
	                            .answer = call->is_json ? json_object() : NULL};
	int status = question.addrs ? read_addresses(&question)
	                            : call_complain(call->name, err_text(-ENOMEM));
	if (status == EXIT_OK) {
		status = ask(&question, &conf);
	}
	json_decref(question.answer);
	free(question.addrs);
	conf_fini(&conf);
	return status;
}
