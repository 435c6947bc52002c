/* Lists and traps as the worker sees them: whether a client is on a list, whether a recipient is a
 * trap, what a listed client is told and what the log calls its lists. Lists, domains and spamtraps
 * are read as they are at this moment and not kept: others replace them at any time. */
#include <stdio.h>
#include <string.h>

#include "engine/arrival.h"
#include "engine/worker_impl.h"
#include "keeper/knowledge.h"

enum {
	CODE_450 = 450,
	CODE_550 = 550,
	TAG_TEXT_MAX = TAGS_BYTES_MAX, /* a longer one would not be shown anyway */
};

/* The name under which trapped hosts appear among the lists, after all others. */
static const char TRAPPED_TAG[] = "spamd-greytrap";

static const struct list_table *lists_now(const struct worker *worker)
{
	return worker->env.knowledge ? knowledge_lists(worker->env.knowledge) : NULL;
}

bool worker_is_on_list(const struct worker *worker, const struct addr *peer)
{
	return list_table_find(lists_now(worker), peer) != 0;
}

bool worker_is_trap(const struct worker *worker, struct span recipient)
{
	const struct knowledge *knowledge = worker->env.knowledge;
	return knowledge && knowledge_is_trap(knowledge, recipient);
}

/* --- what a listed client is told --- */

void worker_say_listed(struct worker *worker, struct conn *conn)
{
	struct span messages[ARRIVAL_MESSAGES_MAX];
	const char *trap_text = conn->is_trapped ? worker->env.conf->trap_text : NULL;
	bool is_550 = worker->env.conf->listed_code == CONF_CODE_550;
	struct reply_lists lists = {
	        .messages = messages,
	        .n = arrival_messages(lists_now(worker), &conn->peer, trap_text, messages),
	        .code = is_550 ? CODE_550 : CODE_450,
	        .addr = &conn->peer,
	};
	bool is_whole = session_say_listed(&conn->session, conn_text(&worker->conns, conn), &lists);
	if (!is_whole && conn_text_grow(&worker->conns, conn)) {
		(void)session_say_listed(&conn->session, conn_text(&worker->conns, conn), &lists);
	}
}

/* --- what the log calls them --- */

/* False: the line is full, and says so. */
static bool add_tag(char out[static TAGS_BYTES_MAX + sizeof " ..."], struct span tag)
{
	char text[TAG_TEXT_MAX];
	size_t len = strlen(out);
	span_escape(tag, text, sizeof text);
	if (len + 1 + strlen(text) >= TAGS_BYTES_MAX) {
		memcpy(out + len, " ...", sizeof " ...");
		return false;
	}
	out[len] = ' ';
	memcpy(out + len + 1, text, strlen(text) + 1);
	return true;
}

const char *worker_list_tags(const struct worker *worker, const struct conn *conn,
                             char out[static TAGS_BYTES_MAX + sizeof " ..."])
{
	const struct list_table *table = lists_now(worker);
	bool is_listed = conn->cls == SESSION_LISTED;
	lists_mask mask = is_listed ? list_table_find(table, &conn->peer) : 0;
	bool has_room = true;
	out[0] = '\0';
	for (; mask && has_room; mask &= mask - 1) {
		has_room = add_tag(out, list_table_tag(table, (size_t)__builtin_ctzll(mask)));
	}
	if (is_listed && conn->is_trapped && has_room) {
		(void)add_tag(out, span_of_str(TRAPPED_TAG));
	}
	return out;
}
