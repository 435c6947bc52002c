/* The codecs of record.h. A writer and a reader walk the same fields in the same order; both carry
 * a sticky error, so a row of fields is checked once at its end. Pure; the checksum finds damage
 * (measured: LMDB itself notices little), it is no protection against forgery. */
#include "store/record.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "base/err.h"
#include "policy/trap.h"

enum {
	SUM_BYTES = 4,
	RECORD_VERSION = 2,
	TIME_BYTES = 6,
	RECORD_HEAD_BYTES = SUM_BYTES + 3 + 5 * TIME_BYTES + 8,
};

#define TIME_MAX ((INT64_C(1) << 48) - 1)

static_assert(RECORD_HEAD_BYTES + 6 + 3 * RECORD_STRING_MAX <= RECORD_VALUE_MAX,
              "the largest tuple fits into a value");
static_assert((int)TRAP_ADDRESS_MAX == (int)RECORD_STRING_MAX,
              "what is stored is normalised whole");
static_assert(RECORD_HASH_BYTES == crypto_shorthash_siphashx24_BYTES, "SipHash with 128 bits");
static_assert(RECORD_HASH_KEY_BYTES == crypto_shorthash_siphashx24_KEYBYTES, "its key");

static const uint8_t meta_key_bytes[] = {'m', 'e', 't', 'a'};
const struct span record_meta_key = {meta_key_bytes, sizeof meta_key_bytes};
static const uint8_t counts_key_bytes[] = {'t', 'o', 'm', 'b', 's', 't', 'o', 'n', 'e', 's'};
const struct span record_counts_key = {counts_key_bytes, sizeof counts_key_bytes};
static const uint8_t cursor_prefix[] = {'c', 'u', 'r', 's', 'o', 'r', '.'};
static const uint8_t meta_magic[8] = {'m', 'i', 'r', 'e', 'd', '.', 'd', 'b'};
/* fixed and public: it only has to be the same in every build */
static const uint8_t sum_key[crypto_shorthash_KEYBYTES] = {'m', 'i', 'r', 'e', 'd', ' ', 'r', 'e',
                                                           'c', 'o', 'r', 'd', ' ', 's', 'u', 'm'};

static_assert(sizeof cursor_prefix + RECORD_CURSOR_NAME_MAX <= RECORD_EXPIRY_KEY_MAX,
              "a cursor's key is a key");

/* --- fields ----------------------------------------------------------------------------------- */

struct reader {
	struct span rest;
	bool is_short;
};

static void put_be(struct record_value *out, uint64_t n, unsigned n_bytes)
{
	for (unsigned i = n_bytes; i > 0; i--) {
		out->bytes[out->len++] = (uint8_t)(n >> (8 * (i - 1)));
	}
}

static uint64_t get_be(struct reader *in, unsigned n_bytes)
{
	if (in->rest.len < n_bytes) {
		in->is_short = true;
		return 0;
	}
	uint64_t n = 0;
	for (unsigned i = 0; i < n_bytes; i++) {
		n = n << 8 | in->rest.ptr[i];
	}
	in->rest = span_skip(in->rest, n_bytes);
	return n;
}

static void put_bytes(struct record_value *out, struct span bytes)
{
	if (bytes.len > 0) {
		memcpy(out->bytes + out->len, bytes.ptr, bytes.len);
		out->len += bytes.len;
	}
}

static struct span get_bytes(struct reader *in, size_t n)
{
	if (in->rest.len < n) {
		in->is_short = true;
		return (struct span){in->rest.ptr, 0};
	}
	struct span bytes = {in->rest.ptr, n};
	in->rest = span_skip(in->rest, n);
	return bytes;
}

/* Copies exactly n bytes or leaves the error. */
static void get_copy(struct reader *in, uint8_t *out, size_t n)
{
	struct span bytes = get_bytes(in, n);
	if (bytes.len == n) {
		memcpy(out, bytes.ptr, n);
	}
}

static void put_time(struct record_value *out, struct wall t)
{
	int64_t secs = t.secs < 0 ? 0 : t.secs;
	put_be(out, (uint64_t)(secs > TIME_MAX ? TIME_MAX : secs), TIME_BYTES);
}

