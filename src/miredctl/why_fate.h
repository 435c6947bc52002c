/* The end of `miredctl why`: what happens if the host connects now, and what would change it.
 * Pure but for `out`. */
#pragma once

#include <jansson.h>
#include <stdio.h>

enum fate {
	FATE_NOSPAMD,   /* exempted: the mail server sees it at once */
	FATE_WHITE,     /* white in the kernel */
	FATE_UNCHECKED, /* white in the store; the kernel could not be asked */
	FATE_LOST,      /* white in the store, but the kernel has no entry */
	FATE_UNHELPED,  /* white in the store, and mired has no sets (firewall = no) */
	FATE_MISLED,    /* white in the store, trapped in the kernel */
	FATE_UNLISTED,  /* blacklist-only mode, on no list */
	FATE_LISTED,
	FATE_TRAPPED,
	FATE_LISTED_TRAPPED,
	FATE_TRAPS,   /* this mail will trap it: it goes to a spamtrap */
	FATE_FOREIGN, /* the same: it goes to a domain that gets no mail here */
	FATE_NEW,     /* a first attempt */
	FATE_EARLY,   /* a retry too early */
	FATE_ENDS,    /* the same, and its tuple ends before one would qualify */
	FATE_PASSES,  /* a retry that qualifies */
	FATE_COUNT
};

/* answer: as why_text takes it. The kernel comes first, in the order of its rules (nft/); then what
 * the daemon says of a connection that reaches it. */
enum fate why_fate_of(const json_t *answer);
void why_fate(const json_t *answer, FILE *out);
