/* spamd.conf: whatever is read has all that its kind needs, and an error says why. */
#include <stdlib.h>
#include <string.h>

#include "lists/capfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct capfile file;
	char why[CAPFILE_WHY_MAX] = "";
	int ret = capfile_parse(span_of(data, size), &file, why);
	ASSERT(ret == 0 || (file.n == 0 && why[0] != '\0'));
	ASSERT(file.n <= CAPFILE_NAMES_MAX);
	for (size_t i = 0; i < file.n; i++) {
		ASSERT(file.lists[i].name && file.lists[i].file);
		ASSERT(file.lists[i].is_black == (file.lists[i].message != NULL));
	}
	capfile_fini(&file);
	return 0;
}
