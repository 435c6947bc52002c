/* Command line of smtpload: see the head of smtpload.c. */
#include "load_options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/span.h"

_Noreturn static void usage(const char *why)
{
	(void)fprintf(
	        stderr,
	        "smtpload: %s\n"
	        "usage: smtpload --connect ADDR:PORT [--source-range A-B] [--seconds S] [--rate "
	        "R]\n"
	        "                ( --idle N [--push BYTES [--lines]] [--pace MS] |\n"
	        "                  --tuples N --ack-file F [--pipelined] [--tag T] )\n",
	        why);
	exit(LOAD_USAGE_STATUS);
}

static uint64_t number(const char *text, uint64_t max, const char *why)
{
	uint64_t value = 0;
	if (span_to_u64(span_of_str(text), max, &value) < 0 || value == 0) {
		usage(why);
	}
	return value;
}

/* "192.0.2.1:25" or "[2001:db8::1]:25" */
static void parse_server(const char *text, struct load_options *out)
{
	const char *colon = strrchr(text, ':');
	if (!colon || colon == text) {
		usage("--connect needs ADDR:PORT");
	}
	struct span host = span_of(text, (size_t)(colon - text));
	if (host.len > 2 && text[0] == '[' && colon[-1] == ']') {
		host = span_of(text + 1, host.len - 2);
	}
	if (addr_parse(host, &out->server) < 0) {
		usage("--connect needs a numeric address");
	}
	out->port = (uint16_t)number(colon + 1, UINT16_MAX, "--connect needs a port");
}

/* How far the last four bytes are apart; more than that is more than anybody needs. */
static uint32_t tail_of(const struct addr *addr)
{
	uint32_t be;
	memcpy(&be, addr->bytes + sizeof addr->bytes - sizeof be, sizeof be);
	return ntohl(be);
}

static void parse_sources(const char *text, struct load_options *out)
{
	struct span rest;
	struct span first = span_cut(span_of_str(text), '-', &rest);
	struct addr last;
	if (addr_parse(first, &out->first) < 0 || addr_parse(rest, &last) < 0 ||
	    tail_of(&last) < tail_of(&out->first)) {
		usage("--source-range needs two addresses A-B");
	}
	out->has_sources = true;
	out->n_sources = tail_of(&last) - tail_of(&out->first) + 1;
	if (out->n_sources == 0) {
		usage("--source-range is too long");
	}
}

static void parse_option(int letter, const char *text, struct load_options *out)
{
	switch (letter) {
	case 'c':
		parse_server(text, out);
		break;
	case 's':
		parse_sources(text, out);
		break;
	case 'i':
		out->is_idle = true;
		out->n_clients = (uint32_t)number(text, LOAD_CLIENTS_MAX, "--idle needs a number");
		break;
	case 't':
		out->n_clients =
		        (uint32_t)number(text, LOAD_CLIENTS_MAX, "--tuples needs a number");
		break;
	case 'r':
		out->rate = (uint32_t)number(text, LOAD_CLIENTS_MAX, "--rate needs a number");
		break;
	case 'S':
		out->seconds = (uint32_t)number(text, LOAD_SECONDS_MAX, "--seconds needs a number");
		break;
	case 'p':
		out->push_bytes = number(text, INT64_MAX, "--push needs a number of bytes");
		break;
	case 'l':
		out->has_lines = true;
		break;
	case 'm':
		out->pace_ms = (uint32_t)number(text, UINT16_MAX, "--pace needs milliseconds");
		break;
	case 'a':
		out->ack_path = text;
		break;
	case 'P':
		out->is_pipelined = true;
		break;
	case 'T':
		(void)span_to_str(span_of_str(text), out->tag, sizeof out->tag);
		break;
	default:
		usage("unknown option");
	}
}

void load_options_parse(int argc, char **argv, struct load_options *out)
{
	static const struct option table[] = {
	        {"connect", required_argument, NULL, 'c'},
	        {"source-range", required_argument, NULL, 's'},
	        {"idle", required_argument, NULL, 'i'},
	        {"tuples", required_argument, NULL, 't'},
	        {"rate", required_argument, NULL, 'r'},
	        {"seconds", required_argument, NULL, 'S'},
	        {"push", required_argument, NULL, 'p'},
	        {"lines", no_argument, NULL, 'l'},
	        {"pace", required_argument, NULL, 'm'},
	        {"ack-file", required_argument, NULL, 'a'},
	        {"pipelined", no_argument, NULL, 'P'},
	        {"tag", required_argument, NULL, 'T'},
	        {NULL, 0, NULL, 0},
	};
	*out = (struct load_options){.seconds = 60, .rate = 2000, .n_sources = 1};
	(void)snprintf(out->tag, sizeof out->tag, "t%d", (int)getpid());
	int letter;
	while ((letter = getopt_long(argc, argv, "", table, NULL)) != -1) {
		parse_option(letter, optarg, out);
	}
	if (out->port == 0 || out->n_clients == 0) {
		usage("--connect and one of --idle and --tuples are needed");
	}
	if (!out->is_idle && !out->ack_path) {
		usage("--tuples needs --ack-file");
	}
}
