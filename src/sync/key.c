/* The key file, its SHA-1 as text, and HMAC-SHA1 under that text. The only file that knows nettle
 * (libsodium has no SHA-1). Key material is wiped from buffers that go out of use. */
#include "sync/key.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <nettle/sha1.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

enum {
	KEY_FILE_MAX = 1024 * 1024,
	KEY_SHOWN_MAX = 150, /* of the path, in messages */
	KEY_RANDOM_BYTES = 32,
	KEY_LINE_BYTES = 2 * KEY_RANDOM_BYTES + 1,
	KEY_PATH_MAX = 512,
};

static_assert(SYNC_MAC_BYTES == SHA1_DIGEST_SIZE, "the MAC is HMAC-SHA1, whole");
static_assert(SYNC_KEY_CHARS == 2 * SHA1_DIGEST_SIZE, "the key is a SHA-1 as text");

static void print_hex(const uint8_t *bytes, size_t n, char *text)
{
	for (size_t i = 0; i < n; i++) {
		(void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	}
}

struct sync_key sync_key_of(struct span file)
{
	struct sync_key key = {.is_empty = false};
	struct sha1_ctx ctx;
	uint8_t digest[SHA1_DIGEST_SIZE];
	sha1_init(&ctx);
	sha1_update(&ctx, file.len, file.ptr);
	sha1_digest(&ctx, sizeof digest, digest);
	print_hex(digest, sizeof digest, key.text);
	explicit_bzero(&ctx, sizeof ctx);
	explicit_bzero(digest, sizeof digest);
	return key;
}

void sync_key_sign(const struct sync_key *key, struct span bytes,
                   uint8_t mac[static SYNC_MAC_BYTES])
{
	struct hmac_sha1_ctx ctx;
	hmac_sha1_set_key(&ctx, key->is_empty ? 0 : SYNC_KEY_CHARS, (const uint8_t *)key->text);
	hmac_sha1_update(&ctx, bytes.len, bytes.ptr);
	hmac_sha1_digest(&ctx, SYNC_MAC_BYTES, mac);
}

bool sync_key_check(const struct sync_key *key, struct span bytes,
                    const uint8_t mac[static SYNC_MAC_BYTES])
{
	uint8_t wanted[SYNC_MAC_BYTES];
	sync_key_sign(key, bytes, wanted);
	return memeql_sec(wanted, mac, sizeof wanted) != 0;
}

/* --- the file --------------------------------------------------------------------------------- */

static int refuse(int code, const char *path, char why[static SYNC_KEY_WHY_MAX])
{
	(void)snprintf(why, SYNC_KEY_WHY_MAX, "sync key %.*s: %s", KEY_SHOWN_MAX, path,
	               err_text(code));
	return code;
}

static int check_file(int fd, const char *path, size_t *size, char why[static SYNC_KEY_WHY_MAX])
{
	struct stat st;
	if (fstat(fd, &st) != 0) {
		return refuse(-errno, path, why);
	}
	if (!S_ISREG(st.st_mode)) {
		(void)snprintf(why, SYNC_KEY_WHY_MAX, "sync key %.*s: not a regular file",
		               KEY_SHOWN_MAX, path);
		return ERR_UNSUPPORTED;
	}
	if (st.st_mode & S_IRWXO) {
		(void)snprintf(why, SYNC_KEY_WHY_MAX,
		               "sync key %.*s: mode %04o lets everybody in; chmod o= mends it",
		               KEY_SHOWN_MAX, path, (unsigned)(st.st_mode & 07777));
		return ERR_DENIED;
	}
	if (st.st_size == 0) {
		(void)snprintf(why, SYNC_KEY_WHY_MAX, "sync key %.*s: empty, a key that all know",
		               KEY_SHOWN_MAX, path);
		return ERR_TRUNCATED;
	}
	if (st.st_size > KEY_FILE_MAX) {
		(void)snprintf(why, SYNC_KEY_WHY_MAX, "sync key %.*s: more than %d bytes",
		               KEY_SHOWN_MAX, path, KEY_FILE_MAX);
		return ERR_TOO_LONG;
	}
	*size = (size_t)st.st_size;
	return 0;
}

static int read_bytes(int fd, uint8_t *bytes, size_t size)
{
	for (size_t len = 0; len < size;) {
		ssize_t n = read(fd, bytes + len, size - len);
		if (n == 0) {
			return ERR_TRUNCATED; /* it became shorter */
		}
		if (n < 0 && errno != EINTR) {
			return -errno;
		}
		len += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int read_open_file(int fd, const char *path, struct sync_key *out,
                          char why[static SYNC_KEY_WHY_MAX])
{
	size_t size = 0;
	int ret = check_file(fd, path, &size, why);
	if (ret != 0) {
		return ret;
	}
	uint8_t *bytes = malloc(size + 1);
	ret = bytes ? read_bytes(fd, bytes, size) : -ENOMEM;
	if (ret == 0) {
		*out = sync_key_of(span_of(bytes, size));
		explicit_bzero(bytes, size);
	} else {
		(void)refuse(ret, path, why);
	}
	free(bytes);
	return ret;
}

int sync_key_read(const char *path, struct sync_key *out, char why[static SYNC_KEY_WHY_MAX])
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT) {
		(void)snprintf(why, SYNC_KEY_WHY_MAX,
		               "there is no sync key %.*s; miredctl sync-key makes one",
		               KEY_SHOWN_MAX, path);
		return ERR_NOT_FOUND;
	}
	if (fd < 0) {
		return refuse(-errno, path, why);
	}
	int ret = read_open_file(fd, path, out, why);
	(void)close(fd);
	return ret;
}

/* --- a new one -------------------------------------------------------------------------------- */

static int write_random_line(int fd)
{
	uint8_t bytes[KEY_RANDOM_BYTES];
	char line[KEY_LINE_BYTES + 1];
	int ret = 0;
	if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
		return -EIO;
	}
	print_hex(bytes, sizeof bytes, line);
	line[KEY_LINE_BYTES - 1] = '\n';
	ssize_t n = write(fd, line, KEY_LINE_BYTES);
	if (n != KEY_LINE_BYTES || fsync(fd) != 0) {
		ret = n >= 0 && n != KEY_LINE_BYTES ? ERR_FULL : -errno;
	}
	explicit_bzero(bytes, sizeof bytes);
	explicit_bzero(line, sizeof line);
	return ret;
}