static struct wall get_time(struct reader *in)
{
	return (struct wall){(int64_t)get_be(in, TIME_BYTES)};
}

static bool is_at_end(const struct reader *in)
{
	return !in->is_short && in->rest.len == 0;
}

/* --- checksum --------------------------------------------------------------------------------- */

static uint32_t checksum(struct span key, struct span body)
{
	uint8_t buf[RECORD_EXPIRY_KEY_MAX + RECORD_VALUE_MAX];
	size_t n_key = key.len < RECORD_EXPIRY_KEY_MAX ? key.len : RECORD_EXPIRY_KEY_MAX;
	memcpy(buf, key.ptr, n_key);
	memcpy(buf + n_key, body.ptr, body.len);
	uint8_t hash[crypto_shorthash_BYTES];
	(void)crypto_shorthash(hash, buf, n_key + body.len, sum_key);
	return (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
}

/* Room for the sum; record_seal fills it in when the value is whole. */
static void sum_open(struct record_value *out)
{
	out->len = 0;
	put_be(out, 0, SUM_BYTES);
}

void record_seal(struct span key, struct record_value *out)
{
	size_t len = out->len;
	uint32_t sum = checksum(key, span_of(out->bytes + SUM_BYTES, len - SUM_BYTES));
	out->len = 0;
	put_be(out, sum, SUM_BYTES);
	out->len = len;
}

/* Steps over the sum, or says that it is wrong. */
static int sum_check(struct span key, struct span value, struct reader *in)
{
	if (value.len < SUM_BYTES || value.len > RECORD_VALUE_MAX) {
		return ERR_CORRUPT;
	}
	*in = (struct reader){.rest = value};
	uint32_t sum = (uint32_t)get_be(in, SUM_BYTES);
	return sum == checksum(key, in->rest) ? 0 : ERR_CORRUPT;
}

/* --- keys ------------------------------------------------------------------------------------- */

static struct span cut(struct span text)
{
	return span_of(text.ptr, text.len < RECORD_STRING_MAX ? text.len : RECORD_STRING_MAX);
}

/* Of what would be stored, so that the text read back makes the same key. */
static void put_address(struct record_value *out, struct span address)
{
	out->len += trap_address_normalise(cut(address), out->bytes + out->len).len;
}

struct tuple_key record_tuple_key(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES],
                                  const struct addr *addr, const struct tuple_text *text)
{
	struct record_value joined;
	joined.len = 0;
	put_bytes(&joined, cut(text->helo));
	put_be(&joined, 0, 1);
	put_address(&joined, text->sender);
	put_be(&joined, 0, 1);
	put_address(&joined, text->recipient);
	struct tuple_key key = {.addr = *addr};
	(void)crypto_shorthash_siphashx24(key.hash, joined.bytes, joined.len, hash_key);
	return key;
}

void record_trap_hash(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES], struct span address,
                      uint8_t out[static RECORD_HASH_BYTES])
{
	struct span text = cut(address);
	(void)crypto_shorthash_siphashx24(out, text.ptr, text.len, hash_key);
}

static void key_append(struct record_key *key, const void *bytes, size_t n)
{
	memcpy(key->bytes + key->len, bytes, n);
	key->len += n;
}

static struct record_key key_of_number(uint64_t n, unsigned n_bytes)
{
	struct record_key key = {.len = n_bytes};
	for (unsigned i = 0; i < n_bytes; i++) {
		key.bytes[i] = (uint8_t)(n >> (8 * (n_bytes - 1 - i)));
	}
	return key;
}

struct record_key record_host_key(const struct addr *addr, enum record_kind kind)
{
	struct record_key key = {.len = 0};
	uint8_t kind_byte = (uint8_t)kind;
	key_append(&key, addr->bytes, sizeof addr->bytes);
	key_append(&key, &kind_byte, 1);
	return key;
}

