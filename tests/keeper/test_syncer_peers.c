/* What others tell, and who they are: a stranger's datagrams at a gateway. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/qsbr.h"
#include "syncer_fixture.h"

static struct gateway *start_one(struct fixture *fix)
{
	gateway_start(&fix->at[0]);
	return &fix->at[0];
}

static uint64_t n_stored(struct gateway *gateway)
{
	struct store_stats stats;
	assert_int_equal(store_stats_get(gateway->world.reader, &stats), 0);
	return stats.n_hosts + stats.n_tuples + stats.n_trap_addresses;
}

/* All that was posted is applied: the keeper answers a port in order. */
static void settle(struct fixture *fix, struct gateway *gateway)
{
	struct wire_block block = block_of(WIRE_WHITE, "203.0.113.254", gateway->life_now_secs);
	tell(fix, gateway, &block);
	for (int i = 0; i < WORLD_WAIT_MS && !is_host(gateway, "203.0.113.254", RECORD_WHITE);
	     i++) {
		world_sleep_ms(1);
	}
	assert_true(is_host(gateway, "203.0.113.254", RECORD_WHITE));
}

/* --- the log, while it goes to stderr --- */

struct captured {
	FILE *file;
	int saved;
};

static struct captured capture_begin(void)
{
	struct captured captured = {.file = tmpfile(), .saved = dup(STDERR_FILENO)};
	assert_non_null(captured.file);
	assert_true(captured.saved >= 0);
	assert_true(dup2(fileno(captured.file), STDERR_FILENO) >= 0);
	return captured;
}

/* Lines that hold the text. */
static int capture_end(struct captured *captured, const char *text)
{
	char line[2048];
	int n = 0;
	assert_true(dup2(captured->saved, STDERR_FILENO) >= 0);
	(void)close(captured->saved);
	rewind(captured->file);
	while (fgets(line, sizeof line, captured->file)) {
		n += strstr(line, text) != NULL;
	}
	(void)fclose(captured->file);
	return n;
}

/* --- keys ------------------------------------------------------------------------------------- */

static void another_key_changes_nothing_and_is_logged_once_also_beside_one_that_fits(void **state)
{
	enum { N = 50 };
	struct fixture *fix = *state;
	struct sync_key other = sync_key_of(span_of_str("another secret\n"));
	struct captured log = capture_begin();
	struct gateway *gateway = start_one(fix);
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
	struct wire_packet packet = packet_of(fix, &block, &other);
	for (int i = 0; i < N; i++) {
		send_packet_from(fix->stranger, gateway, &packet);
	}
	until_heard(gateway, fix->stranger_be, N);
	assert_int_equal(n_stored(gateway), 0);
	assert_int_equal(peer_of(gateway, fix->stranger_be).dropped[WIRE_DROP_MAC], N);
	assert_int_equal(peer_of(gateway, fix->stranger_be).last_contact_secs, 0);
	settle(fix, gateway);
	send_packet_from(fix->stranger, gateway, &packet);
	until_heard(gateway, fix->stranger_be, N + 2);
	world_sleep_ms(QUIET_MS);
	assert_int_equal(capture_end(&log, "signature"), 1);
}

static void a_wrong_key_is_logged_again_a_minute_after_one_that_fits(void **state)
{
	struct fixture *fix = *state;
	struct sync_key other = sync_key_of(span_of_str("another secret\n"));
	struct captured log = capture_begin();
	struct gateway *gateway = start_one(fix);
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
	struct wire_packet packet = packet_of(fix, &block, &other);
	send_packet_from(fix->stranger, gateway, &packet);
	until_heard(gateway, fix->stranger_be, 1);
	atomic_store(&mono_ahead_secs, 61);
	send_packet_from(fix->stranger, gateway, &packet); /* but not without */
	until_heard(gateway, fix->stranger_be, 2);
	settle(fix, gateway);
	send_packet_from(fix->stranger, gateway, &packet);
	until_heard(gateway, fix->stranger_be, 4);
	world_sleep_ms(QUIET_MS);
	assert_int_equal(capture_end(&log, "signature"), 2);
}

