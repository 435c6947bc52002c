/* What elements cost on their way into the kernel: through src/fw, and as the baseline by bare
 * libmnl, whose batches of 1,000 are built before the clock runs. Prints one figure a line, name
 * and number, for perf/firewall, which starts it in a network namespace of its own.
 *
 * usage: bench_firewall ELEMENTS 4|6 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>

#include "base/err.h"
#include "fw/batch.h"
#include "fw/fw.h"
#include "mired/names.h"

enum {
	BARE_BATCH = 1000,
	N_SINGLES = 2000,
	ANSWER_BYTES = 8192,
	TIMEOUT_SECS = 86400,
	FIRST_V4 = 0x0a000000,
};

struct bench {
	struct fw *fw;
	struct mnl_socket *bare;
	struct fw_element *elements;
	size_t n;
	bool is_v6;
};

static void die(const char *what, int ret)
{
	(void)fprintf(stderr, "bench_firewall: %s: %s\n", what, err_text(ret));
	exit(1);
}

static double now_secs(clockid_t clock)
{
	struct timespec now;
	(void)clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

struct since {
	double wall, cpu;
};

static struct since start(void)
{
	return (struct since){now_secs(CLOCK_MONOTONIC), now_secs(CLOCK_PROCESS_CPUTIME_ID)};
}

static void tell(const char *what, struct since since, size_t n)
{
	double cpu = now_secs(CLOCK_PROCESS_CPUTIME_ID) - since.cpu;
	double wall = now_secs(CLOCK_MONOTONIC) - since.wall;
	(void)printf("%s_cpu_us %.4f\n%s_wall_us %.4f\n", what, cpu * 1e6 / (double)n, what,
	             wall * 1e6 / (double)n);
}

static struct addr address(const struct bench *bench, uint32_t n)
{
	if (!bench->is_v6) {
		return addr_from_v4_be(__builtin_bswap32((uint32_t)FIRST_V4 + n));
	}
	struct addr addr = {.bytes = {0x20, 0x01, 0x0d, 0xb8}};
	uint32_t n_be = __builtin_bswap32(n);
	memcpy(addr.bytes + 4, &n_be, sizeof n_be);
	return addr;
}

/* --- through src/fw --------------------------------------------------------------------------- */

static void put_table(struct bench *bench)
{
	char why[FW_WHY_MAX];
	int ret = fw_remove(bench->fw);
	ret = ret ? ret : fw_put_table(bench->fw, NULL, 0, why);
	if (ret) {
		die("table", ret);
	}
}

static void apply(struct bench *bench, const char *what)
{
	struct since since = start();
	int ret = fw_apply(bench->fw, bench->elements, bench->n);
	tell(what, since, bench->n);
	if (ret) {
		die(what, ret);
	}
}

static void replace(struct bench *bench)
{
	char why[FW_WHY_MAX];
	const struct fw_content content = {.elements = bench->elements, .n = bench->n};
	struct since since = start();
	int ret = fw_replace(bench->fw, &content, why);
	tell("replace", since, bench->n);
	if (ret) {
		die(why, ret);
	}
}

/* --- bare ------------------------------------------------------------------------------------- */

static void build(const struct bench *bench, size_t from, size_t n, struct batch *out)
{
	const char *set = bench->is_v6 ? MIRED_SET_WHITE "6" : MIRED_SET_WHITE;
	batch_init(out);
	batch_begin(out, 1);
	for (size_t i = from; i < from + n; i++) {
		struct batch_element element = {.key_len = bench->is_v6 ? 16 : 4,
		                                .timeout_ms = (uint64_t)TIMEOUT_SECS * 1000};
		const struct addr *addr = &bench->elements[i].addr;
		memcpy(element.key, addr->bytes + (bench->is_v6 ? 0 : 12), element.key_len);
		batch_element(out, BATCH_PUT, "mired", set, &element);
	}
	int ret = batch_end(out);
	if (ret) {
		die("batch", ret);
	}
}

