/* A file of the administrator's that is looked at and read again when it has changed. The
 * supervisor keeps its last good content for roles that start. Time is handed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/textfile.h"
#include "priv/msg.h"
#include "priv/role.h"

enum {
	WATCHED_LOOK_MS = 1000,
	WATCHED_STILL_MS = 300, /* a changed file is read when it has been still for this long */
};

/* A file as one look finds it. */
struct watched_look {
	bool is_there;
	uint64_t inode;
	int64_t size_bytes;
	int64_t changed_ns; /* the later of content and name */
};

/* Owned by the supervisor's thread. */
struct watched {
	const char *path; /* the configuration's */
	bool may_miss;
	enum msg_type type;        /* by which it is handed over ... */
	enum role_kind role;       /* ... and to whom */
	int fd;                    /* sealed memfd with the content in force; -1 = none */
	struct watched_look taken; /* what was read, or could not be */
	struct watched_look last;
	struct mono look_at;
	bool is_asked_for; /* at look_at it is read even if it has not changed */
	struct mono ask_again_at;
};

/* Reads it for the first time. The codes of textfile_read with why. */
MUST_USE int watched_open(struct watched *watched, struct mono now,
                          char why[static TEXTFILE_WHY_MAX]);
void watched_close(struct watched *watched);

enum watched_news { WATCHED_NOTHING, WATCHED_CHANGED, WATCHED_UNREADABLE };

/* At look_at or later: CHANGED = fd has new content. UNREADABLE with why, once for each state of
 * the file and each time it is asked for: the old content stays in force. */
enum watched_news watched_look(struct watched *watched, struct mono now,
                               char why[static TEXTFILE_WHY_MAX]);
/* The next look reads it, changed or not. It is due at once, but no sooner than a second after the
 * last one that was asked for: who asks a thousand times a second keeps no role busy. */
void watched_ask(struct watched *watched, struct mono now);