int record_host_key_decode(struct span in, struct addr *addr, enum record_kind *kind)
{
	if (in.len != RECORD_HOST_KEY_BYTES) {
		return ERR_SYNTAX;
	}
	uint8_t kind_byte = in.ptr[sizeof addr->bytes];
	if (kind_byte != RECORD_WHITE && kind_byte != RECORD_TRAPPED) {
		return ERR_SYNTAX;
	}
	memcpy(addr->bytes, in.ptr, sizeof addr->bytes);
	*kind = (enum record_kind)kind_byte;
	return 0;
}

struct record_key record_grey_key(const struct tuple_key *tuple)
{
	struct record_key key = {.len = 0};
	key_append(&key, tuple->addr.bytes, sizeof tuple->addr.bytes);
	key_append(&key, tuple->hash, sizeof tuple->hash);
	return key;
}

int record_grey_key_decode(struct span in, struct tuple_key *key)
{
	if (in.len != RECORD_TUPLE_KEY_BYTES) {
		return ERR_SYNTAX;
	}
	memcpy(key->addr.bytes, in.ptr, sizeof key->addr.bytes);
	memcpy(key->hash, in.ptr + sizeof key->addr.bytes, sizeof key->hash);
	return 0;
}

struct record_key record_trap_key(const uint8_t hash[static RECORD_HASH_BYTES])
{
	struct record_key key = {.len = 0};
	key_append(&key, hash, RECORD_HASH_BYTES);
	return key;
}

int record_trap_key_decode(struct span in, uint8_t hash[static RECORD_HASH_BYTES])
{
	if (in.len != RECORD_HASH_BYTES) {
		return ERR_SYNTAX;
	}
	memcpy(hash, in.ptr, RECORD_HASH_BYTES);
	return 0;
}

struct record_key record_seq_key(uint64_t seq)
{
	return key_of_number(seq, RECORD_SEQ_KEY_BYTES);
}

int record_seq_key_decode(struct span in, uint64_t *seq)
{
	if (in.len != RECORD_SEQ_KEY_BYTES) {
		return ERR_SYNTAX;
	}
	struct reader reader = {.rest = in};
	*seq = get_be(&reader, RECORD_SEQ_KEY_BYTES);
	return 0;
}

struct record_key record_expiry_key(struct wall expire, enum record_kind kind,
                                    const struct record_key *key)
{
	int64_t secs = expire.secs < 0 ? 0 : expire.secs;
	struct record_key out =
	        key_of_number((uint64_t)(secs > TIME_MAX ? TIME_MAX : secs), TIME_BYTES);
	uint8_t kind_byte = (uint8_t)kind;
	key_append(&out, &kind_byte, 1);
	key_append(&out, key->bytes, key->len);
	return out;
}

int record_expiry_key_decode(struct span in, struct wall *expire, enum record_kind *kind,
                             struct record_key *key)
{
	struct reader reader = {.rest = in};
	struct wall at = get_time(&reader);
	uint64_t kind_byte = get_be(&reader, 1);
	if (reader.is_short) {
		return ERR_SYNTAX;
	}
	struct span inner = reader.rest;
	struct addr addr;
	enum record_kind found = RECORD_GREY;
	if (kind_byte == RECORD_GREY) {
		if (inner.len != RECORD_TUPLE_KEY_BYTES) {
			return ERR_SYNTAX;
		}
	} else if (record_host_key_decode(inner, &addr, &found) || found != kind_byte) {
		return ERR_SYNTAX;
	}
	*expire = at;
	*kind = found;
	*key = (struct record_key){.len = 0};
	key_append(key, inner.ptr, inner.len);
	return 0;
}

/* --- records ---------------------------------------------------------------------------------- */

static void put_text(struct record_value *out, enum record_kind kind, const struct tuple_text *text)
{
	if (kind == RECORD_GREY) {
		put_be(out, cut(text->helo).len, 2);
		put_be(out, cut(text->sender).len, 2);
		put_be(out, cut(text->recipient).len, 2);
		put_bytes(out, cut(text->helo));
		put_bytes(out, cut(text->sender));
		put_bytes(out, cut(text->recipient));
	} else if (kind == RECORD_TRAP_ADDRESS) {
		put_be(out, cut(text->recipient).len, 2);
		put_bytes(out, cut(text->recipient));
	}
}

