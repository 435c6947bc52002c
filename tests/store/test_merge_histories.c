/* Several gateways with clocks of their own, real stores, and random histories: changes of every
 * kind, exports that meet in random order and in pieces, some of them twice. When everybody has
 * seen everything, all exports are the same, and what was known and deleted is back only by a
 * later fact. The stores go on from history to history. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "store/change.h"
#include "store_fixture.h"

enum {
	N_GATEWAYS = 3,
	N_HISTORIES = 500,
	TURNS_MAX = 6,
	CHANGES_MAX = 8,
	SKEW_SECS = 300,
	STEP_SECS = 400, /* between two turns, at most: clocks overtake each other */
	N_ADDRS = 5,
	N_MAILBOXES = 3,
	LINES_MAX = 256,
};

static const struct change_conf change_conf = {
        .whiteexp_secs = INT64_C(36) * 86400, .trapexp_secs = 86400, .ipv6_prefix = 64};

struct gateway {
	struct fixture *fixture;
	struct store *store;
	struct store_reader *reader;
	int64_t skew_secs;
	unsigned seen; /* bits of the gateways whose changes are here */
};

struct world {
	struct gateway gateways[N_GATEWAYS];
	uint64_t seed;
	int64_t at; /* the true time */
};

static uint32_t draw(struct world *world, uint32_t n)
{
	world->seed = world->seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(world->seed >> 33) % n;
}

static struct wall clock_of(const struct world *world, const struct gateway *gateway)
{
	return (struct wall){world->at + gateway->skew_secs};
}

/* --- exports ---------------------------------------------------------------------------------- */

struct export
{
	char *text;
	size_t len;
	struct span lines[LINES_MAX];
	unsigned n_lines;
};

static void export_rows(const struct gateway *gateway, FILE *out)
{
	const struct store_row *rows = NULL;
	struct store_walk *walk =
	        store_walk_new(gateway->reader, STORE_WALK_ALL | STORE_WALK_DELETED, NULL, NULL);
	int n = 0;
	assert_non_null(walk);
	while ((n = store_walk_next(walk, &rows, NULL)) > 0) {
		for (int i = 0; i < n; i++) {
			assert_int_equal(dump_print_merge(&rows[i], out), 0);
		}
	}
	assert_int_equal(n, 0);
	store_walk_free(walk);
}

static int compare_lines(const void *a, const void *b)
{
	const struct span *x = a;
	const struct span *y = b;
	int order = memcmp(x->ptr, y->ptr, x->len < y->len ? x->len : y->len);
	return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* Sorted: the rows of two stores have keys of their own and another order. */
static struct export export_of(const struct gateway *gateway)
{
	struct export export = {.text = NULL};
	FILE *out = open_memstream(&export.text, &export.len);
	assert_non_null(out);
	export_rows(gateway, out);
	assert_int_equal(fclose(out), 0);
	for (struct span rest = span_of(export.text, export.len); rest.len > 0;) {
		assert_true(export.n_lines < LINES_MAX);
		export.lines[export.n_lines++] = span_cut(rest, '\n', &rest);
	}
	qsort(export.lines, export.n_lines, sizeof export.lines[0], compare_lines);
	return export;
}

static void merge_line(struct store_txn *txn, struct wall now, struct span line)
{
	static char text[CHANGE_LINE_MAX];
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX];
	struct change change;
	struct change_effect effect;
	int len = snprintf(text, sizeof text, "merge %.*s", (int)line.len, (const char *)line.ptr);
	assert_int_equal(change_parse(span_of(text, (size_t)len), buf, &change, why), 0);
	change_apply(txn, &change_conf, now, &change, &effect);
	assert_int_equal(effect.ret, 0);
}

static void shuffle(struct world *world, struct export *export)
{
	for (unsigned i = export->n_lines; i > 1; i--) {
		unsigned j = draw(world, i);
		struct span line = export->lines[i - 1];
		export->lines[i - 1] = export->lines[j];
		export->lines[j] = line;
	}
}

