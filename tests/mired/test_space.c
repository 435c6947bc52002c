/* When something is said of the store's space: changes, a reminder, and advice at the start. */
// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include "base/compiler.h"
#include "mired/space.h"

#define MIB (UINT64_C(1) << 20)

static struct mono at_minute(int64_t minute)
{
	return mono_add_ms((struct mono){.ns = 1}, minute * SPACE_LOOK_MS);
}

static void a_state_is_said_when_it_changes_and_once_a_day(void **state)
{
	static const struct {
		int64_t minute;
		uint64_t used_mib; /* of 1000 */
		enum space_word word;
	} rows[] = {
	        {0, 500, SPACE_SAY_NOTHING},    {1, 799, SPACE_SAY_NOTHING},
	        {2, 801, SPACE_SAY_STATE},      {3, 802, SPACE_SAY_NOTHING},
	        {4, 880, SPACE_SAY_STATE},      {5, 881, SPACE_SAY_NOTHING},
	        {6, 870, SPACE_SAY_STATE},      {7, 870, SPACE_SAY_NOTHING},
	        {1445, 870, SPACE_SAY_NOTHING}, {1446, 870, SPACE_SAY_STATE},
	        {1447, 870, SPACE_SAY_NOTHING}, {1448, 700, SPACE_SAY_FINE},
	        {1449, 700, SPACE_SAY_NOTHING}, {1450, 810, SPACE_SAY_STATE},
	};
	struct space space = {0};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct store_stats stats = {.map_bytes = 1000 * MIB,
		                                  .used_bytes = rows[i].used_mib * MIB};
		assert_int_equal(space_judge(&space, &stats, at_minute(rows[i].minute)),
		                 rows[i].word);
	}
}

static void a_store_full_at_the_start_is_said_at_once(void **state)
{
	struct space space = {0};
	const struct store_stats stats = {.map_bytes = 100 * MIB, .used_bytes = 95 * MIB};
	(void)state;
	assert_int_equal(space_judge(&space, &stats, at_minute(0)), SPACE_SAY_STATE);
	assert_int_equal(space.state, STORE_SPACE_FULL);
}

static void compaction_is_advised_at_the_start_only(void **state)
{
	const struct store_stats hollow = {
	        .map_bytes = 1000 * MIB, .used_bytes = 50 * MIB, .free_bytes = 100 * MIB};
	const struct store_stats dense = {.map_bytes = 1000 * MIB, .used_bytes = 50 * MIB};
	struct space space = {0};
	struct space later = {0};
	(void)state;
	assert_int_equal(space_judge(&space, &hollow, at_minute(0)), SPACE_SAY_COMPACT);
	assert_int_equal(space_judge(&space, &hollow, at_minute(1)), SPACE_SAY_NOTHING);
	assert_int_equal(space_judge(&later, &dense, at_minute(0)), SPACE_SAY_NOTHING);
	assert_int_equal(space_judge(&later, &hollow, at_minute(1)), SPACE_SAY_NOTHING);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(a_state_is_said_when_it_changes_and_once_a_day),
	        cmocka_unit_test(a_store_full_at_the_start_is_said_at_once),
	        cmocka_unit_test(compaction_is_advised_at_the_start_only),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
