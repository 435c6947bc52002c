/* The control protocol, for programs that talk to a running mired.
 *
 * A Unix stream socket (MIRED_SOCKET_PATH). The client sends one request: a line of words ended by
 * LF. The server answers with one JSON object and LF. The connection stays open for further
 * requests. A refused or unknown request is answered {"error": "…"}. Rights go by the client's uid
 * and groups (SO_PEERCRED), per verb:
 *
 *   status            read   figures of the daemon
 *   version           read   version of daemon and protocol
 *   lists             read   {"lists":[{"name":…,"networks":N,"loaded":EPOCH},…]} in load order
 *   metrics [FORMAT]  read   figures for Prometheus, text; FORMAT: plain (if none is named) or
 *                            openmetrics
 *   held [N|ADDRESS]  read   connections held now: counts, the longest, networks; or of an address
 *   report [ROWS]     read   {"rows":[{"time":EPOCH,"secs":1800,"offered":N,…},…]}, newest last
 *   why ADDRESS [SENDER RECIPIENT]
 *                     admin  what is known of an address, and what would become of it now
 *   clock-ok          admin  the wall clock is right: resume expiry after a jump
 *   reload            admin  read configuration and files again
 *   list-put LENGTH   admin  body: lines of the spamd-cfg protocol, each replaces one list whole
 *   list-drop NAME    admin  the list goes
 *   change LENGTH     admin  body: one change a line (see store/change.h)
 *   seen LENGTH       event  body: lines `in|out ADDRESS COUNT LIFE`
 *
 * `metrics` is answered with lines of text instead of an object: the first begins with '#', the
 * last is "# EOF", and then the connection is closed. An error is an object there, too.
 *
 * A verb with LENGTH is followed by so many bytes, its body. `change` answers {"done":N,"failed":
 * [{"line":I,"error":"…"},…]}: each line stands for itself, is on disk when the answer comes, and
 * lines count from 1. `seen` answers {"ok":true,"dropped":N,"refused":M} once the events are
 * queued: for N lines there was no room, M were none.
 *
 * read: root, the daemon's user, groups mired-stats and mired-admin. admin: root and group
 * mired-admin. event: root and logd-user. */
#pragma once

#define MIRED_CTL_TEXT_MARK '#'
#define MIRED_CTL_TEXT_END  "# EOF"

enum {
	MIRED_CTL_VERSION = 2,
	MIRED_CTL_REQUEST_MAX = 4096,    /* bytes of a request line */
	MIRED_CTL_CLIENTS_MAX = 64,      /* further clients wait in the backlog */
	MIRED_CTL_USER_CLIENTS_MAX = 16, /* of one user, but for root and the daemon's; all users
	                                    without a right count as one */
	MIRED_CTL_LIST_MAX = 512 << 20,  /* body of list-put */
	MIRED_CTL_CHANGES_MAX = 1000,    /* lines of change */
	MIRED_CTL_CHANGE_BYTES_MAX = 4 << 20,
	MIRED_CTL_SEEN_BYTES_MAX = 128 << 10,
};
