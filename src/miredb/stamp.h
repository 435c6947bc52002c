/* Records for import --merge: those of the merge form as they are, lines of spamdb with the stamp
 * that is known best. Pure. */
#pragma once

#include "base/clock.h"
#include "base/compiler.h"
#include "store/dump.h"

struct stamp_conf {
	struct wall now;
	int64_t whiteexp_secs;
	int64_t trapexp_secs;
	int64_t skew_secs; /* how far in the future a record may have been changed */
};

/* Errors as dump_parse; ERR_RANGE for a stamp beyond the skew. */
MUST_USE int stamp_read(const struct stamp_conf *conf, struct span line,
                        uint8_t buf[static DUMP_TEXT_BYTES], struct dump_record *out,
                        char why[static DUMP_WHY_MAX]);