static void send_bare(const struct bench *bench, const struct batch *batch)
{
	_Alignas(struct nlmsghdr) uint8_t answer[ANSWER_BYTES];
	if (mnl_socket_sendto(bench->bare, batch->bytes, batch->len) < 0) {
		die("send", ERR_CLOSED);
	}
	ssize_t n = mnl_socket_recvfrom(bench->bare, answer, sizeof answer);
	const struct nlmsghdr *message = (const void *)answer;
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(message);
	if (n < (ssize_t)(sizeof *message + sizeof *error) || message->nlmsg_type != NLMSG_ERROR ||
	    error->error != 0) {
		die("answer", ERR_SYNTAX);
	}
}

static void bare_bulk(const struct bench *bench)
{
	size_t n_batches = (bench->n + BARE_BATCH - 1) / BARE_BATCH;
	struct batch *batches = calloc(n_batches, sizeof *batches);
	if (!batches) {
		exit(1);
	}
	for (size_t i = 0; i < n_batches; i++) {
		size_t left = bench->n - i * BARE_BATCH;
		build(bench, i * BARE_BATCH, left < BARE_BATCH ? left : BARE_BATCH, &batches[i]);
	}
	struct since since = start();
	for (size_t i = 0; i < n_batches; i++) {
		send_bare(bench, &batches[i]);
	}
	tell("bare", since, bench->n);
	for (size_t i = 0; i < n_batches; i++) {
		batch_fini(&batches[i]);
	}
	free(batches);
}

/* --- one at a time ---------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return (x > y) - (x < y);
}

static void singles(struct bench *bench, bool is_bare)
{
	static double took_us[N_SINGLES];
	size_t n = bench->n < N_SINGLES ? bench->n : N_SINGLES;
	for (size_t i = 0; i < n; i++) {
		struct batch batch = {0};
		if (is_bare) {
			build(bench, i, 1, &batch);
		}
		double since = now_secs(CLOCK_MONOTONIC);
		if (is_bare) {
			send_bare(bench, &batch);
		} else if (fw_apply(bench->fw, &bench->elements[i], 1) != 0) {
			die("single", ERR_CLOSED);
		}
		took_us[i] = (now_secs(CLOCK_MONOTONIC) - since) * 1e6;
		batch_fini(&batch);
	}
	qsort(took_us, n, sizeof took_us[0], compare);
	const char *what = is_bare ? "bare_single" : "single";
	(void)printf("%s_p50_us %.2f\n%s_p99_us %.2f\n", what, took_us[n / 2], what,
	             took_us[n * 99 / 100]);
}

static void prepare(struct bench *bench)
{
	char why[FW_WHY_MAX];
	struct conf conf = {.nft_table = "mired", .rules = CONF_RULES_NONE};
	int ret = fw_open(&bench->fw, &conf, why);
	if (ret) {
		die(why, ret);
	}
	bench->bare = mnl_socket_open(NETLINK_NETFILTER);
	bench->elements = calloc(bench->n, sizeof *bench->elements);
	if (!bench->bare || mnl_socket_bind(bench->bare, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    !bench->elements) {
		die("preparation", ERR_CLOSED);
	}
	for (uint32_t i = 0; i < bench->n; i++) {
		bench->elements[i] = (struct fw_element){.addr = address(bench, i),
		                                         .timeout_secs = TIMEOUT_SECS};
	}
}

int main(int argc, char **argv)
{
	struct bench bench = {.n = argc == 3 ? strtoul(argv[1], NULL, 10) : 0,
	                      .is_v6 = argc == 3 && strcmp(argv[2], "6") == 0};
	if (bench.n == 0) {
		(void)fprintf(stderr, "usage: bench_firewall ELEMENTS 4|6\n");
		return 2;
	}
	prepare(&bench);
	put_table(&bench);
	bare_bulk(&bench);
	singles(&bench, true);
	put_table(&bench);
	apply(&bench, "add");
	apply(&bench, "refresh");
	singles(&bench, false);
	replace(&bench);
	if (fw_remove(bench.fw) != 0) {
		die("removal", ERR_CLOSED);
	}
	fw_close(bench.fw);
	(void)mnl_socket_close(bench.bare);
	free(bench.elements);
	return 0;
}