/* `to` joins what `from` has, shuffled; some lines twice. */
static void join(struct world *world, struct gateway *to, const struct gateway *from)
{
	struct export export = export_of(from);
	struct wall now = clock_of(world, to);
	struct store_txn txn;
	shuffle(world, &export);
	store_begin(to->store, &txn, now);
	for (unsigned i = 0; i < export.n_lines; i++) {
		merge_line(&txn, now, export.lines[i]);
		if (draw(world, 8) == 0) {
			merge_line(&txn, now, export.lines[draw(world, i + 1)]);
		}
	}
	assert_int_equal(store_commit(&txn), 0);
	free(export.text);
	to->seen |= from->seen;
}

/* --- changes ---------------------------------------------------------------------------------- */

static struct addr random_addr(struct world *world)
{
	static const char *const addrs[N_ADDRS] = {"192.0.2.1", "192.0.2.2", "192.0.2.3",
	                                           "2001:db8::1", "2001:db8::2"};
	struct addr addr;
	assert_int_equal(addr_parse(span_of_str(addrs[draw(world, N_ADDRS)]), &addr), 0);
	return addr;
}

/* The second is the first to a store, and other bytes. */
static struct tuple_text random_text(struct world *world)
{
	static const char *const senders[] = {"<a@b>", "A@b", "<x@y>"};
	struct tuple_text text = {SPAN("h"), SPAN(""), SPAN("<c@d>")};
	text.sender = span_of_str(senders[draw(world, ARRAY_LEN(senders))]);
	return text;
}

static struct span random_mailbox(struct world *world)
{
	static const char *const mailboxes[N_MAILBOXES] = {"a@b", "c@d", "e@f"};
	return span_of_str(mailboxes[draw(world, N_MAILBOXES)]);
}

static struct grey_record random_record(struct world *world, struct wall now)
{
	return (struct grey_record){
	        .first = {now.secs - draw(world, 1000)},
	        .pass = {now.secs + (int)draw(world, 1000)},
	        .expire = {now.secs + 100000 + draw(world, 1000)},
	        .changed_at = {now.secs - SKEW_SECS + (int)draw(world, 2 * SKEW_SECS)},
	        .bcount = draw(world, 10),
	        .pcount = draw(world, 10)};
}

static struct change random_change(struct world *world, struct wall now)
{
	static const enum change_kind kinds[] = {
	        CHANGE_WHITE,       CHANGE_TRAPPED,   CHANGE_SPAMTRAP,    CHANGE_DELETE,
	        CHANGE_DELETE_GREY, CHANGE_PUT,       CHANGE_SEEN,        CHANGE_TRAP_HIT,
	        CHANGE_DELIST,      CHANGE_PEER_HOST, CHANGE_PEER_MANUAL, CHANGE_PEER_DELETE,
	};
	struct change change = {.kind = kinds[draw(world, ARRAY_LEN(kinds))],
	                        .addr = random_addr(world),
	                        .record = random_record(world, now),
	                        .record_kind = (enum record_kind)(RECORD_WHITE + draw(world, 4)),
	                        .count = 1 + draw(world, 3),
	                        .life_secs = 1000 + draw(world, 100000)};
	bool is_mailbox = change.kind == CHANGE_SPAMTRAP ||
	                  (change.kind == CHANGE_DELETE && draw(world, 3) == 0) ||
	                  change.record_kind == RECORD_TRAP_ADDRESS;
	change.has_addr = !is_mailbox;
	change.text = random_text(world);
	if (is_mailbox) {
		change.text.recipient = random_mailbox(world);
	}
	return change;
}

/* An attempt as the keeper decides it. */
static void random_attempt(struct world *world, struct store_txn *txn, struct wall now)
{
	static const struct greylist_conf conf = {100, 14400, INT64_C(36) * 86400};
	struct addr peer = random_addr(world);
	struct addr addr = addr_group(&peer, 64);
	struct tuple_text text = random_text(world);
	struct tuple_key key = record_tuple_key(store_hash_key(txn->store), &addr, &text);
	struct grey_record stored;
	struct grey_record tuple;
	struct grey_record host;
	bool is_known = store_get_tuple(txn, &key, &stored);
	struct greylist_known known = {.tuple = is_known ? &stored : NULL};
	enum verdict verdict = greylist_attempt(&conf, now, &known, &tuple, &host);
	store_put_tuple(txn, &key, &tuple, &text);
	if (verdict == VERDICT_PROMOTE) {
		store_put_host(txn, &addr, RECORD_WHITE, &host);
	}
}

