/* What engine_why gathers as JSON. Texts that came over the network are escaped here. */
#include "mired/why.h"

#include "base/err.h"
#include "ctl/ctl.h"
#include "mired/why_query.h"
#include "policy/cidr.h"

enum {
	TEXT_MAX = 512, /* of a mail address or name; a longer one is cut */
	V4_BITS = 128,  /* of a whole address in mapped form */
};

/* Takes value. */
static void put(json_t *object, const char *name, json_t *value)
{
	(void)json_object_set_new(object, name, value);
}

static json_t *text_json(struct span text)
{
	char escaped[TEXT_MAX];
	return json_string(span_escape(text, escaped, sizeof escaped));
}

static json_t *time_json(struct wall at)
{
	return json_integer((json_int_t)at.secs);
}

/* --- one thing after the other ---------------------------------------------------------------- */

struct builder {
	const struct why *why;
	json_t *lists;
	json_t *tuples;
	json_t *events;
};

static void add_list(void *ctx, struct span tag)
{
	struct builder *builder = ctx;
	(void)json_array_append_new(builder->lists, text_json(tag));
}

static const char *const verdict_names[] = {
        [VERDICT_NEW] = "new",     [VERDICT_EARLY] = "early",     [VERDICT_PROMOTE] = "passes",
        [VERDICT_WHITE] = "white", [VERDICT_TRAPPED] = "trapped",
};

/* A listed host does not pass, however patient it is. */
static const char *verdict_name(const struct why *why, enum verdict verdict)
{
	bool is_on_list = why->cls == SESSION_LISTED && !why->is_trapped;
	return is_on_list ? "listed" : verdict_names[verdict];
}

static void add_tuple(void *ctx, const struct why_tuple *tuple)
{
	struct builder *builder = ctx;
	const struct grey_record *record = &tuple->record;
	json_t *object = json_object();
	put(object, "sender", text_json(tuple->text->sender));
	put(object, "recipient", text_json(tuple->text->recipient));
	put(object, "helo", text_json(tuple->text->helo));
	put(object, "asked", json_boolean(tuple->is_asked));
	put(object, "attempts", json_integer(record->bcount));
	put(object, "first", time_json(record->first));
	put(object, "last", time_json(record->last));
	put(object, "passes", time_json(tuple->passes_at));
	put(object, "expire", time_json(record->expire));
	put(object, "retry", json_string(verdict_name(builder->why, tuple->verdict)));
	(void)json_array_append_new(builder->tuples, object);
}

static void add_event(void *ctx, const struct event *event)
{
	struct builder *builder = ctx;
	char ip[ADDR_TEXT_MAX];
	json_t *object = json_object();
	put(object, "time", time_json(event->at));
	put(object, "event", json_string(event_kind_name(event->kind)));
	put(object, "by", json_string(event_by_name(event->by)));
	put(object, "address", json_string(addr_format(&event->addr, ip)));
	put(object, "text", text_json(span_of(event->text, event->text_len)));
	put(object, "cut", json_boolean(event->is_cut));
	(void)json_array_append_new(builder->events, object);
}

/* --- the rest --------------------------------------------------------------------------------- */

static json_t *register_json(bool is_there, bool is_live, const struct grey_record *record)
{
	if (!is_there) {
		return json_null();
	}
	json_t *object = json_object();
	put(object, "live", json_boolean(is_live));
	put(object, "first", time_json(record->first));
	put(object, "changed", time_json(record->changed_at));
	put(object, "expire", time_json(record->expire));
	put(object, "deferred", json_integer(record->bcount));
	put(object, "passed", json_integer(record->pcount));
	return object;
}

static const char *class_name(const struct why *why)
{
	static const char *const names[] = {
	        [SESSION_UNKNOWN] = "unknown", [SESSION_GREY] = "grey",
	        [SESSION_WHITE] = "white",     [SESSION_LISTED] = "listed",
	        [SESSION_PASSIVE] = "passive",
	};
	return names[why->cls];
}

/* Its lines. */
static json_t *reply_json(struct span reply)
{
	json_t *lines = json_array();
	while (reply.len > 0) {
		struct span line = span_cut(reply, '\n', &reply);
		(void)json_array_append_new(lines, text_json(span_trim(line)));
	}
	return lines;
}

