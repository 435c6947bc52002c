/* Writing: NAME.new beside it, fsync, rename, fsync of the directory. A run that is killed leaves
 * at most a NAME.new, which the next one overwrites. Reading: length and checksum must be right. */
#include "mired-setup/copy.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "base/err.h"
#include "base/file.h"

enum { MODE_DIR = 0750, MODE_FILE = 0640, ENTRIES_MAX = 1000000000 };

#define COPY_MAGIC "mired-list 1"

/* --- names and text --------------------------------------------------------------------------- */

static bool is_plain(const char *name, size_t at)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                            "0123456789-_";
	return strchr(plain, name[at]) != NULL || (name[at] == '.' && at > 0);
}

int copy_file_name(const char *name, char out[static COPY_NAME_MAX])
{
	static const char suffix[] = ".list";
	size_t len = 0;
	for (size_t i = 0; name[i] != '\0'; i++) {
		if (len + 3 + sizeof suffix > COPY_NAME_MAX - sizeof ".new") {
			return ERR_TOO_LONG;
		}
		if (is_plain(name, i)) {
			out[len++] = name[i];
		} else {
			len += (size_t)snprintf(out + len, 4, "%%%02X", (unsigned char)name[i]);
		}
	}
	(void)snprintf(out + len, COPY_NAME_MAX - len, "%s", suffix);
	return 0;
}

void copy_take_value(const char *value, char *out, size_t size)
{
	size_t len = strlen(value);
	bool is_fit = len < size;
	for (size_t i = 0; i < len && is_fit; i++) {
		is_fit = value[i] >= ' ' && value[i] <= '~';
	}
	(void)snprintf(out, size, "%s", is_fit ? value : "");
}

static unsigned long checksum(struct span data)
{
	return crc32_z(crc32_z(0, NULL, 0), data.ptr, data.len);
}

size_t copy_format_head(const struct copy_meta *meta, struct span data,
                        char out[static COPY_HEAD_MAX])
{
	int len = snprintf(out, COPY_HEAD_MAX,
	                   COPY_MAGIC "\nsource %s\nentries %" PRIu64
	                              "\nbytes %zu\ncrc32 %08lx\n%s%s%s%s%s%s\n",
	                   meta->source, meta->n_entries, data.len, checksum(data),
	                   meta->etag[0] ? "etag " : "", meta->etag, meta->etag[0] ? "\n" : "",
	                   meta->modified[0] ? "modified " : "", meta->modified,
	                   meta->modified[0] ? "\n" : "");
	return (size_t)len; /* the fields' sizes keep it below COPY_HEAD_MAX */
}

static_assert(COPY_SOURCE_MAX + COPY_ETAG_MAX + COPY_DATE_MAX + 256 <= COPY_HEAD_MAX,
              "a head with the longest fields fits");

/* What the head says of the data. */
struct claim {
	uint64_t bytes;
	uint64_t crc32;
	unsigned seen; /* 1 << row */
};

enum head_row { ROW_SOURCE, ROW_ENTRIES, ROW_BYTES, ROW_CRC32, ROW_ETAG, ROW_MODIFIED };

static const char *const head_names[] = {
        [ROW_SOURCE] = "source", [ROW_ENTRIES] = "entries", [ROW_BYTES] = "bytes",
        [ROW_CRC32] = "crc32",   [ROW_ETAG] = "etag",       [ROW_MODIFIED] = "modified",
};

enum { ROWS_NEEDED = 1U << ROW_SOURCE | 1U << ROW_ENTRIES | 1U << ROW_BYTES | 1U << ROW_CRC32 };

static int take_text(struct span value, char *out, size_t size)
{
	return span_to_str(value, out, size) == value.len ? 0 : ERR_CORRUPT;
}

static int take_hex(struct span value, uint64_t *out)
{
	static const char digits[] = "0123456789abcdef";
	uint64_t number = 0;
	for (size_t i = 0; i < value.len; i++) {
		const char *digit = value.ptr[i] ? strchr(digits, value.ptr[i]) : NULL;
		if (!digit) {
			return ERR_CORRUPT;
		}
		number = number << 4 | (uint64_t)(digit - digits);
	}
	*out = number;
	return value.len == 8 ? 0 : ERR_CORRUPT;
}

static int take_row(enum head_row row, struct span value, struct copy_meta *meta,
                    struct claim *claim)
{
	claim->seen |= 1U << row;
	switch (row) {
	case ROW_SOURCE:
		return take_text(value, meta->source, sizeof meta->source);
	case ROW_ENTRIES:
		return span_to_u64(value, ENTRIES_MAX, &meta->n_entries);
	case ROW_BYTES:
		return span_to_u64(value, SIZE_MAX, &claim->bytes);
	case ROW_CRC32:
		return take_hex(value, &claim->crc32);
	case ROW_ETAG:
		return take_text(value, meta->etag, sizeof meta->etag);
	case ROW_MODIFIED:
		return take_text(value, meta->modified, sizeof meta->modified);
	}
	return ERR_CORRUPT;
}