/* What was live and is deleted has a tombstone that is later, whatever the clock says. */
static void assert_buried(struct store_txn *txn, const struct change_effect *effect,
                          const struct grey_record *before)
{
	struct grey_record after;
	assert_true(store_get_host_register(txn, &effect->white_addr, RECORD_WHITE, &after));
	assert_true(after.is_deleted);
	assert_true(after.changed_at.secs > before->changed_at.secs);
	assert_true(after.expire.secs >= before->expire.secs);
}

static void apply_random(struct world *world, struct store_txn *txn, struct wall now)
{
	struct change change = random_change(world, now);
	struct change_effect effect;
	struct grey_record before;
	struct addr group = addr_group(&change.addr, 64);
	bool was_white = store_get_host(txn, &group, RECORD_WHITE, &before);
	change_apply(txn, &change_conf, now, &change, &effect);
	if (was_white && change.kind == CHANGE_DELETE && change.has_addr) {
		assert_buried(txn, &effect, &before);
	}
}

static void live_on(struct world *world, struct gateway *gateway)
{
	struct wall now = clock_of(world, gateway);
	struct store_txn txn;
	store_begin(gateway->store, &txn, now);
	for (uint32_t n = 1 + draw(world, CHANGES_MAX); n > 0; n--) {
		if (draw(world, 4) == 0) {
			random_attempt(world, &txn, now);
		} else {
			apply_random(world, &txn, now);
		}
	}
	assert_int_equal(store_commit(&txn), 0);
}

/* --- what must hold --------------------------------------------------------------------------- */

/* The newest fact of each key: found apart from the merge's code, by the text of lines. */
struct fact {
	char key[128];
	long long changed_at;
	bool is_deleted;
};

struct facts {
	struct fact facts[LINES_MAX];
	unsigned n_facts;
};

static const struct {
	const char *name;
	unsigned n_key; /* bars of the key, the name's included */
} kinds[] = {{"WHITE|", 2}, {"TRAPPED|", 2}, {"GREY|", 5}, {"SPAMTRAP|", 2}};