static json_t *mail_json(const struct why_query *query, const struct why *why)
{
	if (!query->has_mail) {
		return json_null();
	}
	json_t *object = json_object();
	put(object, "sender", text_json(query->sender));
	put(object, "recipient", text_json(query->recipient));
	put(object, "spamtrap", json_boolean(why->is_spamtrap));
	put(object, "foreign_domain", json_boolean(why->is_foreign_domain));
	put(object, "tuples", json_integer(why->n_asked));
	return object;
}

static json_t *attempt_json(const struct why *why)
{
	json_t *object = json_object();
	put(object, "verdict", json_string(verdict_name(why, why->verdict)));
	if (why->cls != SESSION_LISTED && why->passes_at.secs > 0) {
		put(object, "passes", time_json(why->passes_at));
		put(object, "until", time_json(why->passes_until));
	}
	return object;
}

static json_t *settings_json(const struct conf *conf)
{
	json_t *object = json_object();
	put(object, "mode", json_string(conf->blacklist_only ? "blacklist" : "greylist"));
	put(object, "passtime", json_integer(conf->passtime_secs));
	put(object, "greyexp", json_integer(conf->greyexp_secs));
	put(object, "whiteexp", json_integer(conf->whiteexp_secs));
	put(object, "trapexp", json_integer(conf->trapexp_secs));
	put(object, "low_priority_mx", json_boolean(conf->n_low_priority_mx > 0));
	put(object, "firewall", json_boolean(conf->firewall));
	put(object, "nospamd_file", json_string(conf->nospamd_file));
	put(object, "allowed_domains_file", json_string(conf->allowed_domains_file));
	return object;
}

static json_t *network_json(const struct why_query *query, const struct why *why,
                            const struct conf *conf)
{
	char text[CIDR_TEXT_MAX];
	const struct cidr cidr = {.addr = why->group, .bits = (uint8_t)conf->ipv6_prefix};
	bool is_whole = addr_is_v4(&query->addr) || conf->ipv6_prefix == V4_BITS;
	return is_whole ? json_null() : json_string(cidr_format(&cidr, text));
}

static json_t *answer_json(const struct conf *conf, const struct why_query *query,
                           const struct why *why, const struct builder *builder)
{
	char ip[ADDR_TEXT_MAX];
	json_t *object = json_object();
	put(object, "address", json_string(addr_format(&query->addr, ip)));
	put(object, "network", network_json(query, why, conf));
	put(object, "time", time_json(why->now));
	put(object, "clock_paused", json_boolean(why->is_clock_paused));
	put(object, "lists", builder->lists);
	put(object, "white", register_json(why->has_white, why->is_white, &why->white));
	put(object, "trapped", register_json(why->has_trapped, why->is_trapped, &why->trapped));
	put(object, "n_tuples", json_integer(why->n_tuples));
	put(object, "more_tuples", json_boolean(why->is_cut));
	put(object, "tuples", builder->tuples);
	put(object, "mail", mail_json(query, why));
	put(object, "class", json_string(class_name(why)));
	put(object, "reply", reply_json(span_of(why->reply, why->reply_len)));
	put(object, "attempt", attempt_json(why));
	put(object, "events", builder->events);
	put(object, "settings", settings_json(conf));
	return object;
}

json_t *why_answer(struct engine *engine, struct span args)
{
	char reason[WHY_QUERY_ERROR_MAX];
	struct why_query query;
	struct why why;
	if (why_query_parse(args, &query, reason) != 0) {
		return ctl_error(reason);
	}
	struct builder builder = {
	        .why = &why, .lists = json_array(), .tuples = json_array(), .events = json_array()};
	const struct why_sink sink = {
	        .ctx = &builder, .list = add_list, .tuple = add_tuple, .event = add_event};
	int ret = engine_why(engine, &query, &sink, &why);
	if (ret == 0) {
		return answer_json(engine_conf(engine), &query, &why, &builder);
	}
	json_decref(builder.lists);
	json_decref(builder.tuples);
	json_decref(builder.events);
	return ctl_error(err_text(ret));
}
