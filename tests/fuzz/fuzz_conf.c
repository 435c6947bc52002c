/* The configuration file's parser: whatever the bytes, it refuses them or gives a configuration
 * whose printed form loads to the same values. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int load(struct conf *conf, const void *bytes, size_t len)
{
	char why[CONF_ERROR_MAX];
	int fd = memfd_create("conf", MFD_CLOEXEC);
	ASSERT(fd >= 0);
	ASSERT(write(fd, bytes, len) == (ssize_t)len);
	int ret = conf_load_fd(conf, fd, why);
	(void)close(fd);
	ASSERT(ret == 0 || strlen(why) > 0);
	return ret;
}

static char *print(const struct conf *conf)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	ASSERT(out && conf_print(conf, out) == 0 && fclose(out) == 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct conf conf;
	struct conf again;
	if (load(&conf, data, size) != 0) {
		return 0;
	}
	char *first = print(&conf);
	ASSERT(load(&again, first, strlen(first)) == 0);
	char *second = print(&again);
	ASSERT(strcmp(first, second) == 0);
	free(first);
	free(second);
	conf_fini(&conf);
	conf_fini(&again);
	return 0;
}