static char folded(char c)
{
	return (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

/* Without what makes two texts the same tuple. */
static struct fact read_fact(struct span line)
{
	struct fact fact = {.is_deleted = line.ptr[0] == '-'};
	const char *at = (const char *)line.ptr + 1;
	unsigned n_key = 0;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		n_key = strncmp(at, kinds[i].name, strlen(kinds[i].name)) == 0 ? kinds[i].n_key
		                                                               : n_key;
	}
	assert_int_not_equal(n_key, 0);
	for (size_t len = 0; n_key > 0; at++) {
		n_key -= *at == '|';
		assert_true(len + 1 < sizeof fact.key);
		if (*at != '<' && *at != '>') {
			fact.key[len++] = folded(*at);
		}
	}
	fact.changed_at = strtoll(at, NULL, 10);
	return fact;
}

static struct fact *find_fact(struct facts *facts, const char *key)
{
	for (unsigned i = 0; i < facts->n_facts; i++) {
		if (strcmp(facts->facts[i].key, key) == 0) {
			return &facts->facts[i];
		}
	}
	return NULL;
}

static void note_fact(struct facts *facts, struct fact fact)
{
	struct fact *known = find_fact(facts, fact.key);
	if (!known) {
		assert_true(facts->n_facts < LINES_MAX);
		known = &facts->facts[facts->n_facts++];
		*known = fact;
	}
	if (fact.changed_at > known->changed_at ||
	    (fact.changed_at == known->changed_at && !fact.is_deleted)) {
		*known = fact;
	}
}

static void note_facts(struct facts *facts, const struct gateway *gateway)
{
	struct export export = export_of(gateway);
	for (unsigned i = 0; i < export.n_lines; i++) {
		note_fact(facts, read_fact(export.lines[i]));
	}
	free(export.text);
}

static void assert_newest(struct facts *facts, const struct export *export)
{
	assert_int_equal(export->n_lines, facts->n_facts);
	for (unsigned i = 0; i < export->n_lines; i++) {
		struct fact got = read_fact(export->lines[i]);
		const struct fact *expected = find_fact(facts, got.key);
		assert_non_null(expected);
		assert_int_equal(got.changed_at, expected->changed_at);
		assert_int_equal(got.is_deleted, expected->is_deleted);
	}
}

static void assert_in_step(const struct world *world, struct facts *facts)
{
	struct export first = export_of(&world->gateways[0]);
	assert_newest(facts, &first);
	for (int i = 1; i < N_GATEWAYS; i++) {
		struct export other = export_of(&world->gateways[i]);
		assert_int_equal(other.n_lines, first.n_lines);
		for (unsigned n = 0; n < first.n_lines; n++) {
			assert_int_equal(other.lines[n].len, first.lines[n].len);
			assert_memory_equal(other.lines[n].ptr, first.lines[n].ptr,
			                    first.lines[n].len);
		}
		free(other.text);
	}
	free(first.text);
}

/* --- histories -------------------------------------------------------------------------------- */

static void join_random(struct world *world)
{
	unsigned to = draw(world, N_GATEWAYS);
	unsigned from = (to + 1 + draw(world, N_GATEWAYS - 1)) % N_GATEWAYS;
	join(world, &world->gateways[to], &world->gateways[from]);
}

static bool have_all_seen_all(const struct world *world)
{
	unsigned seen = ~0U;
	for (int i = 0; i < N_GATEWAYS; i++) {
		seen &= world->gateways[i].seen;
	}
	return seen == (1U << N_GATEWAYS) - 1;
}

static void play_history(struct world *world)
{
	struct facts facts = {.n_facts = 0};
	for (int i = 0; i < N_GATEWAYS; i++) {
		world->gateways[i].skew_secs = (int64_t)draw(world, 2 * SKEW_SECS + 1) - SKEW_SECS;
	}
	for (uint32_t n = 1 + draw(world, TURNS_MAX); n > 0; n--) {
		world->at += draw(world, STEP_SECS);
		live_on(world, &world->gateways[draw(world, N_GATEWAYS)]);
		if (draw(world, 4) == 0) {
			join_random(world);
		}
	}
	for (int i = 0; i < N_GATEWAYS; i++) {
		world->gateways[i].seen = 1U << i;
		note_facts(&facts, &world->gateways[i]);
	}
	while (!have_all_seen_all(world)) {
		join_random(world);
	}
	assert_in_step(world, &facts);
}

static int open_world(void **state)
{
	struct world *world = calloc(1, sizeof *world);
	assert_non_null(world);
	*state = world;
	if (access("/dev/shm", W_OK) == 0) { /* thousands of commits: nothing of them is to last */
		assert_int_equal(setenv("TMPDIR", "/dev/shm", 0), 0);
	}
	for (int i = 0; i < N_GATEWAYS; i++) {
		struct gateway *gateway = &world->gateways[i];
		void *fixture = NULL;
		if (fixture_setup(&fixture)) {
			return -1;
		}
		gateway->fixture = fixture;
		gateway->store = fixture_open(fixture);
		gateway->reader = fixture_reader(gateway->store);
	}
	return 0;
}

static int close_world(void **state)
{
	struct world *world = *state;
	int ret = 0;
	for (int i = 0; i < N_GATEWAYS; i++) {
		struct gateway *gateway = &world->gateways[i];
		store_reader_close(gateway->reader);
		store_close(gateway->store);
		void *fixture = gateway->fixture;
		ret |= fixture_teardown(&fixture);
	}
	free(world);
	return ret;
}

static void random_histories_end_in_the_same_state_everywhere(void **state)
{
	struct world *world = *state;
	const char *seed = getenv("MIRED_TEST_SEED");
	world->seed = seed ? strtoull(seed, NULL, 10) : (uint64_t)clock_mono().ns;
	world->at = 1700000000;
	print_message("seed %llu\n", (unsigned long long)world->seed);
	for (int i = 0; i < N_HISTORIES; i++) {
		play_history(world);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(random_histories_end_in_the_same_state_everywhere,
	                                        open_world, close_world),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
