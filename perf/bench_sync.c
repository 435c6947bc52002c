/* What the synchronisation carries between two hosts on one machine: new tuples (a datagram each)
 * and changes by hand (many a datagram) a second, from one keeper's port to the other's commit, and
 * how long a lone one takes from one host's commit to the other's. The baseline is the same bytes
 * through bare UDP sockets.
 *
 * usage: bench_sync DIRECTORY [CHANGES]   (an empty directory on the disk to be measured) */
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "keeper/knowledge.h"
#include "keeper/syncer.h"

enum {
	N_HOSTS = 2,
	IN_FLIGHT = 4000,
	A_TICK = 64,
	N_LONE = 200,
	LONE_GAP_MS = 5,
	CACHE_SLOTS = 1 << 20,
	QUIET_MS = 1000, /* without news: what has not come by then is lost */
	PORT_OF_WORKER = 0,
	PORT_OF_SYNCER = 1,
	DATAGRAM_BYTES = 148, /* of the tuples below */
	RECEIVE_BYTES = 4 << 20,
};

struct host {
	struct conf conf;
	struct store *store;
	struct store_reader *reader;
	struct knowledge knowledge;
	struct keeper_port ports[2];
	struct keeper *keeper;
	struct sync_setup setup;
	_Atomic int64_t life_now_secs;
	struct syncer *syncer;
};

static void die(const char *what)
{
	(void)fprintf(stderr, "bench_sync: %s\n", what);
	exit(1);
}

/* --- two hosts -------------------------------------------------------------------------------- */

static uint32_t address_be(int i)
{
	return htonl(0x7f000001U + (uint32_t)i);
}

static int open_udp(uint32_t addr_be, uint16_t *port)
{
	struct sockaddr_in sin = {
	        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = addr_be};
	socklen_t len = sizeof sin;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof sin) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sin, &len) < 0) {
		die("no UDP socket");
	}
	int bytes = RECEIVE_BYTES; /* as sync_setup_open does; root gets it */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	*port = ntohs(sin.sin_port);
	return fd;
}

static void open_store(struct host *host, const char *dir, int i)
{
	char path[4096];
	char why[STORE_WHY_MAX];
	(void)snprintf(path, sizeof path, "%s/%d", dir, i);
	struct store_conf conf = {.dir = path,
	                          .map_bytes = UINT64_C(64) << 30,
	                          .journal_max = 1000000,
	                          .readers_max = 16,
	                          .create = true};
	if (mkdir(path, 0700) < 0) {
		die("the directory is not empty");
	}
	if (store_open(&host->store, &conf, why) != 0) {
		die(why);
	}
	if (store_reader_open(host->store, &host->reader) != 0) {
		die("no reader");
	}
}

static void start_keeper(struct host *host, int wake)
{
	for (int i = 0; i < 2; i++) {
		host->ports[i] = (struct keeper_port){.requests = mailbox_new(KEEPER_MAILBOX_BYTES),
		                                      .answers = mailbox_new(KEEPER_ANSWER_BYTES),
		                                      .wake = i == PORT_OF_SYNCER ? wake : -1};
	}
	struct keeper_env env = {.conf = &host->conf,
	                         .store = host->store,
	                         .hosts = cache_new(CACHE_SLOTS),
	                         .tuples = cache_new(CACHE_SLOTS),
	                         .knowledge = &host->knowledge,
	                         .ports = host->ports,
	                         .n_ports = 2,
	                         .wake_feeder = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
	                         .wake_syncer = wake,
	                         .is_sync_sending = true,
	                         .reasserts = mailbox_new(1 << 16),
	                         .life_now_secs = &host->life_now_secs};
	if (keeper_start(&host->keeper, &env) != 0) {
		die("the keeper does not start");
	}
}

