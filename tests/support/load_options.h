/* The command line of smtpload. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

enum { LOAD_CLIENTS_MAX = 1000000, LOAD_SECONDS_MAX = 86400, LOAD_USAGE_STATUS = 2 };

struct load_options {
	struct addr server;
	uint16_t port;
	bool has_sources;
	struct addr first;
	uint32_t n_sources;
	uint32_t n_clients;
	uint32_t rate; /* new clients a second */
	uint32_t seconds;
	uint64_t push_bytes;
	bool has_lines;
	uint32_t pace_ms; /* 0 = the pace of what comes is not measured */
	bool is_idle;
	bool is_pipelined;
	const char *ack_path;
	char tag[32];
};

/* Ends the program with LOAD_USAGE_STATUS and a message when the options make no sense. */
void load_options_parse(int argc, char **argv, struct load_options *out);
