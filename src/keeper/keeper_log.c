/* Lines of spamd(8) that operators' scripts read, about what has just become durable. A tuple's
 * parts have blanks between them where spamd has line feeds. Keeper's thread. */
#include "base/log.h"
#include "keeper/keeper_impl.h"

enum { VALUE_MAX = LOG_LINE_MAX / 4 }; /* of a value from the network, escaped */

/* A tuple made readable. */
struct words {
	char ip[ADDR_TEXT_MAX];
	char sender[VALUE_MAX];
	char recipient[VALUE_MAX];
	char helo[VALUE_MAX];
};

/* The fields point into *words. */
static struct log_fields spell(struct words *words, const struct addr *addr,
                               const struct tuple_text *text, const char *verdict)
{
	return (struct log_fields){
	        .client = addr_format(addr, words->ip),
	        .sender = span_escape(text->sender, words->sender, sizeof words->sender),
	        .recipient =
	                span_escape(text->recipient, words->recipient, sizeof words->recipient),
	        .helo = span_escape(text->helo, words->helo, sizeof words->helo),
	        .verdict = verdict,
	};
}

void keeper_log_new(const struct whom *whom, const struct tuple_text *text)
{
	struct words words;
	if (log_takes(LOG_EVENT_tuple)) {
		const struct log_fields fields = spell(&words, &whom->group, text, "GREY");
		log_event(LOG_EVENT_tuple, &fields, "new entry %s from %s to %s, helo %s", words.ip,
		          words.sender, words.recipient, words.helo);
	}
}

void keeper_log_promotion(const struct keeper *keeper, const struct whom *whom)
{
	char ip[ADDR_TEXT_MAX];
	if (log_takes(LOG_EVENT_whitelisted)) {
		const struct log_fields fields = {.client = addr_format(&whom->group, ip),
		                                  .verdict = "WHITE"};
		log_event(LOG_EVENT_whitelisted, &fields, "whitelisting %s in %s/db", ip,
		          keeper->env.conf->state_dir);
	}
}

/* The low-priority MX by which this client came; several of its family count as the first. */
static const char *low_priority_mx(const struct keeper *keeper, const struct addr *peer,
                                   char buf[static ADDR_TEXT_MAX])
{
	const struct conf *conf = keeper->env.conf;
	for (size_t i = 0; i < conf->n_low_priority_mx; i++) {
		if (addr_is_v4(&conf->low_priority_mx[i]) == addr_is_v4(peer)) {
			return addr_format(&conf->low_priority_mx[i], buf);
		}
	}
	return "the low-priority MX";
}

static void log_low_priority(const struct keeper *keeper, const struct addr *peer,
                             const struct words *words, const struct log_fields *fields)
{
	char mx[ADDR_TEXT_MAX];
	log_event(LOG_EVENT_trapped_low_priority, fields,
	          "Trapping %s for trying %s first for tuple %s %s %s %s", words->ip,
	          low_priority_mx(keeper, peer, mx), words->ip, words->helo, words->sender,
	          words->recipient);
}

void keeper_log_trap(const struct keeper *keeper, const struct batch_result *result)
{
	struct words words;
	const struct keeper_request *request = pending_request(result->pending);
	struct tuple_text tuple = keeper_tuple_text(request);
	bool is_low = result->deed == DEED_TRAP_LOW_PRIORITY;
	bool has_trap = log_takes(is_low ? LOG_EVENT_trapped_low_priority : LOG_EVENT_trapped);
	bool has_entry = !result->was_trapped && log_takes(LOG_EVENT_greytrap);
	if (!has_trap && !has_entry) {
		return;
	}
	const struct log_fields fields = spell(&words, &request->peer, &tuple, "TRAPPED");
	if (has_trap && is_low) {
		log_low_priority(keeper, &request->peer, &words, &fields);
	} else if (has_trap) {
		log_event(LOG_EVENT_trapped, &fields, "Trapping %s for tuple %s %s %s %s", words.ip,
		          words.ip, words.helo, words.sender, words.recipient);
	}
	if (has_entry) {
		log_event(LOG_EVENT_greytrap, &fields,
		          "new greytrap entry %s from %s to %s, helo %s", words.ip, words.sender,
		          words.recipient, words.helo);
	}
}

void keeper_log_told(const struct batch_result *result)
{
	char ip[ADDR_TEXT_MAX];
	char peer[ADDR_TEXT_MAX];
	const struct change *change = &pending_change(result->pending)->change;
	const struct change_effect *effect = &result->effect;
	bool is_news = effect->was_stranger && (effect->is_trapped_now || effect->is_white_now);
	if (change->kind != CHANGE_PEER_HOST || !is_news || !log_takes(LOG_EVENT_peer)) {
		return;
	}
	const struct addr from = addr_from_v4_be(change->peer_be);
	const struct log_fields fields = {.client = addr_format(&change->addr, ip),
	                                  .verdict = effect->is_trapped_now ? "TRAPPED" : "WHITE",
	                                  .peer = addr_format(&from, peer)};
	log_event(LOG_EVENT_peer, &fields, "new %s from %s for %s, expires %lld",
	          effect->is_trapped_now ? "TRAP" : "WHITE", peer, ip,
	          (long long)change->record.expire.secs);
}
