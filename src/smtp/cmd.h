/* SMTP commands: one row a verb, dispatched by the row. Words are compared whole and in any case;
 * nothing but the row decides where a command is legal. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "smtp/dialogue.h"
#include "smtp/reply.h"

enum cmd_arg {
	CMD_NO_ARG, /* whatever follows the word is ignored */
	CMD_WORD,   /* the first word after it */
	CMD_COLON,  /* the first word after the first colon */
};

struct cmd {
	const char *verb;
	enum cmd_arg arg;
	uint16_t states; /* DIALOGUE_BIT of each state in which it is legal */
	enum reply_id (*handler)(struct dialogue_line *in, struct span value);
};

extern const struct cmd cmd_table[];
extern const size_t cmd_count;

/* The row of a line's first word, or NULL. */
const struct cmd *cmd_find(struct span line);
/* The value of a line as the kind of argument says; empty when it is not there. It ends before a
 * blank, tab, CR or NUL (no NUL may get into names that C programs will print), everything else is
 * kept as it came: brackets, case, 8-bit. What follows it (SIZE=… and the like) is ignored. */
struct span cmd_value(struct span line, enum cmd_arg arg);

/* Answers one command line: moves the dialogue, fills in->event. */
enum reply_id cmd_answer(struct dialogue_line *in);
