/* See textfile.h. */
#include "base/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"

enum { READ_STEP_BYTES = 64 << 10, FIRST_BYTES = 2 * READ_STEP_BYTES };

/* What a pipe or a terminal would make wait for. */
static int open_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		return -errno;
	}
	int ret = fstat(fd, &st) != 0   ? -errno
	          : S_ISREG(st.st_mode) ? 0
	          : S_ISDIR(st.st_mode) ? -EISDIR
	          : S_ISCHR(st.st_mode) ? 0 /* /dev/null */
	                                : ERR_UNSUPPORTED;
	if (ret) {
		(void)close(fd);
		return ret;
	}
	return fd;
}

/* Room for another step; one byte more than allowed is read, to see that there is too much. */
static int make_room(struct textfile *file, size_t *size)
{
	if (*size - file->len >= READ_STEP_BYTES) {
		return 0;
	}
	if (file->len > TEXTFILE_BYTES_MAX) {
		return ERR_TOO_LONG;
	}
	size_t wanted = *size ? *size * 2 : FIRST_BYTES;
	char *bytes = realloc(file->bytes, wanted);
	if (!bytes) {
		return -ENOMEM;
	}
	file->bytes = bytes;
	*size = wanted;
	return 0;
}

static int read_whole(int fd, struct textfile *file)
{
	size_t size = 0;
	for (;;) {
		int ret = make_room(file, &size);
		if (ret) {
			return ret;
		}
		ssize_t n = read(fd, file->bytes + file->len, READ_STEP_BYTES);
		if (n < 0) {
			return -errno;
		}
		file->len += (size_t)n;
		if (n == 0) {
			return file->len > TEXTFILE_BYTES_MAX ? ERR_TOO_LONG : 0;
		}
	}
}

int textfile_read(const char *path, bool may_miss, struct textfile *out,
                  char why[static TEXTFILE_WHY_MAX])
{
	*out = (struct textfile){0};
	int fd = open_file(path);
	if (fd == -ENOENT && may_miss) {
		out->is_missing = true;
		return 0;
	}
	int ret = fd;
	if (fd >= 0) {
		ret = read_whole(fd, out);
		(void)close(fd);
	}
	if (ret) {
		(void)snprintf(why, TEXTFILE_WHY_MAX, "%s: %s", path,
		               ret == ERR_UNSUPPORTED ? "is a pipe or a device, not a file"
		                                      : err_text(ret));
		textfile_fini(out);
	}
	return ret;
}

void textfile_fini(struct textfile *file)
{
	free(file->bytes);
	*file = (struct textfile){0};
}

int textfile_seal(const struct textfile *file)
{
	int fd = memfd_create("mired-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int ret = fd < 0 ? -errno : file_write_all(fd, span_of(file->bytes, file->len));
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
	if (!ret && fcntl(fd, F_ADD_SEALS, seals) != 0) {
		ret = -errno;
	}
	if (ret && fd >= 0) {
		(void)close(fd);
	}
	return ret ? ret : fd;
}
