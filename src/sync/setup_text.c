/* A setup as text, which the supervisor hands to a role:
 *
 *   key HEX | key -
 *   port N
 *   interface A.B.C.D
 *   group yes | group no
 *   receive yes | receive no
 *   peer A.B.C.D NAME          any number of them
 *
 * The lines come in this order. */
#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/err.h"
#include "sync/setup.h"

enum { HEAD_TEXT_MAX = 160, PEER_TEXT_MAX = sizeof "peer 255.255.255.255 \n" + SYNC_NAME_MAX };

static_assert(HEAD_TEXT_MAX + (size_t)CONF_SYNC_PEERS_MAX * PEER_TEXT_MAX <= SYNC_SETUP_TEXT_MAX,
              "a setup with all peers fits");

int sync_setup_print(const struct sync_setup *setup, char text[static SYNC_SETUP_TEXT_MAX])
{
	char addr[INET_ADDRSTRLEN];
	FILE *out = fmemopen(text, SYNC_SETUP_TEXT_MAX, "w");
	if (!out) {
		return ERR_TOO_LONG;
	}
	(void)setvbuf(out, NULL, _IONBF, 0); /* no copy of the key stays in a buffer */
	(void)fprintf(out, "key %s\n", setup->key.is_empty ? "-" : setup->key.text);
	(void)fprintf(out, "port %d\n", setup->port);
	(void)inet_ntop(AF_INET, &setup->interface_be, addr, sizeof addr);
	(void)fprintf(out, "interface %s\n", addr);
	(void)fprintf(out, "group %s\n", setup->has_group ? "yes" : "no");
	(void)fprintf(out, "receive %s\n", setup->must_receive ? "yes" : "no");
	for (size_t i = 0; i < setup->n_peers; i++) {
		(void)inet_ntop(AF_INET, &setup->peers[i].addr_be, addr, sizeof addr);
		(void)fprintf(out, "peer %s %s\n", addr, setup->peers[i].name);
	}
	bool is_whole = fflush(out) == 0 && !ferror(out) && ftell(out) < SYNC_SETUP_TEXT_MAX;
	(void)fclose(out);
	return is_whole ? 0 : ERR_TOO_LONG;
}

/* The value of the next line, which must be of this key. */
static int take_line(struct span *rest, const char *key, struct span *value)
{
	struct span line = *rest;
	if (line.len == 0 || !memchr(line.ptr, '\n', line.len)) {
		return ERR_SYNTAX;
	}
	line = span_cut(line, '\n', rest);
	struct span name = span_cut(line, ' ', value);
	return span_equal(name, span_of_str(key)) ? 0 : ERR_SYNTAX;
}

static int take_bool(struct span *rest, const char *key, bool *out)
{
	struct span value;
	int ret = take_line(rest, key, &value);
	*out = ret == 0 && span_equal(value, SPAN("yes"));
	return ret == 0 && (*out || span_equal(value, SPAN("no"))) ? 0 : ERR_SYNTAX;
}

static int take_v4(struct span text, uint32_t *out)
{
	struct addr addr;
	if (addr_parse(text, &addr) != 0 || !addr_is_v4(&addr)) {
		return ERR_SYNTAX;
	}
	*out = addr_v4_be(&addr);
	return 0;
}

static int take_key(struct span *rest, struct sync_key *out)
{
	struct span value;
	if (take_line(rest, "key", &value) != 0) {
		return ERR_SYNTAX;
	}
	out->is_empty = span_equal(value, SPAN("-"));
	if (out->is_empty) {
		return 0;
	}
	for (size_t i = 0; i < value.len; i++) {
		if (!isdigit(value.ptr[i]) && (value.ptr[i] < 'a' || value.ptr[i] > 'f')) {
			return ERR_SYNTAX;
		}
	}
	return span_to_str(value, out->text, sizeof out->text) == SYNC_KEY_CHARS &&
	                       value.len == SYNC_KEY_CHARS
	               ? 0
	               : ERR_SYNTAX;
}

static int take_head(struct span *rest, struct sync_setup *setup)
{
	struct span value;
	uint64_t port;
	if (take_key(rest, &setup->key) != 0 || take_line(rest, "port", &value) != 0 ||
	    span_to_u64(value, UINT16_MAX, &port) != 0) {
		return ERR_SYNTAX;
	}
	setup->port = (uint16_t)port;
	if (take_line(rest, "interface", &value) != 0 ||
	    take_v4(value, &setup->interface_be) != 0 ||
	    take_bool(rest, "group", &setup->has_group) != 0) {
		return ERR_SYNTAX;
	}
	return take_bool(rest, "receive", &setup->must_receive);
}

static int take_peer(struct span *rest, struct sync_setup *setup)
{
	struct span name;
	struct span value;
	if (setup->n_peers == ARRAY_LEN(setup->peers)) {
		return ERR_TOO_LONG;
	}
	struct sync_peer *peer = &setup->peers[setup->n_peers];
	if (take_line(rest, "peer", &value) != 0 ||
	    take_v4(span_cut(value, ' ', &name), &peer->addr_be) != 0) {
		return ERR_SYNTAX;
	}
	for (size_t i = 0; i < name.len; i++) {
		if (!isgraph(name.ptr[i])) {
			return ERR_SYNTAX;
		}
	}
	if (name.len == 0 || name.len >= sizeof peer->name) {
		return ERR_SYNTAX;
	}
	(void)span_to_str(name, peer->name, sizeof peer->name);
	setup->n_peers++;
	return 0;
}

int sync_setup_parse(struct span text, struct sync_setup *out)
{
	struct sync_setup setup = {.n_peers = 0};
	if (text.len > SYNC_SETUP_TEXT_MAX) {
		return ERR_TOO_LONG;
	}
	int ret = take_head(&text, &setup);
	while (ret == 0 && text.len > 0) {
		ret = take_peer(&text, &setup);
	}
	if (ret == 0) {
		*out = setup;
	}
	return ret;
}
