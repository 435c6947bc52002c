/* A change is taken in two looks: one that differs from what was read, and one a moment later that
 * finds the same again. What is being written at that moment is left until it is still; an editor
 * that renames a new file into place is still at once. */
#include "mired/watched.h"

#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"

static int64_t ns_of(const struct timespec *at)
{
	return (int64_t)at->tv_sec * NS_PER_SEC + at->tv_nsec;
}

static struct watched_look look(const char *path)
{
	struct stat st;
	if (stat(path, &st) != 0) {
		return (struct watched_look){0};
	}
	int64_t written_ns = ns_of(&st.st_mtim);
	int64_t renamed_ns = ns_of(&st.st_ctim);
	return (struct watched_look){
	        .is_there = true,
	        .inode = st.st_ino,
	        .size_bytes = st.st_size,
	        .changed_ns = written_ns > renamed_ns ? written_ns : renamed_ns,
	};
}

static bool is_same(const struct watched_look *a, const struct watched_look *b)
{
	return a->is_there == b->is_there && a->inode == b->inode &&
	       a->size_bytes == b->size_bytes && a->changed_ns == b->changed_ns;
}

static int take(struct watched *watched, char why[static TEXTFILE_WHY_MAX])
{
	struct textfile file;
	int ret = textfile_read(watched->path, watched->may_miss, &file, why);
	if (ret) {
		return ret;
	}
	int fd = textfile_seal(&file);
	textfile_fini(&file);
	if (fd < 0) {
		(void)snprintf(why, TEXTFILE_WHY_MAX, "%s: %s", watched->path, err_text(fd));
		return fd;
	}
	watched_close(watched);
	watched->fd = fd;
	return 0;
}

static enum watched_news read_again(struct watched *watched, struct mono now,
                                    char why[static TEXTFILE_WHY_MAX])
{
	/* looked at before it is read: what comes while it is read shows at the next look */
	watched->taken = watched->last = look(watched->path);
	watched->is_asked_for = false;
	watched->look_at = mono_add_ms(now, WATCHED_LOOK_MS);
	return take(watched, why) == 0 ? WATCHED_CHANGED : WATCHED_UNREADABLE;
}

int watched_open(struct watched *watched, struct mono now, char why[static TEXTFILE_WHY_MAX])
{
	watched->fd = -1;
	return read_again(watched, now, why) == WATCHED_CHANGED ? 0 : ERR_NOT_FOUND;
}

void watched_close(struct watched *watched)
{
	if (watched->fd >= 0) {
		(void)close(watched->fd);
		watched->fd = -1;
	}
}

enum watched_news watched_look(struct watched *watched, struct mono now,
                               char why[static TEXTFILE_WHY_MAX])
{
	if (watched->is_asked_for) {
		watched->ask_again_at = mono_add_ms(now, WATCHED_LOOK_MS);
		return read_again(watched, now, why);
	}
	struct watched_look seen = look(watched->path);
	bool is_still = is_same(&seen, &watched->last);
	watched->last = seen;
	if (is_same(&seen, &watched->taken)) {
		watched->look_at = mono_add_ms(now, WATCHED_LOOK_MS);
		return WATCHED_NOTHING;
	}
	if (!is_still) {
		watched->look_at = mono_add_ms(now, WATCHED_STILL_MS);
		return WATCHED_NOTHING;
	}
	return read_again(watched, now, why);
}

void watched_ask(struct watched *watched, struct mono now)
{
	watched->is_asked_for = true;
	watched->look_at = watched->ask_again_at.ns > now.ns ? watched->ask_again_at : now;
}