static void other_drops_are_counted_by_reason_and_logged_once_each(void **state)
{
	struct fixture *fix = *state;
	struct captured log = capture_begin();
	struct gateway *gateway = start_one(fix);
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
	struct wire_packet good = packet_of(fix, &block, &fix->key);
	struct wire_packet cut = good;
	struct wire_packet newer = good;
	cut.len = 20;
	newer.bytes[0] = 3;
	for (int i = 0; i < 3; i++) {
		send_packet_from(fix->stranger, gateway, &cut);
		send_packet_from(fix->stranger, gateway, &newer);
	}
	until_heard(gateway, fix->stranger_be, 6);
	struct syncer_peer_figures figures = peer_of(gateway, fix->stranger_be);
	assert_int_equal(figures.dropped[WIRE_DROP_SHORT], 3);
	assert_int_equal(figures.dropped[WIRE_DROP_VERSION], 3);
	assert_int_equal(n_stored(gateway), 0);
	assert_int_equal(capture_end(&log, "was dropped, whole or in part"), 2);
}

static void more_hosts_than_places_share_one_count_and_the_key_gets_a_place(void **state)
{
	enum { N = 80, FIRST = 100 };
	struct fixture *fix = *state;
	struct sync_key other = sync_key_of(span_of_str("another secret\n"));
	struct gateway *gateway = start_one(fix);
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
	struct wire_packet packet = packet_of(fix, &block, &other);
	for (uint32_t i = 0; i < N; i++) {
		int fd = open_udp(own_loopback_be(FIRST + i), &fix->port);
		send_packet_from(fd, gateway, &packet);
		(void)close(fd);
	}
	uint64_t n_expected = N - (SYNCER_PEERS_MAX - 1); /* one place is the other gateway's */
	for (int i = 0; i < WORLD_WAIT_MS && figures_of(gateway).n_strangers_dropped < n_expected;
	     i++) {
		world_sleep_ms(1);
	}
	assert_int_equal(figures_of(gateway).n_strangers_dropped, n_expected);
	assert_int_equal(figures_of(gateway).n_peers, SYNCER_PEERS_MAX);
	settle(fix, gateway);
	assert_int_equal(n_in(gateway, fix->stranger_be), 1);
	assert_string_equal(peer_of(gateway, fix->at[1].addr_be).name, "other");
}

static void own_datagrams_that_come_back_are_no_peers(void **state)
{
	struct fixture *fix = *state;
	fix->at[0].setup.interface_be = fix->stranger_be;
	struct gateway *gateway = start_one(fix);
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", world_now_secs());
	tell(fix, gateway, &block);
	world_sleep_ms(QUIET_MS);
	assert_int_equal(figures_of(gateway).n_peers, 1);
	assert_int_equal(n_stored(gateway), 0);
}

/* --- clocks ----------------------------------------------------------------------------------- */

static void blocks_of_other_times_are_refused(void **state)
{
	static const struct {
		uint8_t type;
		int64_t ahead_secs;
		bool is_taken;
	} rows[] = {{WIRE_PROMOTE, SKEW_SECS, true},     {WIRE_PROMOTE, SKEW_SECS + 1, false},
	            {WIRE_PROMOTE, -SKEW_SECS, true},    {WIRE_PROMOTE, -SKEW_SECS - 1, false},
	            {WIRE_WHITE, SKEW_SECS, true},       {WIRE_WHITE, SKEW_SECS + 1, false},
	            {WIRE_WHITE, -SKEW_SECS - 1, true},  {WIRE_WHITE, -14400, true},
	            {WIRE_WHITE, -14401, false},         {WIRE_GREY, -14401, false},
	            {WIRE_TRAPPED, SKEW_SECS + 1, false}};
	struct fixture *fix = *state;
	struct gateway *gateway = start_one(fix);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wire_block block = block_of(rows[i].type, "192.0.2.1",
		                                   gateway->life_now_secs + rows[i].ahead_secs);
		uint64_t n_before = n_in(gateway, fix->stranger_be);
		tell(fix, gateway, &block);
		until_heard(gateway, fix->stranger_be, i + 1);
		assert_int_equal(n_in(gateway, fix->stranger_be) - n_before, rows[i].is_taken);
	}
	struct syncer_peer_figures figures = peer_of(gateway, fix->stranger_be);
	assert_int_equal(figures.refused[SYNCER_REFUSED_SKEW],
	                 sum_of(figures.refused, SYNCER_REFUSED_COUNT));
}

