/* Every decoder of the store's rows on the same bytes: the first byte says how many of the rest are
 * the key. What decodes is encoded again and must give the same bytes. Everything is tried twice:
 * as it is, and with the sum set right, or hardly an input would get past it. */
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"
#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void same(struct span a, struct span b)
{
	ASSERT(span_equal(a, b));
}

static void try_record(struct span key, struct span value, enum record_kind kind)
{
	struct grey_record record;
	struct tuple_text text;
	struct record_value again;
	if (record_decode(key, value, kind, &record, &text) == 0) {
		record_encode(key, kind, &record, &text, &again);
		same(value, span_of(again.bytes, again.len));
	}
}

static void try_keys(struct span key)
{
	struct record_key inner;
	struct record_key again;
	struct wall expire;
	struct addr addr;
	enum record_kind kind = RECORD_GREY;
	if (record_expiry_key_decode(key, &expire, &kind, &inner) == 0) {
		again = record_expiry_key(expire, kind, &inner);
		same(key, span_of(again.bytes, again.len));
	}
	if (record_host_key_decode(key, &addr, &kind) == 0) {
		again = record_host_key(&addr, kind);
		same(key, span_of(again.bytes, again.len));
	}
}

static void try_values(struct span key, struct span value)
{
	struct record_value again;
	struct journal_change change;
	struct store_meta meta;
	uint64_t seq = 0;
	for (enum record_kind kind = RECORD_WHITE; kind <= RECORD_TRAP_ADDRESS; kind++) {
		try_record(key, value, kind);
	}
	if (record_change_decode(key, value, &change) == 0) {
		record_change_encode(&change, &again);
		same(value, span_of(again.bytes, again.len));
	}
	if (record_cursor_decode(key, value, &seq) == 0) {
		record_cursor_encode(key, seq, &again);
		same(value, span_of(again.bytes, again.len));
	}
	if (record_meta_decode(value, &meta) == 0) {
		record_meta_encode(&meta, &again);
		same(value, span_of(again.bytes, again.len));
	}
}

static void try_sealed(struct span key, struct span sum_key, struct span value)
{
	struct record_value sealed = {.len = value.len};
	if (value.len >= 4 && value.len <= sizeof sealed.bytes) {
		memcpy(sealed.bytes, value.ptr, value.len);
		record_seal(sum_key, &sealed);
		try_values(key, span_of(sealed.bytes, sealed.len));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = {data, size};
	if (size == 0) {
		return 0;
	}
	rest = span_skip(rest, 1);
	size_t n_key = data[0] < rest.len ? data[0] : rest.len;
	struct span key = {rest.ptr, n_key};
	struct span value = span_skip(rest, n_key);
	try_keys(key);
	try_values(key, value);
	try_sealed(key, key, value);
	try_sealed(key, record_meta_key, value);
	return 0;
}
