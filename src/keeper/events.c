/* A ring of 64-byte slots, each with a sequence lock as in store/cache.c: the writer stores an odd
 * sequence (relaxed), the words (release), the even sequence (release); a reader that acquires any
 * new word sees at least the odd sequence in its second look. It does not try again: a slot that
 * changes under it holds something newer than what it looks for. */
#include "keeper/events.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	WORD_ADDR = 0,
	WORD_STATE = 2, /* second (32 bits: until 2106), kind, by, length and cut */
	WORD_TEXT = 3,
	N_WORDS = WORD_TEXT + EVENT_TEXT_MAX / 8,
	SHIFT_AT = 32,
	SHIFT_KIND = 24,
	SHIFT_BY = 16,
	SHIFT_LEN = 8,
	BYTE = 0xff,
};

struct slot {
	_Atomic uint64_t seq; /* odd while being written */
	_Atomic uint64_t words[N_WORDS];
};

static_assert(sizeof(struct slot) == CACHE_LINE, "one slot, one cache line");
static_assert((int)EVENT_KIND_COUNT <= (int)BYTE && (int)EVENT_BY_COUNT <= (int)BYTE,
              "a byte each");

struct events {
	struct slot *slots;
	uint32_t mask;
	_Atomic uint64_t n_added; /* the owner writes */
};

struct events *events_new(uint32_t n_max)
{
	struct events *events = calloc(1, sizeof *events);
	uint32_t n = 1;
	if (!events) {
		return NULL;
	}
	while (n < n_max && n < UINT32_C(1) << 31) {
		n *= 2;
	}
	void *slots = mmap(NULL, (size_t)n * sizeof(struct slot), PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slots == MAP_FAILED) {
		free(events);
		return NULL;
	}
	events->slots = slots;
	events->mask = n - 1;
	return events;
}

void events_free(struct events *events)
{
	if (events) {
		(void)munmap(events->slots, ((size_t)events->mask + 1) * sizeof(struct slot));
		free(events);
	}
}

/* --- one slot: pack and unpack are mirror images ---------------------------------------------- */

static void pack(const struct event *event, struct span text, uint64_t words[static N_WORDS])
{
	size_t len = text.len < EVENT_TEXT_MAX ? text.len : EVENT_TEXT_MAX;
	memcpy(words + WORD_ADDR, event->addr.bytes, sizeof event->addr.bytes);
	words[WORD_STATE] = (uint64_t)(uint32_t)event->at.secs << SHIFT_AT |
	                    (uint64_t)event->kind << SHIFT_KIND | (uint64_t)event->by << SHIFT_BY |
	                    (uint64_t)len << SHIFT_LEN | (uint64_t)(text.len > len);
	memset(words + WORD_TEXT, 0, EVENT_TEXT_MAX);
	if (len > 0) {
		memcpy(words + WORD_TEXT, text.ptr, len);
	}
}

static void unpack(const uint64_t words[static N_WORDS], struct event *event)
{
	uint64_t state = words[WORD_STATE];
	*event = (struct event){
	        .at = {(int64_t)(state >> SHIFT_AT)},
	        .kind = (enum event_kind)(state >> SHIFT_KIND & BYTE),
	        .by = (enum event_by)(state >> SHIFT_BY & BYTE),
	        .text_len = (uint8_t)(state >> SHIFT_LEN & BYTE),
	        .is_cut = (state & 1) != 0,
	};
	memcpy(event->addr.bytes, words + WORD_ADDR, sizeof event->addr.bytes);
	memcpy(event->text, words + WORD_TEXT, EVENT_TEXT_MAX);
}

void events_add(struct events *events, const struct event *event, struct span text)
{
	uint64_t words[N_WORDS];
	if (!events) {
		return;
	}
	uint64_t n = atomic_load_explicit(&events->n_added, memory_order_relaxed);
	struct slot *slot = &events->slots[n & events->mask];
	uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_relaxed);
	pack(event, text, words);
	atomic_store_explicit(&slot->seq, seq + 1, memory_order_relaxed);
	for (int w = 0; w < N_WORDS; w++) {
		atomic_store_explicit(&slot->words[w], words[w], memory_order_release);
	}
	atomic_store_explicit(&slot->seq, seq + 2, memory_order_release);
	/* release: partner of the load in events_find */
	atomic_store_explicit(&events->n_added, n + 1, memory_order_release);
}

