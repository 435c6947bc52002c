/* The kinds of lines that are told apart, and the fields they carry in the journal. One row is the
 * name (field EVENT), the level, when it is logged, the MESSAGE_ID (of our own; never given to
 * another kind) and the text, which is spamd's where spamd has such a line (its scripts' readers
 * rely on it). The text here is what the manual shows, mired-log(7); a check holds the two
 * against each other, tests hold the programs against both. All other lines are of kind
 * LOG_EVENT_NONE: the daemon's own words. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* LIMITED: within log-rate, since others decide how many there are. VERBOSE: the same, and only
 * with `verbose`. */
enum log_when { LOG_ALWAYS, LOG_LIMITED, LOG_VERBOSE };

// clang-format off
#define LOG_EVENTS(X) \
	X(connected, INFO, LIMITED, "ef1e2c0c335a45d5a6be022b1c58e166", \
	  "IP: connected (CLIENTS/BLACK), lists: TAG ...") \
	X(disconnected, INFO, LIMITED, "064e4cfad7374b1cb4129363a5bfa078", \
	  "IP: disconnected after SECS seconds. lists: TAG ...") \
	X(attempt, INFO, VERBOSE, "1066058d7e5d42df8b1a0594fe21f9f2", \
	  "(GREY) IP: SENDER -> RECIPIENT") \
	X(header, INFO, VERBOSE, "779a91564a954c51ab1f2cd493b9e060", \
	  "IP: LINE") \
	X(body, DEBUG, VERBOSE, "8e72bb45fbc3453eb26fa94f6c39f33c", \
	  "IP: Body: LINE") \
	X(tuple, DEBUG, LIMITED, "bd050e77a40c435293d495c257731f5a", \
	  "new entry IP from SENDER to RECIPIENT, helo HELO") \
	X(greytrap, DEBUG, LIMITED, "9134902aa8f741f0be3a55d0154b8638", \
	  "new greytrap entry IP from SENDER to RECIPIENT, helo HELO") \
	X(trapped, DEBUG, LIMITED, "af6dd534e60443d0a6370bcc1616bfd1", \
	  "Trapping IP for tuple IP HELO SENDER RECIPIENT") \
	X(trapped_low_priority, DEBUG, LIMITED, "1088d9251cdd462a85c7b01032787ab0", \
	  "Trapping IP for trying MX first for tuple IP HELO SENDER RECIPIENT") \
	X(whitelisted, DEBUG, LIMITED, "2954aa9aa8874224911d5c3067125d17", \
	  "whitelisting IP in STATE/db") \
	X(blacklisted, DEBUG, LIMITED, "3374130622d54e669dc75e945b62a002", \
	  "IP blacklisted, removing from whitelist") \
	X(suffix, DEBUG, LIMITED, "f1f9b5486e1b4b269ec06a1eb80ce863", \
	  "got suffix SUFFIX") \
	X(peer, DEBUG, LIMITED, "04804cad2b514aad993a228b0c04a7b2", \
	  "new TRAP from PEER for IP, expires EPOCH") \
	X(sync_trap, DEBUG, LIMITED, "4011e81f4e894a6da52cd59807793c85", \
	  "sync_trap IP") \
	X(seen, DEBUG, VERBOSE, "4538931a49a04b8b81a95cca163b7c20", \
	  "inbound IP") \
	X(listening, WARNING, ALWAYS, "d875680573b547ccb8a1404f346c7cff", \
	  "listening for incoming connections.") \
	X(stopped, INFO, ALWAYS, "493bf86c45404ababb0ea2662f58f785", \
	  "stopped") \
	X(suppressed, WARNING, ALWAYS, "190a09cb4aff4128a02ddd525efb41e8", \
	  "EVENT: N more in the last second not logged (log-rate)") \
	X(lost, WARNING, ALWAYS, "f5f2a4d07be24be9b6b7ff0be3fdcfb0", \
	  "N log lines dropped: the log did not take them")

/* Values are text that span_escape or addr_format made, or words of ours. */
#define LOG_FIELDS(X) \
	X(client,    "CLIENT",    "address of the client") \
	X(sender,    "SENDER",    "of the envelope") \
	X(recipient, "RECIPIENT", "of the envelope") \
	X(helo,      "HELO",      "the name by which the client called itself") \
	X(verdict,   "VERDICT",   "GREY, WHITE, BLACK, TRAPPED, PASSIVE") \
	X(list,      "LIST",      "name of a list that holds the client; once for each") \
	X(line,      "LINE",      "of the mail") \
	X(peer,      "PEER",      "the gateway that told it") \
	X(count,     "COUNT",     "lines that were not logged") \
	X(of,        "OF",        "the event of which they are")
// clang-format on

#define LOG_EVENT_MEMBER(name, level, when, id, text) LOG_EVENT_##name,
enum log_event { LOG_EVENT_NONE, LOG_EVENTS(LOG_EVENT_MEMBER) LOG_EVENT_COUNT };
#undef LOG_EVENT_MEMBER

#define LOG_FIELD_MEMBER(name, label, help) const char *name;
/* NULL: the line has none. `list` holds the names with a blank before each. Not owned. */
struct log_fields {
	LOG_FIELDS(LOG_FIELD_MEMBER)
};
#undef LOG_FIELD_MEMBER

/* A row of the table; the one of LOG_EVENT_NONE is empty. */
struct log_event_row {
	const char *name;
	const char *message_id; /* 32 hexadecimal digits */
	const char *text;
	enum log_level level;
	enum log_when when;
};

const struct log_event_row *log_event_row(enum log_event event);

/* Writes the fields that are there as lines of the journal's native form, NAME=value and a line
 * feed each; a byte that would end a value is written as '?', a value is cut at
 * LOG_FIELD_BYTES_MAX, and what does not fit into size is left out whole. Returns the bytes
 * written. Pure. */
enum { LOG_FIELD_BYTES_MAX = 512, LOG_FIELDS_BYTES_MAX = 2048 };
size_t log_fields_encode(const struct log_fields *fields, char *out, size_t size);
