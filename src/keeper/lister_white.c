/* Lists against the white: every white host is looked up in the table in force. The walk reads the
 * store in slices; the keeper, the only writer, takes the hosts off, and the journal carries that
 * to the kernel. IPv6 hosts are networks: one is listed when any of its addresses is. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "keeper/lister_impl.h"

enum {
	WINDOW = 4096,       /* changes under way: what the keeper commits and as many again */
	PATIENCE_MS = 10000, /* without any answer: the keeper cannot store */
	POLL_MS = 100,       /* a stop is noticed this soon */
	LOGGED_MAX = 1000,   /* hosts of one walk that get a line each */
	COOKIE = 1,
	ADDR_BITS = 128,
};

static_assert((int)WINDOW <= (int)KEEPER_IN_FLIGHT_MAX, "the way back holds all answers");

struct check {
	struct lister *lister;
	uint64_t n_seen, n_listed;
};

/* --- asking the keeper ------------------------------------------------------------------------ */

static unsigned take_answers(struct lister *lister)
{
	struct mailbox *answers = lister->env.port->answers;
	unsigned n = 0;
	size_t len = 0;
	const struct keeper_answer *answer = mailbox_peek(answers, &len);
	while (answer) {
		if (answer->ret == 0) {
			counters_add(&lister->counters, COUNTER_hosts_delisted, 1);
		}
		mailbox_release(answers);
		lister->n_in_flight -= lister->n_in_flight > 0;
		n++;
		answer = mailbox_peek(answers, &len);
	}
	return n;
}

static void sleep_for_answers(const struct lister *lister)
{
	struct pollfd pfd = {.fd = lister->env.port->wake, .events = POLLIN};
	uint64_t n = 0;
	if (poll(&pfd, 1, POLL_MS) > 0) {
		(void)!read(pfd.fd, &n, sizeof n); /* only empties it */
	}
}

/* Returns when answers came. */
static int wait_answers(struct lister *lister)
{
	struct mono deadline = mono_add_ms(clock_mono(), PATIENCE_MS);
	keeper_wake(lister->env.keeper);
	while (take_answers(lister) == 0) {
		if (lister_must_stop(lister)) {
			return -ECANCELED;
		}
		if (clock_mono().ns >= deadline.ns) {
			return -ETIMEDOUT;
		}
		sleep_for_answers(lister);
	}
	return 0;
}

static int delist(struct lister *lister, const struct addr *addr)
{
	struct change change = {.kind = CHANGE_DELIST, .has_addr = true, .addr = *addr};
	while (lister->n_in_flight >= WINDOW ||
	       !keeper_post_change(lister->env.port, &change, COOKIE)) {
		int ret = wait_answers(lister);
		if (ret != 0) {
			return ret;
		}
	}
	lister->n_in_flight++;
	return 0;
}

/* --- which hosts ------------------------------------------------------------------------------ */

static bool is_listed(const struct check *check, const struct addr *addr)
{
	unsigned prefix = addr_is_v4(addr) ? ADDR_BITS : check->lister->env.conf->ipv6_prefix;
	struct cidr host = {.addr = *addr, .bits = (uint8_t)prefix};
	struct addr_range range = cidr_range(&host);
	return list_table_has_any(check->lister->table, &range);
}

static int check_host(struct check *check, const struct addr *addr)
{
	char text[ADDR_TEXT_MAX];
	check->n_seen++;
	if (!is_listed(check, addr)) {
		return 0;
	}
	check->n_listed++;
	if (check->n_listed <= LOGGED_MAX && log_takes(LOG_EVENT_blacklisted)) {
		const struct log_fields fields = {.client = addr_format(addr, text),
		                                  .verdict = "BLACK"};
		log_event(LOG_EVENT_blacklisted, &fields, "%s blacklisted, removing from whitelist",
		          text);
	}
	return delist(check->lister, addr);
}

static int check_rows(struct check *check, const struct store_row *rows, int n)
{
	struct lister *lister = check->lister;
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		if (rows[i].kind == RECORD_WHITE) {
			ret = check_host(check, &rows[i].key.addr);
		}
	}
	if (lister->n_in_flight > 0) {
		keeper_wake(lister->env.keeper);
		(void)take_answers(lister);
	}
	return ret == 0 && lister_must_stop(lister) ? -ECANCELED : ret;
}

static int check_all(struct check *check)
{
	struct lister *lister = check->lister;
	const struct store_row *rows = NULL;
	struct store_walk *walk = store_walk_new(lister->reader, STORE_WALK_HOSTS, NULL, NULL);
	if (!walk) {
		return -ENOMEM;
	}
	int n = store_walk_next(walk, &rows, NULL);
	int ret = 0;
	while (n > 0 && ret == 0) {
		ret = check_rows(check, rows, n);
		n = ret == 0 ? store_walk_next(walk, &rows, NULL) : 0;
	}
	store_walk_free(walk);
	while (ret == 0 && lister->n_in_flight > 0) {
		ret = wait_answers(lister);
	}
	return ret ? ret : n;
}

int lister_check_white(struct lister *lister)
{
	struct check check = {.lister = lister};
	struct mono begun = clock_mono();
	if (lister->table == NULL) {
		return 0;
	}
	int ret = check_all(&check);
	log_write(check.n_listed > 0 ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG,
	          "lists: %llu of %llu white hosts are blacklisted and %s (%lld ms)",
	          (unsigned long long)check.n_listed, (unsigned long long)check.n_seen,
	          ret == 0 ? "no longer white" : "may still be white",
	          (long long)mono_diff_ms(clock_mono(), begun));
	return ret;
}
