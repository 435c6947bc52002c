/* Fills a store that no daemon has open, so that a system test can begin with much in it: N
 * whitelisted hosts from an address on, or N spamtrap addresses in a domain.
 * usage: seedstore DIRECTORY N FIRST-IPV4|DOMAIN */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "store/store.h"

enum { SEED_HOSTS_BATCH = 1000, SEED_TRAPS_BATCH = 200000, SEED_MAX = 10000000 };

static const int64_t seed_life_secs = INT64_C(36) * 86400;

/* What is seeded: hosts where there is no domain. */
struct seed {
	uint32_t first;
	const char *domain;
};

static void put_host(struct store_txn *txn, uint32_t ip)
{
	struct addr addr = addr_from_v4_be(htonl(ip));
	struct grey_record record = {
	        .first = txn->now,
	        .pass = txn->now,
	        .expire = {txn->now.secs + seed_life_secs},
	        .changed_at = txn->now,
	        .bcount = 1,
	};
	store_put_host(txn, &addr, RECORD_WHITE, &record);
}

static void put_trap(struct store_txn *txn, unsigned n, const char *domain)
{
	char address[256];
	struct grey_record record = {.first = txn->now, .changed_at = txn->now, .bcount = 1};
	(void)snprintf(address, sizeof address, "trap%u@%s", n, domain);
	store_put_trap_address(txn, span_of_str(address), &record);
}

static int put_batch(struct store *store, const struct seed *seed, unsigned begin, unsigned end)
{
	struct store_txn txn;
	store_begin(store, &txn, clock_wall());
	for (unsigned i = begin; i < end; i++) {
		if (seed->domain) {
			put_trap(&txn, i, seed->domain);
		} else {
			put_host(&txn, seed->first + i);
		}
	}
	return store_commit(&txn);
}

static int put_all(struct store *store, const struct seed *seed, unsigned n)
{
	unsigned batch = seed->domain ? SEED_TRAPS_BATCH : SEED_HOSTS_BATCH;
	int ret = 0;
	for (unsigned done = 0; done < n && ret == 0; done += batch) {
		ret = put_batch(store, seed, done, n - done < batch ? n : done + batch);
	}
	return ret;
}

int main(int argc, char **argv)
{
	struct in_addr first;
	long n = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	if (n < 1 || n > SEED_MAX) {
		(void)fprintf(stderr, "usage: seedstore DIRECTORY N FIRST-IPV4|DOMAIN\n");
		return 2;
	}
	struct seed seed = {.domain = argv[3]};
	if (inet_pton(AF_INET, argv[3], &first) == 1) {
		seed = (struct seed){.first = ntohl(first.s_addr)};
	}
	struct store_conf conf = {
	        .dir = argv[1],
	        .map_bytes = UINT64_C(16) << 30,
	        .journal_max = 1000,
	        .readers_max = 16,
	        .create = true,
	};
	struct store *store = NULL;
	char why[STORE_WHY_MAX] = "";
	int ret = store_open(&store, &conf, why);
	if (ret == 0) {
		ret = put_all(store, &seed, (unsigned)n);
	}
	store_close(store);
	if (ret != 0) {
		(void)fprintf(stderr, "seedstore: %s: %s\n", err_text(ret), why);
	}
	return ret != 0;
}
