/* What spamtrap addresses cost in memory: bytes each, adding, look-ups of members and strangers.
 * The baseline is the keyed hash alone, without which there is no look-up.
 *
 * usage: bench_traps [ADDRESSES] */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/qsbr.h"
#include "store/trapset.h"

enum { N_DEFAULT = 6000000, N_LOOKUPS = 2000000 };

static const uint8_t hash_key[RECORD_HASH_KEY_BYTES] = {1};

static double ns_since(struct mono since, uint64_t n)
{
	return (double)(clock_mono().ns - since.ns) / (double)n;
}

static struct span address_of(char text[static 64], const char *name, uint64_t n)
{
	int len = snprintf(text, 64, "%s-%llu@spamtrap.example.org", name, (unsigned long long)n);
	return span_of(text, (size_t)len);
}

/* Making the text is taken off. */
static double text_ns(void)
{
	char text[64];
	size_t n_bytes = 0;
	struct mono since = clock_mono();
	for (uint64_t i = 0; i < N_LOOKUPS; i++) {
		n_bytes += address_of(text, "trap", i * 2654435761 % N_DEFAULT).len;
	}
	return n_bytes > 0 ? ns_since(since, N_LOOKUPS) : 0;
}

static double hash_ns(void)
{
	char text[64];
	uint8_t hash[RECORD_HASH_BYTES];
	struct mono since = clock_mono();
	for (uint64_t i = 0; i < N_LOOKUPS; i++) {
		record_trap_hash(hash_key, address_of(text, "trap", i), hash);
	}
	return ns_since(since, N_LOOKUPS);
}

static double look_up_ns(const struct trapset *set, const char *name, uint64_t n, uint64_t *n_found)
{
	char text[64];
	*n_found = 0;
	struct mono since = clock_mono();
	for (uint64_t i = 0; i < N_LOOKUPS; i++) {
		*n_found += trapset_has(set, address_of(text, name, i * 2654435761 % n));
	}
	return ns_since(since, N_LOOKUPS);
}

static int fill(struct trapset *set, uint64_t n)
{
	char text[64];
	double worst_ms = 0;
	struct mono since = clock_mono();
	for (uint64_t i = 0; i < n; i++) {
		struct mono one = clock_mono();
		if (trapset_add(set, address_of(text, "trap", i))) {
			(void)fprintf(stderr, "out of memory\n");
			return 1;
		}
		double ms = ns_since(one, NS_PER_MS);
		worst_ms = ms > worst_ms ? ms : worst_ms;
	}
	printf("add: %.0f ns each, the longest (a doubling) %.0f ms\n", ns_since(since, n),
	       worst_ms);
	return 0;
}

int main(int argc, char **argv)
{
	struct utsname un;
	uint64_t n = N_DEFAULT;
	uint64_t n_members = 0;
	uint64_t n_strangers = 0;
	if (uname(&un) || sodium_init() < 0 ||
	    (argc > 1 && span_to_u64(span_of_str(argv[1]), UINT32_MAX, &n)) || n == 0) {
		(void)fprintf(stderr, "usage: bench_traps [ADDRESSES]\n");
		return 2;
	}
	printf("bench_traps, %s %s, %llu addresses\n", un.release, un.machine,
	       (unsigned long long)n);
	qsbr_register();
	struct trapset *set = trapset_new(hash_key);
	if (!set || fill(set, n)) {
		return 1;
	}
	double text = text_ns();
	double hash = hash_ns() - text;
	double member = look_up_ns(set, "trap", n, &n_members) - text;
	double stranger = look_up_ns(set, "else", n, &n_strangers) - text;
	printf("memory: %.1f bytes each\n", (double)trapset_bytes(set) / (double)n);
	printf("baseline, the hash: %.0f ns\n", hash);
	printf("look-up of a member: %.0f ns, %.1f x baseline (%llu found)\n", member,
	       member / hash, (unsigned long long)n_members);
	printf("look-up of a stranger: %.0f ns, %.1f x baseline (%llu found)\n", stranger,
	       stranger / hash, (unsigned long long)n_strangers);
	trapset_free(set);
	qsbr_unregister();
	return 0;
}
