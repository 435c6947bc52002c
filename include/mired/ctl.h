/* The control protocol, for programs that talk to a running mired.
 *
 * A Unix stream socket (MIRED_SOCKET_PATH). The client sends one request: a line of words ended by
 * LF. The server answers with one JSON object and LF. The connection stays open for further
 * requests. A refused or unknown request is answered {"error": "…"}. Rights go by the client's uid
 * and groups (SO_PEERCRED), per verb:
 *
 *   status     read   figures of the daemon
 *   version    read   version of daemon and protocol
 *   clock-ok   admin  the wall clock is right: resume expiry after a jump
 *
 * read: root, the daemon's user, groups mired-stats and mired-admin. admin: root and group
 * mired-admin. */
#pragma once

enum {
	MIRED_CTL_VERSION = 1,
	MIRED_CTL_REQUEST_MAX = 4096, /* bytes of a request line */
	MIRED_CTL_CLIENTS_MAX = 64,   /* further clients wait in the backlog */
};