static int take_line(struct span line, struct copy_meta *meta, struct claim *claim)
{
	struct span value;
	struct span name = span_cut(line, ' ', &value);
	for (size_t i = 0; i < ARRAY_LEN(head_names); i++) {
		if (span_equal(name, span_of_str(head_names[i]))) {
			return take_row((enum head_row)i, value, meta, claim);
		}
	}
	return ERR_CORRUPT;
}

int copy_parse(struct span file, struct copy_meta *meta, struct span *data)
{
	struct copy_meta found = {.n_entries = 0};
	struct claim claim = {.seen = 0};
	struct span rest;
	struct span line = span_cut(file, '\n', &rest);
	int ret = span_equal(line, SPAN(COPY_MAGIC)) ? 0 : ERR_CORRUPT;
	while (ret == 0 && rest.len > 0) {
		line = span_cut(rest, '\n', &rest);
		if (line.len == 0) {
			break;
		}
		ret = take_line(line, &found, &claim);
	}
	if (ret || (claim.seen & ROWS_NEEDED) != ROWS_NEEDED || rest.len != claim.bytes ||
	    checksum(rest) != claim.crc32) {
		return ERR_CORRUPT;
	}
	*meta = found;
	*data = rest;
	return 0;
}

/* --- files ------------------------------------------------------------------------------------ */

/* Opens the directory `name` below at (made if wanted); at is closed. */
static int open_below(int at, const char *name, bool may_make)
{
	int fd = -1;
	int ret = 0;
	if (may_make && mkdirat(at, name, MODE_DIR) != 0 && errno != EEXIST) {
		ret = -errno;
	} else {
		fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		ret = fd < 0 ? -errno : 0;
	}
	(void)close(at);
	return ret ? ret : fd;
}

int copy_dir_open(const char *state_dir, bool may_make, int *dir, char why[static COPY_WHY_MAX])
{
	int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	fd = fd < 0 ? -errno : open_below(fd, "lists", may_make);
	fd = fd < 0 ? fd : open_below(fd, "fetched", may_make);
	if (fd < 0) {
		(void)snprintf(why, COPY_WHY_MAX, "%s/lists/fetched: %s", state_dir, err_text(fd));
		return fd == -ENOENT ? ERR_NOT_FOUND : fd;
	}
	*dir = fd;
	return 0;
}

int copy_dir_lock(int dir, int *lock)
{
	int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, MODE_FILE);
	if (fd < 0) {
		return -errno;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int ret = errno == EWOULDBLOCK ? ERR_BUSY : -errno;
		(void)close(fd);
		return ret;
	}
	*lock = fd;
	return 0;
}

void copy_fini(struct copy *copy)
{
	bytes_fini(&copy->file);
	*copy = (struct copy){.data = {NULL, 0}};
}

static int read_copy(int fd, size_t bytes_max, struct copy *out)
{
	struct stat st;
	if (fstat(fd, &st) != 0) {
		return -errno;
	}
	int ret = bytes_read_fd(&out->file, fd, bytes_max + COPY_HEAD_MAX);
	ret = ret ? ret : copy_parse(bytes_span(&out->file), &out->meta, &out->data);
	out->meta.current_at.secs = st.st_mtim.tv_sec;
	return ret;
}

int copy_load(int dir, const char *name, size_t bytes_max, struct copy *out)
{
	char file[COPY_NAME_MAX];
	*out = (struct copy){.data = {NULL, 0}};
	int ret = copy_file_name(name, file);
	int fd = ret ? -1 : openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		return ret ? ret : errno == ENOENT ? ERR_NOT_FOUND : -errno;
	}
	ret = read_copy(fd, bytes_max, out);
	(void)close(fd);
	if (ret) {
		copy_fini(out);
	}
	return ret;
}

int copy_store(int dir, const char *name, const struct copy_meta *meta, struct span data)
{
	char file[COPY_NAME_MAX];
	char file_new[COPY_NAME_MAX + sizeof ".new"];
	int ret = copy_file_name(name, file);
	if (ret) {
		return ret;
	}
	(void)snprintf(file_new, sizeof file_new, "%s.new", file);
	char head[COPY_HEAD_MAX];
	const struct span parts[] = {span_of(head, copy_format_head(meta, data, head)), data};
	const struct file_place place = {dir, file, file_new, MODE_FILE};
	ret = file_replace(&place, parts, ARRAY_LEN(parts));
	if (ret) {
		return ret;
	}
	return fsync(dir) ? -errno : 0;
}

void copy_touch(int dir, const char *name)
{
	char file[COPY_NAME_MAX];
	/* only the age in a message depends on it */
	if (copy_file_name(name, file) == 0) {
		(void)utimensat(dir, file, NULL, AT_SYMLINK_NOFOLLOW);
	}
}
