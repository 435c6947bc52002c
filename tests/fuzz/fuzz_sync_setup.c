/* The text by which the supervisor hands a setup to a role. What is read is printed to the same. */
#include <string.h>

#include "base/compiler.h"
#include "base/err.h"
#include "sync/setup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[SYNC_SETUP_TEXT_MAX];
	static char again_text[SYNC_SETUP_TEXT_MAX];
	struct sync_setup setup;
	struct sync_setup again;
	int ret = sync_setup_parse(span_of(data, size), &setup);
	if (ret != 0) {
		ASSERT(ret == ERR_SYNTAX || ret == ERR_TOO_LONG);
		return 0;
	}
	ASSERT(setup.n_peers <= CONF_SYNC_PEERS_MAX);
	ASSERT(sync_setup_print(&setup, text) == 0);
	ASSERT(sync_setup_parse(span_of_str(text), &again) == 0);
	ASSERT(sync_setup_print(&again, again_text) == 0);
	ASSERT(strcmp(text, again_text) == 0);
	ASSERT(again.n_peers == setup.n_peers && again.interface_be == setup.interface_be &&
	       again.port == setup.port && again.has_group == setup.has_group &&
	       again.must_receive == setup.must_receive &&
	       again.key.is_empty == setup.key.is_empty);
	return 0;
}