static int sync_directory_of(const char *path)
{
	char dir[KEY_PATH_MAX];
	(void)snprintf(dir, sizeof dir, "%s", path);
	char *slash = strrchr(dir, '/');
	if (slash) {
		slash[slash == dir] = '\0';
	}
	int fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	int ret = fsync(fd) == 0 ? 0 : -errno;
	(void)close(fd);
	return ret;
}

/* A file of another name first: whoever finds one at path finds a whole one. */
static int make_by_way_of(char *temporary, const char *path)
{
	int fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
	if (fd < 0) {
		return -errno;
	}
	int ret = write_random_line(fd);
	(void)close(fd);
	if (ret == 0 && link(temporary, path) != 0) {
		ret = errno == EEXIST ? ERR_BUSY : -errno;
	}
	(void)unlink(temporary);
	return ret == 0 ? sync_directory_of(path) : ret;
}

int sync_key_make(const char *path, char why[static SYNC_KEY_WHY_MAX])
{
	char temporary[KEY_PATH_MAX];
	int len = snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
	int ret = len < (int)sizeof temporary ? make_by_way_of(temporary, path) : ERR_TOO_LONG;
	if (ret == ERR_BUSY) {
		(void)snprintf(why, SYNC_KEY_WHY_MAX, "sync key %.*s: there is one already",
		               KEY_SHOWN_MAX, path);
	} else if (ret != 0) {
		(void)refuse(ret, path, why);
	}
	return ret;
}
