/* Fills a store that no daemon has open with whitelisted hosts, so that a system test can begin
 * with many. usage: seedstore DIRECTORY N FIRST-IPV4 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "store/store.h"

enum { SEED_BATCH = 1000, SEED_HOSTS_MAX = 10000000 };

static const int64_t seed_life_secs = INT64_C(36) * 86400;

static int put_batch(struct store *store, uint32_t first, unsigned n)
{
	struct wall now = clock_wall();
	struct store_txn txn;
	store_begin(store, &txn, now);
	for (unsigned i = 0; i < n; i++) {
		struct addr addr = addr_from_v4_be(htonl(first + i));
		struct grey_record record = {
		        .first = now,
		        .pass = now,
		        .expire = {now.secs + seed_life_secs},
		        .changed_at = now,
		        .bcount = 1,
		};
		store_put_host(&txn, &addr, RECORD_WHITE, &record);
	}
	return store_commit(&txn);
}

static int put_all(struct store *store, uint32_t first, unsigned n)
{
	int ret = 0;
	for (unsigned done = 0; done < n && ret == 0; done += SEED_BATCH) {
		unsigned rest = n - done;
		ret = put_batch(store, first + done, rest < SEED_BATCH ? rest : SEED_BATCH);
	}
	return ret;
}

int main(int argc, char **argv)
{
	struct in_addr first;
	long n = argc == 4 ? strtol(argv[2], NULL, 10) : 0;
	if (n < 1 || n > SEED_HOSTS_MAX || inet_pton(AF_INET, argv[3], &first) != 1) {
		(void)fprintf(stderr, "usage: seedstore DIRECTORY N FIRST-IPV4\n");
		return 2;
	}
	struct store_conf conf = {
	        .dir = argv[1],
	        .map_bytes = UINT64_C(1) << 30,
	        .journal_max = 1000,
	        .readers_max = 16,
	        .create = true,
	};
	struct store *store = NULL;
	char why[STORE_WHY_MAX] = "";
	int ret = store_open(&store, &conf, why);
	if (ret == 0) {
		ret = put_all(store, ntohl(first.s_addr), (unsigned)n);
	}
	store_close(store);
	if (ret != 0) {
		(void)fprintf(stderr, "seedstore: %s: %s\n", err_text(ret), why);
	}
	return ret != 0;
}
