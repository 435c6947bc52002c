/* The world of one lister: a real keeper and store, and knowledge that the test reads as a worker
 * does. Include after cmocka.h. */
#pragma once

#include <sys/stat.h>

#include "base/err.h"
#include "keeper/feeder.h"
#include "keeper/knowledge.h"
#include "keeper/lister.h"
#include "keeper_world.h"

enum { LISTER_PORT = 1, LISTER_TEXT_MAX = 4096 };

struct fixture {
	struct world world;
	struct knowledge knowledge;
	struct feeder *feeder; /* NULL: none */
	struct lister *lister;
	int done;
	uint64_t cookie; /* of the last job */
	bool has_mount;
	char described[LISTER_TEXT_MAX];
};

static inline void lister_begin(struct fixture *fix)
{
	struct lister_env env = {.conf = &fix->world.conf,
	                         .store = fix->world.store,
	                         .keeper = fix->world.keeper,
	                         .port = &fix->world.ports[LISTER_PORT],
	                         .feeder = fix->feeder,
	                         .knowledge = &fix->knowledge,
	                         .done = fix->done};
	assert_int_equal(lister_start(&fix->lister, &env), 0);
}

static inline void lister_end(struct fixture *fix)
{
	lister_stop(fix->lister);
	fix->lister = NULL;
	list_table_free(qsbr_exchange(&fix->knowledge.lists, NULL));
	domains_free(qsbr_exchange(&fix->knowledge.domains, NULL));
}

static inline void lister_restart(struct fixture *fix)
{
	lister_end(fix);
	lister_begin(fix);
}

/* The store has one writer: what a test writes itself it writes while nothing runs. */
static inline void lister_all_off(struct fixture *fix)
{
	lister_end(fix);
	(void)close(fix->world.ports[LISTER_PORT].wake);
	world_stop(&fix->world);
}

static inline void lister_all_on(struct fixture *fix)
{
	world_start(&fix->world);
	fix->world.ports[LISTER_PORT].wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	lister_begin(fix);
}

static inline int lister_setup(void **state)
{
	struct fixture *fix = calloc(1, sizeof *fix);
	assert_non_null(fix);
	world_init(&fix->world);
	fix->world.conf.state_dir = fix->world.dir;
	fix->world.conf.list_prefixes_max = 100000;
	fix->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	qsbr_register();
	qsbr_offline(); /* but while it looks */
	lister_all_on(fix);
	*state = fix;
	return 0;
}

static inline int lister_teardown(void **state)
{
	struct fixture *fix = *state;
	lister_end(fix);
	feeder_stop(fix->feeder); /* borrows what the keeper's world has */
	(void)close(fix->world.ports[LISTER_PORT].wake);
	qsbr_unregister();
	world_fini(&fix->world);
	(void)close(fix->done);
	free(fix);
	return 0;
}

#define LISTER_TEST(name) cmocka_unit_test_setup_teardown(name, lister_setup, lister_teardown)

/* --- asking ----------------------------------------------------------------------------------- */

static inline uint64_t lister_post_bytes(struct fixture *fix, enum lister_job_kind kind,
                                         const void *bytes, size_t len)
{
	char *copy = malloc(len + 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	fix->cookie++;
	assert_int_equal(lister_submit(fix->lister, kind, copy, len, fix->cookie), 0);
	return fix->cookie;
}

static inline struct lister_result lister_wait(struct fixture *fix)
{
	struct lister_result result;
	struct pollfd pfd = {.fd = fix->done, .events = POLLIN};
	while (!lister_next_result(fix->lister, &result)) {
		uint64_t n = 0;
		assert_int_equal(poll(&pfd, 1, WORLD_WAIT_MS), 1);
		(void)!read(fix->done, &n, sizeof n);
	}
	return result;
}

static inline struct lister_result lister_ask(struct fixture *fix, enum lister_job_kind kind,
                                              const char *text)
{
	uint64_t cookie = lister_post_bytes(fix, kind, text, strlen(text));
	struct lister_result result = lister_wait(fix);
	assert_int_equal(result.cookie, cookie);
	return result;
}

static inline void lister_put(struct fixture *fix, const char *lines)
{
	struct lister_result result = lister_ask(fix, LISTER_LINES, lines);
	if (result.ret != 0) {
		fail_msg("%s", result.why);
	}
}

/* The lists of an address, as bits in load order. */
static inline unsigned lister_mask(struct fixture *fix, const char *text)
{
	struct addr addr = world_addr(text);
	qsbr_online();
	unsigned mask = (unsigned)list_table_find(knowledge_lists(&fix->knowledge), &addr);
	qsbr_offline();
	return mask;
}

static inline void lister_note(void *ctx, struct span tag, size_t n_networks, int64_t loaded_secs)
{
	struct fixture *fix = ctx;
	size_t len = strlen(fix->described);
	assert_true(loaded_secs > 0);
	(void)snprintf(fix->described + len, sizeof fix->described - len, "%.*s=%zu ", (int)tag.len,
	               (const char *)tag.ptr, n_networks);
}

/* "a=1 b=2 ": tags with their networks in load order. */
static inline const char *lister_all(struct fixture *fix)
{
	fix->described[0] = '\0';
	lister_describe(fix->lister, lister_note, fix);
	return fix->described;
}

static inline uint64_t lister_count(const struct fixture *fix, enum counter which)
{
	return counters_get(lister_counters(fix->lister), which);
}

/* --- files ------------------------------------------------------------------------------------ */

static inline void lister_path(const struct fixture *fix, const char *name, char out[static 256])
{
	(void)snprintf(out, 256, "%s/lists/loaded/%s", fix->world.dir, name);
}

static inline void lister_write_file(const struct fixture *fix, const char *name, const char *text)
{
	char path[256];
	lister_path(fix, name, path);
	FILE *file = fopen(path, "we");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static inline bool lister_has_file(const struct fixture *fix, const char *name)
{
	char path[256];
	lister_path(fix, name, path);
	return access(path, F_OK) == 0;
}
