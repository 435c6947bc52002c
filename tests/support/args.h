/* Command lines of pairs `--name VALUE`, each pair a row of a table. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* A place for datagrams or streams: "192.0.2.1:25", or the path of a local socket. */
struct args_place {
	struct sockaddr_storage name;
	socklen_t len; /* 0: not given */
};

/* Exactly one of number, text and place is where the value goes. */
struct args_row {
	const char *name;
	uint64_t *number;
	uint64_t number_max;
	const char **text; /* points into argv */
	struct args_place *place;
};

/* False, with a message on stderr, for an unknown name, a missing or a wrong value. */
bool args_read(char **argv, const struct args_row *rows, size_t n_rows);