static void start(struct host *host, const char *dir, int i, uint16_t *port)
{
	int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	host->conf = (struct conf){.passtime_secs = 1500,
	                           .greyexp_secs = 14400,
	                           .whiteexp_secs = 3110400,
	                           .trapexp_secs = 86400,
	                           .ipv6_prefix = 64,
	                           .store_retry_ms = 2000,
	                           .commit_max = 256,
	                           .commit_wait_ms = 20,
	                           .sweep_ms = 1000,
	                           .sync_skew_secs = 600};
	open_store(host, dir, i);
	host->knowledge.traps = trapset_new(store_hash_key(host->store));
	int socket = open_udp(address_be(i), port);
	host->setup = (struct sync_setup){.key = sync_key_of(span_of_str("bench")),
	                                  .n_peers = 1,
	                                  .must_receive = true,
	                                  .port = *port};
	host->setup.peers[0] = (struct sync_peer){.addr_be = address_be(1 - i), .name = "other"};
	start_keeper(host, wake);
	struct syncer_env env = {.conf = &host->conf,
	                         .store = host->store,
	                         .keeper = host->keeper,
	                         .port = &host->ports[PORT_OF_SYNCER],
	                         .wake = wake,
	                         .knowledge = &host->knowledge,
	                         .setup = &host->setup,
	                         .socket = socket,
	                         .life_now_secs = &host->life_now_secs};
	if (syncer_start(&host->syncer, &env) != 0) {
		die("the syncer does not start");
	}
}

static void stop(struct host *host)
{
	syncer_stop(host->syncer);
	keeper_stop(host->keeper);
	store_reader_close(host->reader);
	store_close(host->store);
}

/* --- changes ---------------------------------------------------------------------------------- */

typedef bool post_function(struct host *host, uint32_t n);

/* A tuple of 90 bytes of text; a new host every fourth one. */
static bool post_tuple(struct host *host, uint32_t n)
{
	char text[128];
	struct addr addr = addr_from_v4_be(htonl(0x0a000000U + n / 4));
	int len = snprintf(
	        text, sizeof text,
	        "mail%08u.example.org<sender-%08u@example.com><recipient-%08u@example.net>", n, n,
	        n);
	struct keeper_request *request = mailbox_reserve(host->ports[PORT_OF_WORKER].requests,
	                                                 sizeof *request + (size_t)len);
	if (!request) {
		return false;
	}
	*request = (struct keeper_request){.kind = KEEPER_TUPLE,
	                                   .conn = {.slot = n},
	                                   .addr = addr,
	                                   .peer = addr,
	                                   .helo_len = 24,
	                                   .sender_len = 29,
	                                   .recipient_len = (uint16_t)(len - 53)};
	memcpy(request->strings, text, (size_t)len);
	mailbox_post(host->ports[PORT_OF_WORKER].requests);
	return true;
}

static bool post_white(struct host *host, uint32_t n)
{
	struct change change = {.kind = CHANGE_WHITE,
	                        .has_addr = true,
	                        .addr = addr_from_v4_be(htonl(0x14000000U + n))};
	return keeper_post_change(&host->ports[PORT_OF_WORKER], &change, 1);
}

static uint32_t take_answers(struct host *host)
{
	uint32_t n = 0;
	size_t len = 0;
	while (mailbox_peek(host->ports[PORT_OF_WORKER].answers, &len)) {
		mailbox_release(host->ports[PORT_OF_WORKER].answers);
		n++;
	}
	return n;
}

/* As a worker would: some requests, a wake-up, a look at the answers. */
static void post_all(struct host *host, post_function *post, uint32_t first, uint32_t n_changes)
{
	uint32_t n_posted = 0;
	uint32_t n_answered = 0;
	while (n_answered < n_changes) {
		for (uint32_t i = 0;
		     i < A_TICK && n_posted < n_changes && n_posted - n_answered < IN_FLIGHT &&
		     post(host, first + n_posted);
		     i++) {
			n_posted++;
		}
		keeper_wake(host->keeper);
		uint32_t n = take_answers(host);
		n_answered += n;
		if (n == 0) {
			(void)poll(NULL, 0, 1);
		}
	}
}

static double secs_since(struct mono begun)
{
	return (double)(clock_mono().ns - begun.ns) / (double)NS_PER_SEC;
}

/* Each change is one row of the other's journal. */
static void carry(struct host hosts[static N_HOSTS], post_function *post, const char *what,
                  uint32_t n_changes)
{
	uint64_t first = store_journal_last(hosts[1].reader);
	uint64_t last = first;
	struct mono begun = clock_mono();
	post_all(&hosts[0], post, 0, n_changes);
	double here_secs = secs_since(begun);
	struct mono news = clock_mono();
	while (last - first < n_changes && mono_diff_ms(clock_mono(), news) < QUIET_MS) {
		uint64_t now = store_journal_last(hosts[1].reader);
		news = now > last ? clock_mono() : news;
		last = now;
		(void)poll(NULL, 0, 1);
	}
	double there_secs = (double)(news.ns - begun.ns) / (double)NS_PER_SEC;
	(void)printf("%s: %llu of %u carried in %.2f s: %.0f/s (stored here in %.2f s: %.0f/s)\n",
	             what, (unsigned long long)(last - first), n_changes, there_secs,
	             (double)(last - first) / there_secs, here_secs, (double)n_changes / here_secs);
}