/* --- meanings --------------------------------------------------------------------------------- */

static void addresses_nobody_connects_from_are_refused(void **state)
{
	static const struct {
		uint8_t type;
		const char *addr;
	} rows[] = {
	        {WIRE_WHITE, "255.255.255.255"}, /* greyd's for an IPv6 client */
	        {WIRE_GREY, "255.255.255.255"},  {WIRE_TRAPPED, "0.0.0.0"},
	        {WIRE_WHITE, "224.0.0.1"},       {WIRE_WHITE6, "::"},
	        {WIRE_TRAPPED6, "ff02::1"},
	};
	struct fixture *fix = *state;
	struct gateway *gateway = start_one(fix);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct wire_block block =
		        block_of(rows[i].type, rows[i].addr, gateway->life_now_secs);
		tell(fix, gateway, &block);
	}
	until_heard(gateway, fix->stranger_be, ARRAY_LEN(rows));
	assert_int_equal(peer_of(gateway, fix->stranger_be).refused[SYNCER_REFUSED_KIND],
	                 ARRAY_LEN(rows));
	assert_int_equal(n_stored(gateway), 0);
}

static void mailboxes_that_are_no_spamtraps_are_refused(void **state)
{
	static const char *const texts[] = {"<trap@example.net>", "Trap@example.net", "nobody"};
	struct fixture *fix = *state;
	struct gateway *gateway = start_one(fix);
	for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
		struct wire_block block = {.type = WIRE_MANUAL,
		                           .kind = WIRE_KIND_SPAMTRAP,
		                           .at = {gateway->life_now_secs},
		                           .recipient = span_of_str(texts[i])};
		tell(fix, gateway, &block);
	}
	until_heard(gateway, fix->stranger_be, ARRAY_LEN(texts));
	assert_int_equal(n_refused(gateway, fix->stranger_be), ARRAY_LEN(texts));
	assert_int_equal(n_stored(gateway), 0);
}

static void a_peers_attempt_at_a_local_spamtrap_traps(void **state)
{
	struct fixture *fix = *state;
	struct gateway *gateway = start_one(fix);
	change_at(gateway, CHANGE_SPAMTRAP, "b@example.net");
	struct wire_block block = block_of(WIRE_GREY, "192.0.2.1", gateway->life_now_secs);
	struct wire_block block6 = block_of(WIRE_GREY6, "2001:db8::1", gateway->life_now_secs);
	tell(fix, gateway, &block);
	tell(fix, gateway, &block6);
	settle(fix, gateway);
	assert_true(is_host(gateway, "192.0.2.1", RECORD_TRAPPED));
	assert_true(is_host(gateway, "2001:db8::1", RECORD_TRAPPED));
}

/* It may have been any host of it. */
static void a_networks_attempt_at_a_local_spamtrap_counts_for_none_of_its_hosts(void **state)
{
	struct fixture *fix = *state;
	struct world_tuple tuple = {"2001:db8::", "mail.example", "<a@example.org>",
	                            "<b@example.net>", 0};
	struct grey_record record;
	struct gateway *gateway = start_one(fix);
	change_at(gateway, CHANGE_SPAMTRAP, "b@example.net");
	struct wire_block block = block_of(WIRE_GREY6, "2001:db8::", gateway->life_now_secs);
	tell(fix, gateway, &block);
	until_heard(gateway, fix->stranger_be, 1);
	settle(fix, gateway);
	assert_int_equal(peer_of(gateway, fix->stranger_be).refused[SYNCER_REFUSED_KIND], 1);
	assert_false(is_host(gateway, "2001:db8::", RECORD_TRAPPED));
	assert_false(world_find(&gateway->world, &tuple, &record));
}

static void a_peers_attempt_outside_the_allowed_domains_traps(void **state)
{
	struct fixture *fix = *state;
	struct domains *domains = NULL;
	assert_int_equal(domains_parse(span_of_str("example.com\n"), NULL, NULL, &domains), 0);
	(void)qsbr_exchange(&fix->at[0].world.knowledge.domains, domains);
	struct gateway *gateway = start_one(fix);
	struct wire_block block = block_of(WIRE_GREY, "192.0.2.1", gateway->life_now_secs);
	struct wire_block good = block_of(WIRE_GREY, "192.0.2.2", gateway->life_now_secs);
	good.recipient = span_of_str("<b@example.com>");
	tell(fix, gateway, &block);
	tell(fix, gateway, &good);
	settle(fix, gateway);
	assert_true(is_host(gateway, "192.0.2.1", RECORD_TRAPPED));
	assert_false(is_host(gateway, "192.0.2.2", RECORD_TRAPPED));
	syncer_stop(gateway->syncer);
	gateway->syncer = NULL;
	gateway->socket = open_udp(gateway->addr_be, &fix->port);
	domains_free(qsbr_exchange(&gateway->world.knowledge.domains, NULL));
}

