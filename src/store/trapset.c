/* The table of trapset.h: slots of two words, the 128-bit hash itself; linear probing, at most
 * three quarters full, so an address costs 21 to 43 bytes (64 while a table is being doubled). The
 * hash is keyed, so who chooses addresses cannot choose places, and 128 bits stand for the address.
 *
 * The writer stores the second word before the first (release); a reader that acquires the first
 * sees the second. A removed slot is marked, never emptied, so that no chain of probes is cut under
 * a reader; the next one that is added there takes it, and a doubling leaves the marks behind. A
 * reader that holds the first word of what was removed meanwhile and the second of what took its
 * place finds no match, which is right: it was removed. */
#include "store/trapset.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/qsbr.h"

enum { SLOTS_MIN = 1024 };
/* First words that are no hash. */
enum { WORD_EMPTY = 0, WORD_REMOVED = 1, WORD_FIRST_HASH = 2 };

struct slot {
	_Atomic uint64_t words[2];
};

static_assert(sizeof(struct slot) == RECORD_HASH_BYTES, "a slot is a hash");

struct table {
	size_t n_slots; /* a power of two */
	struct slot *slots;
};

struct trapset {
	struct qsbr_ptr published;
	struct table *table; /* the same, for the writer */
	size_t n_taken;      /* slots that are not empty; the writer's */
	_Atomic size_t n_addresses;
	_Atomic size_t n_bytes;
	uint8_t hash_key[RECORD_HASH_KEY_BYTES];
};

struct words {
	uint64_t first;
	uint64_t second;
};

/* --- tables ----------------------------------------------------------------------------------- */

static struct table *table_new(size_t n_slots)
{
	struct table *table = malloc(sizeof *table);
	if (!table) {
		return NULL;
	}
	void *slots = mmap(NULL, n_slots * sizeof(struct slot), PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slots == MAP_FAILED) {
		free(table);
		return NULL;
	}
	*table = (struct table){.n_slots = n_slots, .slots = slots};
	return table;
}

static void table_free(struct table *table)
{
	(void)munmap(table->slots, table->n_slots * sizeof *table->slots);
	free(table);
}

/* Whether the words are there. Ends at an empty slot: at most three quarters are taken. *at: their
 * slot, or where they may be put: the first removed slot on the way, else the empty one. */
static bool find(const struct table *table, struct words wanted, struct slot **at)
{
	struct slot *removed = NULL;
	size_t i = (size_t)wanted.first & (table->n_slots - 1);
	for (;; i = (i + 1) & (table->n_slots - 1)) {
		struct slot *slot = &table->slots[i];
		/* acquire: partner of write_slot */
		uint64_t first = atomic_load_explicit(&slot->words[0], memory_order_acquire);
		if (first == WORD_EMPTY) {
			*at = removed ? removed : slot;
			return false;
		}
		if (first == WORD_REMOVED && !removed) {
			removed = slot;
		}
		if (first == wanted.first &&
		    atomic_load_explicit(&slot->words[1], memory_order_relaxed) == wanted.second) {
			*at = slot;
			return true;
		}
	}
}

static bool is_removed(const struct slot *slot)
{
	return atomic_load_explicit(&slot->words[0], memory_order_relaxed) == WORD_REMOVED;
}

static void write_slot(struct slot *slot, struct words words)
{
	atomic_store_explicit(&slot->words[1], words.second, memory_order_relaxed);
	atomic_store_explicit(&slot->words[0], words.first, memory_order_release);
}

/* --- the set ---------------------------------------------------------------------------------- */

static struct words hash(const struct trapset *set, struct span address)
{
	uint8_t bytes[RECORD_HASH_BYTES];
	struct words words;
	record_trap_hash(set->hash_key, address, bytes);
	memcpy(&words.first, bytes, sizeof words.first);
	memcpy(&words.second, bytes + sizeof words.first, sizeof words.second);
	words.first += words.first < WORD_FIRST_HASH ? WORD_FIRST_HASH : 0;
	return words;
}

static void publish(struct trapset *set, struct table *table)
{
	set->table = table;
	atomic_store_explicit(&set->n_bytes, table->n_slots * sizeof *table->slots,
	                      memory_order_relaxed);
	(void)qsbr_exchange(&set->published, table);
}

struct trapset *trapset_new(const uint8_t hash_key[static RECORD_HASH_KEY_BYTES])
{
	struct trapset *set = calloc(1, sizeof *set);
	struct table *table = set ? table_new(SLOTS_MIN) : NULL;
	if (!table) {
		free(set);
		return NULL;
	}
	memcpy(set->hash_key, hash_key, sizeof set->hash_key);
	publish(set, table);
	return set;
}

void trapset_free(struct trapset *set)
{
	if (set) {
		table_free(set->table);
		free(set);
	}
}

bool trapset_has(const struct trapset *set, struct span address)
{
	/* relaxed: without a single address, as most hosts have it, there is no need to hash */
	if (!set || atomic_load_explicit(&set->n_addresses, memory_order_relaxed) == 0) {
		return false;
	}
	const struct table *table = qsbr_load(&set->published);
	struct slot *slot = NULL;
	return find(table, hash(set, address), &slot);
}

static void copy_slots(const struct table *from, struct table *to)
{
	for (size_t i = 0; i < from->n_slots; i++) {
		struct slot *slot = &from->slots[i];
		struct words words = {
		        atomic_load_explicit(&slot->words[0], memory_order_relaxed),
		        atomic_load_explicit(&slot->words[1], memory_order_relaxed),
		};
		if (words.first >= WORD_FIRST_HASH && !find(to, words, &slot)) {
			write_slot(slot, words);
		}
	}
}

/* A table for the addresses there are and as many again, without the marks of removed ones. */
static int rebuild(struct trapset *set)
{
	size_t n_slots = SLOTS_MIN;
	size_t n_addresses = trapset_count(set);
	while (n_slots / 8 * 3 < n_addresses) {
		n_slots *= 2;
	}
	struct table *old = set->table;
	struct table *table = table_new(n_slots);
	if (!table) {
		return -ENOMEM;
	}
	copy_slots(old, table);
	set->n_taken = n_addresses;
	publish(set, table);
	qsbr_wait();
	table_free(old);
	return 0;
}

int trapset_add(struct trapset *set, struct span address)
{
	struct words words = hash(set, address);
	struct slot *slot = NULL;
	if (find(set->table, words, &slot)) {
		return 0;
	}
	if (!is_removed(slot) && set->n_taken + 1 > set->table->n_slots / 4 * 3) {
		int ret = rebuild(set);
		if (ret) {
			return ret;
		}
		(void)find(set->table, words, &slot);
	}
	set->n_taken += is_removed(slot) ? 0 : 1;
	write_slot(slot, words);
	atomic_fetch_add_explicit(&set->n_addresses, 1, memory_order_relaxed);
	return 0;
}

void trapset_remove(struct trapset *set, struct span address)
{
	struct slot *slot = NULL;
	if (find(set->table, hash(set, address), &slot)) {
		atomic_store_explicit(&slot->words[0], WORD_REMOVED, memory_order_release);
		atomic_fetch_sub_explicit(&set->n_addresses, 1, memory_order_relaxed);
	}
}

size_t trapset_count(const struct trapset *set)
{
	return atomic_load_explicit(&set->n_addresses, memory_order_relaxed);
}

size_t trapset_bytes(const struct trapset *set)
{
	return atomic_load_explicit(&set->n_bytes, memory_order_relaxed);
}
