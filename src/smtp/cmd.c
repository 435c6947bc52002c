/* The verb table and what each command does (spamd.md §5 with its arrows). No order is enforced
 * between HELO, MAIL, RCPT and DATA, as in the original.
 *
 * - HELO and MAIL are accepted again. HELO begins anew, as RSET does (RFC 5321 4.1.4); MAIL forgets
 *   the recipient.
 * - RSET clears the envelope, HELO is kept; it is also accepted before HELO.
 * - MAIL or RCPT without a colon is answered as any, for the codes are the interface, but the value
 *   is missing then: an older one is never used again, and no tuple comes of it.
 * - VRFY, EXPN, HELP and an empty line are unknown commands. */
#include "smtp/cmd.h"

static enum reply_id do_helo(struct dialogue_line *in, struct span value)
{
	if (value.len == 0) {
		return REPLY_HELO_ARG;
	}
	text_set_value(in->text, TEXT_HELO, value);
	text_set_value(in->text, TEXT_SENDER, SPAN(""));
	text_set_value(in->text, TEXT_RECIPIENT, SPAN(""));
	dialogue_move(in->session, DIALOGUE_READY);
	return REPLY_HELO;
}

static enum reply_id do_mail(struct dialogue_line *in, struct span value)
{
	text_set_value(in->text, TEXT_SENDER, value);
	text_set_value(in->text, TEXT_RECIPIENT, SPAN(""));
	dialogue_move(in->session, DIALOGUE_ENVELOPE);
	return REPLY_SENDER;
}

static enum session_event_kind rcpt_event(const struct dialogue_line *in)
{
	const struct dialogue_class_row *row = &dialogue_classes[in->session->cls];
	const struct session_event *event = in->event;
	bool has_envelope = event->sender.len > 0 && event->recipient.len > 0;
	if (row->makes_tuples) {
		return has_envelope && event->helo.len > 0 ? SESSION_EVENT_TUPLE
		                                           : SESSION_EVENT_NO_HELO;
	}
	return row->tells_rcpt && has_envelope ? SESSION_EVENT_RCPT : SESSION_EVENT_NONE;
}

static enum reply_id do_rcpt(struct dialogue_line *in, struct span value)
{
	text_set_value(in->text, TEXT_RECIPIENT, value);
	dialogue_move(in->session, DIALOGUE_ENVELOPE);
	in->event->helo = text_value(in->text, TEXT_HELO);
	in->event->sender = text_value(in->text, TEXT_SENDER);
	in->event->recipient = text_value(in->text, TEXT_RECIPIENT);
	in->event->kind = rcpt_event(in);
	return REPLY_RECIPIENT;
}

static enum reply_id do_data(struct dialogue_line *in, struct span value)
{
	(void)value;
	if (!dialogue_classes[in->session->cls].reads_mail) {
		return dialogue_defer(in);
	}
	dialogue_move(in->session, DIALOGUE_HEAD);
	return REPLY_DATA;
}

static enum reply_id do_rset(struct dialogue_line *in, struct span value)
{
	(void)value;
	text_set_value(in->text, TEXT_SENDER, SPAN(""));
	text_set_value(in->text, TEXT_RECIPIENT, SPAN(""));
	bool has_helo = text_value(in->text, TEXT_HELO).len > 0;
	dialogue_move(in->session, has_helo ? DIALOGUE_READY : DIALOGUE_START);
	return REPLY_RESET;
}

static enum reply_id do_noop(struct dialogue_line *in, struct span value)
{
	(void)in;
	(void)value;
	return REPLY_NOOP;
}

static enum reply_id do_quit(struct dialogue_line *in, struct span value)
{
	(void)value;
	dialogue_event(in->session, DIALOGUE_QUIT);
	return REPLY_BYE;
}

// clang-format off
const struct cmd cmd_table[] = {
	{"HELO", CMD_WORD,   DIALOGUE_COMMANDS, do_helo},
	{"EHLO", CMD_WORD,   DIALOGUE_COMMANDS, do_helo},
	{"MAIL", CMD_COLON,  DIALOGUE_COMMANDS, do_mail},
	{"RCPT", CMD_COLON,  DIALOGUE_COMMANDS, do_rcpt},
	{"DATA", CMD_NO_ARG, DIALOGUE_COMMANDS, do_data},
	{"RSET", CMD_NO_ARG, DIALOGUE_COMMANDS, do_rset},
	{"NOOP", CMD_NO_ARG, DIALOGUE_COMMANDS, do_noop},
	{"QUIT", CMD_NO_ARG, DIALOGUE_COMMANDS, do_quit},
};
// clang-format on
const size_t cmd_count = ARRAY_LEN(cmd_table);

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

static struct span first_word(struct span s)
{
	size_t len = 0;
	while (len < s.len && !is_blank(s.ptr[len]) && s.ptr[len] != '\r' && s.ptr[len] != '\0') {
		len++;
	}
	return (struct span){s.ptr, len};
}

const struct cmd *cmd_find(struct span line)
{
	struct span word = first_word(line);
	bool is_cut = word.len < line.len && line.ptr[word.len] == '\0';
	for (size_t i = 0; i < cmd_count && !is_cut; i++) {
		if (span_equal_nocase(word, span_of_str(cmd_table[i].verb))) {
			return &cmd_table[i];
		}
	}
	return NULL;
}

struct span cmd_value(struct span line, enum cmd_arg arg)
{
	struct span rest = span_skip(line, first_word(line).len);
	if (arg == CMD_NO_ARG) {
		return SPAN("");
	}
	if (arg == CMD_COLON) {
		(void)span_cut(line, ':', &rest);
	}
	while (rest.len > 0 && is_blank(rest.ptr[0])) {
		rest = span_skip(rest, 1);
	}
	rest = first_word(rest);
	rest.len = rest.len < SESSION_VALUE_MAX ? rest.len : SESSION_VALUE_MAX;
	return rest;
}

static enum reply_id answer_unknown(struct dialogue_line *in)
{
	in->event->is_bad = true;
	if (in->session->bad_commands >= in->conf->bad_commands_max) {
		return dialogue_defer(in);
	}
	in->session->bad_commands++;
	return REPLY_UNKNOWN;
}

enum reply_id cmd_answer(struct dialogue_line *in)
{
	in->event->is_command = true;
	const struct cmd *cmd = cmd_find(in->line);
	if (!cmd || !(cmd->states & DIALOGUE_BIT(in->session->state))) {
		return answer_unknown(in);
	}
	return cmd->handler(in, cmd_value(in->line, cmd->arg));
}
