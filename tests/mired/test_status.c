/* The figures of the synchronisation as the status tells them, in JSON and as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/format.h"
#include "mired/status.h"

struct fixture {
	struct engine_figures figures;
	struct counters control;
	struct conf conf;
};

static int setup(void **state)
{
	struct fixture *fix = aligned_alloc(_Alignof(struct fixture), sizeof *fix);
	assert_non_null(fix);
	memset(fix, 0, sizeof *fix);
	fix->figures.has_sync = true;
	fix->figures.sync.is_sending = true;
	*state = fix;
	return 0;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

static struct syncer_peer_figures *add_peer(struct fixture *fix, uint32_t addr, const char *name)
{
	struct syncer_peer_figures *peer = &fix->figures.sync.peers[fix->figures.sync.n_peers++];
	peer->addr_be = htonl(addr);
	(void)snprintf(peer->name, sizeof peer->name, "%s", name);
	return peer;
}

static json_t *sync_of(struct fixture *fix)
{
	json_t *top = status_json(&fix->figures, &fix->control, &fix->conf, clock_mono());
	json_t *sync = json_incref(json_object_get(top, "sync"));
	json_decref(top);
	assert_non_null(sync);
	return sync;
}

static char *text_of(json_t *sync)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	assert_non_null(out);
	json_t *top = json_pack("{s:O}", "sync", sync);
	format_figures(top, out);
	(void)fclose(out);
	json_decref(top);
	return text;
}

static void a_peer_tells_what_happened_and_nothing_else(void **state)
{
	struct fixture *fix = *state;
	struct syncer_peer_figures *peer = add_peer(fix, 0xC0000201U, "mx2");
	peer->in[syncer_type_index(WIRE_GREY)] = 12;
	peer->out[syncer_type_index(WIRE_PROMOTE)] = 3;
	peer->dropped[WIRE_DROP_MAC] = 2;
	peer->refused[SYNCER_REFUSED_SKEW] = 1;
	peer->out_failures = 4;
	json_t *sync = sync_of(fix);
	json_t *wanted =
	        json_pack("{s:s, s:s, s:i, s:{s:i}, s:{s:i}, s:{s:i}, s:{s:i}, s:i}", "address",
	                  "192.0.2.1", "name", "mx2", "last_contact_at", 0, "in", "grey", 12, "out",
	                  "promote", 3, "dropped", "mac", 2, "refused", "skew", 1, "failures", 4);
	assert_true(json_equal(json_array_get(json_object_get(sync, "peers"), 0), wanted));
	char *text = text_of(sync);
	assert_non_null(strstr(text, "    192.0.2.1: name mx2, last contact never, in grey 12, "
	                             "out promote 3,\n"
	                             "        dropped mac 2, refused skew 1, failures 4\n"));
	free(text);
	json_decref(wanted);
	json_decref(sync);
}

static void a_contact_has_its_time_and_its_age(void **state)
{
	struct fixture *fix = *state;
	int64_t now_secs = clock_wall().secs;
	add_peer(fix, 0xC0000201U, "mx2")->last_contact_secs = now_secs - 30;
	json_t *sync = sync_of(fix);
	json_t *peer = json_array_get(json_object_get(sync, "peers"), 0);
	assert_int_equal(json_integer_value(json_object_get(peer, "last_contact_at")),
	                 now_secs - 30);
	assert_in_range(json_integer_value(json_object_get(peer, "silent_secs")), 30, 60);
	json_decref(sync);
}

static void all_places_are_a_line_each(void **state)
{
	struct fixture *fix = *state;
	char line[32];
	for (uint32_t i = 0; i < SYNCER_PEERS_MAX; i++) {
		struct syncer_peer_figures *peer = add_peer(fix, 0x0A000000U + i, "");
		for (size_t t = 0; t < SYNCER_TYPES_MAX; t++) {
			peer->in[t] = 1;
			peer->out[t] = 1;
		}
	}
	json_t *sync = sync_of(fix);
	char *text = text_of(sync);
	for (uint32_t i = 0; i < SYNCER_PEERS_MAX; i++) {
		(void)snprintf(line, sizeof line, "\n    10.0.0.%u: last", i);
		assert_non_null(strstr(text, line));
	}
	free(text);
	json_decref(sync);
}

static void without_synchronisation_it_says_so(void **state)
{
	struct fixture *fix = *state;
	fix->figures.has_sync = false;
	fix->figures.sync.is_sending = false;
	json_t *sync = sync_of(fix);
	assert_true(json_is_false(json_object_get(sync, "active")));
	assert_int_equal(json_array_size(json_object_get(sync, "peers")), 0);
	json_decref(sync);
}

#define STATUS_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	        STATUS_TEST(a_peer_tells_what_happened_and_nothing_else),
	        STATUS_TEST(a_contact_has_its_time_and_its_age),
	        STATUS_TEST(all_places_are_a_line_each),
	        STATUS_TEST(without_synchronisation_it_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