/* --- a lone change ---------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a;
	double y = *(const double *)b;
	return (x > y) - (x < y);
}

static void report(const char *what, double ms[static N_LONE])
{
	qsort(ms, N_LONE, sizeof ms[0], compare);
	(void)printf("%s: p50 %.2f ms, p99 %.2f ms\n", what, ms[N_LONE / 2], ms[N_LONE * 99 / 100]);
}

static uint64_t n_sent(const struct host *host)
{
	return counters_get(syncer_counters(host->syncer), COUNTER_sync_sent);
}

static void wait_lone(struct host hosts[static N_HOSTS], uint64_t last, uint64_t sent,
                      double *sent_ms, double *there_ms)
{
	struct mono begun = clock_mono();
	*sent_ms = 0;
	while (store_journal_last(hosts[1].reader) == last) {
		if (*sent_ms == 0 && n_sent(&hosts[0]) > sent) {
			*sent_ms = secs_since(begun) * MS_PER_SEC;
		}
		if (secs_since(begun) > 1) {
			die("a lone change was lost");
		}
		(void)poll(NULL, 0, 0);
	}
	*there_ms = secs_since(begun) * MS_PER_SEC;
}

static void lone(struct host hosts[static N_HOSTS], post_function *post, const char *what,
                 uint32_t first)
{
	static double sent_ms[N_LONE];
	static double there_ms[N_LONE];
	char text[128];
	for (uint32_t i = 0; i < N_LONE; i++) {
		uint64_t last = store_journal_last(hosts[1].reader);
		uint64_t sent = n_sent(&hosts[0]);
		(void)post(&hosts[0], first + i);
		keeper_wake(hosts[0].keeper);
		while (take_answers(&hosts[0]) == 0) {
			(void)poll(NULL, 0, 0);
		}
		wait_lone(hosts, last, sent, &sent_ms[i], &there_ms[i]);
		(void)poll(NULL, 0, LONE_GAP_MS);
	}
	(void)snprintf(text, sizeof text, "%s, from this host's commit to its datagram", what);
	report(text, sent_ms);
	(void)snprintf(text, sizeof text, "%s, from this host's commit to the other's", what);
	report(text, there_ms);
}

/* --- baseline --------------------------------------------------------------------------------- */

static double bare_per_sec(uint32_t n_datagrams)
{
	static uint8_t bytes[DATAGRAM_BYTES];
	uint16_t port = 0;
	int from = open_udp(address_be(0), &port);
	int to = open_udp(address_be(1), &port);
	struct sockaddr_in sin = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = address_be(1)};
	struct mono begun = clock_mono();
	for (uint32_t i = 0; i < n_datagrams; i++) {
		if (sendto(from, bytes, sizeof bytes, 0, (struct sockaddr *)&sin, sizeof sin) < 0 ||
		    recv(to, bytes, sizeof bytes, 0) < 0) {
			die("bare UDP");
		}
	}
	double secs = secs_since(begun);
	(void)close(from);
	(void)close(to);
	return n_datagrams / secs;
}

int main(int argc, char **argv)
{
	static struct host hosts[N_HOSTS];
	struct utsname name;
	uint16_t port = 0;
	uint32_t n_changes = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 20000;
	if (argc < 2 || n_changes == 0 || uname(&name) < 0) {
		die("usage: bench_sync DIRECTORY [CHANGES]");
	}
	for (int i = 0; i < N_HOSTS; i++) {
		start(&hosts[i], argv[1], i, &port);
	}
	(void)printf("%s %s, %ld cores\n", name.machine, name.release,
	             sysconf(_SC_NPROCESSORS_ONLN));
	lone(hosts, post_tuple, "lone tuple", 3000000);
	lone(hosts, post_white, "lone change by hand", 3000000);
	carry(hosts, post_tuple, "tuples", n_changes);
	carry(hosts, post_white, "changes by hand", n_changes);
	(void)printf("baseline, bare UDP of the same bytes: %.0f/s\n", bare_per_sec(n_changes));
	for (int i = 0; i < N_HOSTS; i++) {
		stop(&hosts[i]);
	}
	return 0;
}