/* Partner of events_add. False when the slot is being written. */
static bool slot_read(const struct slot *slot, uint64_t words[static N_WORDS])
{
	uint64_t seq = atomic_load_explicit(&slot->seq, memory_order_acquire);
	if (seq & 1) {
		return false;
	}
	for (int w = 0; w < N_WORDS; w++) {
		words[w] = atomic_load_explicit(&slot->words[w], memory_order_acquire);
	}
	return atomic_load_explicit(&slot->seq, memory_order_relaxed) == seq;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* What a slot of a group has in one of its words; spares most of the copies. */
struct sieve {
	unsigned word;
	uint64_t mask;
	uint64_t value;
};

/* Of IPv4 the address; else the first 32 bits, which groups have at least (ipv6-prefix). */
static struct sieve sieve_of(const struct addr *group)
{
	static const uint8_t first_half[sizeof(uint64_t)] = {0xff, 0xff, 0xff, 0xff};
	struct sieve sieve = {.word = WORD_ADDR + addr_is_v4(group)};
	memcpy(&sieve.mask, first_half, sizeof sieve.mask);
	sieve.mask = addr_is_v4(group) ? ~sieve.mask : sieve.mask;
	memcpy(&sieve.value, group->bytes + sizeof(uint64_t) * addr_is_v4(group),
	       sizeof sieve.value);
	sieve.value &= sieve.mask;
	return sieve;
}

static bool may_be_of(const struct slot *slot, const struct sieve *sieve)
{
	uint64_t word = atomic_load_explicit(&slot->words[sieve->word], memory_order_relaxed);
	return (word & sieve->mask) == sieve->value;
}

static bool is_of(const struct event *event, const struct addr *group, unsigned v6_bits)
{
	struct addr of_event = addr_group(&event->addr, v6_bits);
	return event->kind != EVENT_NONE && event->kind < EVENT_KIND_COUNT &&
	       event->by < EVENT_BY_COUNT && event->text_len <= EVENT_TEXT_MAX &&
	       addr_equal(&of_event, group);
}

unsigned events_find(const struct events *events, const struct addr *addr, unsigned v6_bits,
                     struct event *out, unsigned max)
{
	uint64_t words[N_WORDS];
	unsigned n_found = 0;
	if (!events) {
		return 0;
	}
	struct addr group = addr_group(addr, v6_bits);
	const struct sieve sieve = sieve_of(&group);
	uint64_t n = atomic_load_explicit(&events->n_added, memory_order_acquire);
	uint64_t n_slots = (uint64_t)events->mask + 1;
	uint64_t n_left = n < n_slots ? n : n_slots;
	for (; n_left > 0 && n_found < max; n_left--) {
		const struct slot *slot = &events->slots[--n & events->mask];
		if (may_be_of(slot, &sieve) && slot_read(slot, words)) {
			unpack(words, &out[n_found]);
			n_found += is_of(&out[n_found], &group, v6_bits);
		}
	}
	return n_found;
}

/* --- names ------------------------------------------------------------------------------------ */

static const char *const kind_names[EVENT_KIND_COUNT] = {
        [EVENT_NONE] = "none",
        [EVENT_CONNECTED] = "connected",
        [EVENT_NEW] = "new",
        [EVENT_EARLY] = "early",
        [EVENT_PASSED] = "passed",
        [EVENT_TRAPPED] = "trapped",
        [EVENT_TRAPPED_LOW_PRIORITY] = "trapped-low-priority",
        [EVENT_WHITE] = "white",
        [EVENT_DELETED] = "deleted",
        [EVENT_DELISTED] = "delisted",
        [EVENT_EXPIRED] = "expired",
        [EVENT_FORGOTTEN] = "tuple-expired",
        [EVENT_REASSERTED] = "reasserted",
};

static const char *const by_names[EVENT_BY_COUNT] = {
        [EVENT_BY_CLIENT] = "client",   [EVENT_BY_PEER] = "peer", [EVENT_BY_ADMIN] = "admin",
        [EVENT_BY_TRAFFIC] = "traffic", [EVENT_BY_LIST] = "list", [EVENT_BY_IMPORT] = "import",
        [EVENT_BY_TIME] = "time",
};

const char *event_kind_name(enum event_kind kind)
{
	return kind_names[kind];
}

const char *event_by_name(enum event_by by)
{
	return by_names[by];
}