static void what_is_told_again_changes_nothing(void **state)
{
	static const uint8_t types[] = {WIRE_GREY, WIRE_WHITE, WIRE_TRAPPED, WIRE_PROMOTE};
	static const char *const hosts[] = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"};
	struct fixture *fix = *state;
	struct gateway *gateway = start_one(fix);
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct wire_block block = block_of(types[i], hosts[i], gateway->life_now_secs);
		tell(fix, gateway, &block);
	}
	change_at(gateway, CHANGE_SPAMTRAP, "trap@example.net");
	struct wire_block hit = block_of(WIRE_GREY, "192.0.2.5", gateway->life_now_secs);
	hit.recipient = span_of_str("<trap@example.net>");
	tell(fix, gateway, &hit);
	settle(fix, gateway);
	uint64_t last = store_journal_last(gateway->world.reader);
	uint64_t n = n_in(gateway, fix->stranger_be);
	tell(fix, gateway, &hit);
	for (size_t i = 0; i < ARRAY_LEN(types) * 5; i++) {
		struct wire_block block = block_of(types[i % 4], hosts[i % 4],
		                                   gateway->life_now_secs - (int64_t)(i / 4));
		tell(fix, gateway, &block);
	}
	until_heard(gateway, fix->stranger_be, n + 1 + ARRAY_LEN(types) * 5);
	world_sleep_ms(QUIET_MS);
	assert_int_equal(store_journal_last(gateway->world.reader), last);
}

static void greyds_deletions_are_taken(void **state)
{
	struct fixture *fix = *state;
	struct gateway *gateway = start_one(fix);
	struct wire_block white = block_of(WIRE_WHITE, "192.0.2.1", gateway->life_now_secs - 10);
	tell(fix, gateway, &white);
	settle(fix, gateway);
	assert_true(is_host(gateway, "192.0.2.1", RECORD_WHITE));
	/* never sent by mired: a WHITE with another type */
	struct wire_block block = block_of(WIRE_WHITE, "192.0.2.1", gateway->life_now_secs + 1);
	struct wire_packet packet;
	wire_begin(&packet);
	assert_int_equal(wire_add(&packet, &block), 0);
	packet.bytes[WIRE_HEADER_BYTES + 1] = WIRE_DELETE_WHITE;
	wire_finish(&packet, 0, &fix->key);
	send_packet_from(fix->stranger, gateway, &packet);
	until_host(gateway, "192.0.2.1", RECORD_WHITE, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        GATEWAYS_TEST(
	                another_key_changes_nothing_and_is_logged_once_also_beside_one_that_fits),
	        GATEWAYS_TEST(a_wrong_key_is_logged_again_a_minute_after_one_that_fits),
	        GATEWAYS_TEST(other_drops_are_counted_by_reason_and_logged_once_each),
	        GATEWAYS_TEST(more_hosts_than_places_share_one_count_and_the_key_gets_a_place),
	        GATEWAYS_TEST(own_datagrams_that_come_back_are_no_peers),
	        GATEWAYS_TEST(blocks_of_other_times_are_refused),
	        GATEWAYS_TEST(addresses_nobody_connects_from_are_refused),
	        GATEWAYS_TEST(mailboxes_that_are_no_spamtraps_are_refused),
	        GATEWAYS_TEST(a_peers_attempt_at_a_local_spamtrap_traps),
	        GATEWAYS_TEST(a_networks_attempt_at_a_local_spamtrap_counts_for_none_of_its_hosts),
	        GATEWAYS_TEST(a_peers_attempt_outside_the_allowed_domains_traps),
	        GATEWAYS_TEST(what_is_told_again_changes_nothing),
	        GATEWAYS_TEST(greyds_deletions_are_taken),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