/* Empty for hosts. */
static struct tuple_text get_text(struct reader *in, enum record_kind kind)
{
	struct tuple_text text = {SPAN(""), SPAN(""), SPAN("")};
	size_t len[3] = {0, 0, 0};
	int first = kind == RECORD_GREY ? 0 : kind == RECORD_TRAP_ADDRESS ? 2 : 3;
	for (int i = first; i < 3; i++) {
		len[i] = (size_t)get_be(in, 2);
		in->is_short |= len[i] > RECORD_STRING_MAX;
	}
	text.helo = get_bytes(in, len[0]);
	text.sender = get_bytes(in, len[1]);
	text.recipient = get_bytes(in, len[2]);
	return text;
}

void record_encode(struct span key, enum record_kind kind, const struct grey_record *record,
                   const struct tuple_text *text, struct record_value *out)
{
	sum_open(out);
	put_be(out, RECORD_VERSION, 1);
	put_be(out, kind, 1);
	put_be(out, record->is_deleted, 1);
	put_time(out, record->first);
	put_time(out, record->pass);
	put_time(out, record->expire);
	put_time(out, record->changed_at);
	put_time(out, record->last);
	put_be(out, record->bcount, 4);
	put_be(out, record->pcount, 4);
	put_text(out, kind, text);
	record_seal(key, out);
}

int record_decode(struct span key, struct span value, enum record_kind kind,
                  struct grey_record *record, struct tuple_text *text)
{
	struct reader in;
	if (sum_check(key, value, &in)) {
		return ERR_CORRUPT;
	}
	if (get_be(&in, 1) != RECORD_VERSION) {
		return ERR_VERSION;
	}
	bool is_kind = get_be(&in, 1) == (uint64_t)kind;
	uint64_t is_deleted = get_be(&in, 1);
	struct grey_record found = {.is_deleted = is_deleted == 1};
	found.first = get_time(&in);
	found.pass = get_time(&in);
	found.expire = get_time(&in);
	found.changed_at = get_time(&in);
	found.last = get_time(&in);
	found.bcount = (uint32_t)get_be(&in, 4);
	found.pcount = (uint32_t)get_be(&in, 4);
	struct tuple_text strings = get_text(&in, kind);
	if (!is_kind || is_deleted > 1 || !is_at_end(&in)) {
		return ERR_SYNTAX;
	}
	*record = found;
	if (text) {
		*text = strings;
	}
	return 0;
}

/* --- journal ---------------------------------------------------------------------------------- */

void record_change_encode(const struct journal_change *change, struct record_value *out)
{
	struct record_key key = record_seq_key(change->seq);
	sum_open(out);
	put_be(out, RECORD_VERSION, 1);
	put_be(out, change->kind, 1);
	put_be(out, change->is_deleted, 1);
	put_be(out, change->origin, 1);
	put_bytes(out, span_of(change->addr.bytes, sizeof change->addr.bytes));
	put_bytes(out, span_of(change->hash, sizeof change->hash));
	put_time(out, change->at);
	put_time(out, change->expire);
	record_seal(span_of(key.bytes, key.len), out);
}

int record_change_decode(struct span key, struct span value, struct journal_change *out)
{
	struct reader in;
	struct journal_change found;
	if (record_seq_key_decode(key, &found.seq) || sum_check(key, value, &in)) {
		return ERR_CORRUPT;
	}
	if (get_be(&in, 1) != RECORD_VERSION) {
		return ERR_VERSION;
	}
	found.kind = (uint8_t)get_be(&in, 1);
	uint64_t is_deleted = get_be(&in, 1);
	found.is_deleted = is_deleted == 1;
	found.origin = (uint8_t)get_be(&in, 1);
	get_copy(&in, found.addr.bytes, sizeof found.addr.bytes);
	get_copy(&in, found.hash, sizeof found.hash);
	found.at = get_time(&in);
	found.expire = get_time(&in);
	if (!is_at_end(&in) || is_deleted > 1 || found.origin >= ORIGIN_COUNT ||
	    found.kind < RECORD_WHITE || found.kind > RECORD_TRAP_ADDRESS) {
		return ERR_SYNTAX;
	}
	*out = found;
	return 0;
}

