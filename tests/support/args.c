/* Command lines of pairs `--name VALUE`. */
#include "args.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/addr.h"
#include "base/span.h"

static bool read_path(const char *value, struct args_place *out)
{
	struct sockaddr_un *name = (struct sockaddr_un *)&out->name;
	name->sun_family = AF_UNIX;
	out->len = sizeof *name;
	return span_to_str(span_of_str(value), name->sun_path, sizeof name->sun_path) ==
	       strlen(value);
}

static bool read_address(const char *value, struct args_place *out)
{
	struct span rest;
	struct span host = span_cut(span_of_str(value), ':', &rest);
	struct sockaddr_in *name = (struct sockaddr_in *)&out->name;
	struct addr addr;
	uint64_t port;
	if (addr_parse(host, &addr) < 0 || !addr_is_v4(&addr) ||
	    span_to_u64(rest, UINT16_MAX, &port) < 0) {
		return false;
	}
	*name = (struct sockaddr_in){.sin_family = AF_INET,
	                             .sin_port = htons((uint16_t)port),
	                             .sin_addr = {addr_v4_be(&addr)}};
	out->len = sizeof *name;
	return true;
}

static bool read_value(const char *value, const struct args_row *row)
{
	if (row->number) {
		return span_to_u64(span_of_str(value), row->number_max, row->number) == 0;
	}
	if (row->place) {
		return *value == '/' ? read_path(value, row->place)
		                     : read_address(value, row->place);
	}
	*row->text = value;
	return true;
}

static const struct args_row *find_row(const char *arg, const struct args_row *rows, size_t n_rows)
{
	for (size_t i = 0; i < n_rows; i++) {
		if (strncmp(arg, "--", 2) == 0 && strcmp(arg + 2, rows[i].name) == 0) {
			return &rows[i];
		}
	}
	return NULL;
}

bool args_read(char **argv, const struct args_row *rows, size_t n_rows)
{
	for (char **arg = argv + 1; *arg; arg += 2) {
		const struct args_row *row = find_row(*arg, rows, n_rows);
		if (!row || !arg[1] || !read_value(arg[1], row)) {
			(void)fprintf(stderr, "%s: %s %s makes no sense\n", argv[0], *arg,
			              arg[1] ? arg[1] : "");
			return false;
		}
	}
	return true;
}