/* --- meta ------------------------------------------------------------------------------------- */

void record_meta_encode(const struct store_meta *meta, struct record_value *out)
{
	sum_open(out);
	put_bytes(out, span_of(meta_magic, sizeof meta_magic));
	put_be(out, RECORD_SCHEMA, 2);
	put_bytes(out, span_of(meta->hash_key, sizeof meta->hash_key));
	put_time(out, meta->created);
	put_be(out, meta->is_clean, 1);
	record_seal(record_meta_key, out);
}

int record_meta_decode(struct span value, struct store_meta *out)
{
	struct reader in;
	if (sum_check(record_meta_key, value, &in)) {
		return ERR_CORRUPT;
	}
	if (!span_equal(get_bytes(&in, sizeof meta_magic),
	                span_of(meta_magic, sizeof meta_magic))) {
		return ERR_SYNTAX;
	}
	if (get_be(&in, 2) != RECORD_SCHEMA) {
		return ERR_VERSION;
	}
	struct store_meta found;
	get_copy(&in, found.hash_key, sizeof found.hash_key);
	found.created = get_time(&in);
	uint64_t is_clean = get_be(&in, 1);
	found.is_clean = is_clean == 1;
	if (!is_at_end(&in) || is_clean > 1) {
		return ERR_SYNTAX;
	}
	*out = found;
	return 0;
}

/* --- cursors and counts ----------------------------------------------------------------------- */

struct record_key record_cursor_key(const char *name)
{
	struct record_key key = {.len = 0};
	size_t len = strlen(name);
	ASSERT(len > 0 && len <= RECORD_CURSOR_NAME_MAX);
	key_append(&key, cursor_prefix, sizeof cursor_prefix);
	key_append(&key, name, len);
	return key;
}

void record_cursor_encode(struct span key, uint64_t seq, struct record_value *out)
{
	sum_open(out);
	put_be(out, RECORD_VERSION, 1);
	put_be(out, seq, RECORD_SEQ_KEY_BYTES);
	record_seal(key, out);
}

int record_cursor_decode(struct span key, struct span value, uint64_t *seq)
{
	struct reader in;
	struct span prefix = {cursor_prefix, sizeof cursor_prefix};
	if (key.len <= prefix.len || key.len > prefix.len + RECORD_CURSOR_NAME_MAX ||
	    !span_equal(span_of(key.ptr, prefix.len), prefix)) {
		return ERR_SYNTAX;
	}
	if (sum_check(key, value, &in)) {
		return ERR_CORRUPT;
	}
	if (get_be(&in, 1) != RECORD_VERSION) {
		return ERR_VERSION;
	}
	uint64_t found = get_be(&in, RECORD_SEQ_KEY_BYTES);
	if (!is_at_end(&in)) {
		return ERR_SYNTAX;
	}
	*seq = found;
	return 0;
}

void record_counts_encode(const struct record_counts *counts, struct record_value *out)
{
	sum_open(out);
	put_be(out, RECORD_VERSION, 1);
	put_be(out, counts->n_hosts, 8);
	put_be(out, counts->n_tuples, 8);
	put_be(out, counts->n_trap_addresses, 8);
	record_seal(record_counts_key, out);
}

int record_counts_decode(struct span value, struct record_counts *out)
{
	struct reader in;
	if (sum_check(record_counts_key, value, &in)) {
		return ERR_CORRUPT;
	}
	if (get_be(&in, 1) != RECORD_VERSION) {
		return ERR_VERSION;
	}
	struct record_counts found = {.n_hosts = get_be(&in, 8)};
	found.n_tuples = get_be(&in, 8);
	found.n_trap_addresses = get_be(&in, 8);
	if (!is_at_end(&in)) {
		return ERR_SYNTAX;
	}
	*out = found;
	return 0;
}
