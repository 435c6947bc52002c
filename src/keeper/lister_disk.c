/* The lists on disk: STATE/lists/loaded/NNNN-TAG, one line of the spamd-cfg protocol each, in the
 * order of NNNN. A file is written aside, made durable and renamed: whoever looks later, after a
 * kill or a power cut, finds the old list or the new one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "keeper/lister_impl.h"
#include "lists/cfgline.h"

enum {
	NAME_BYTES = 10 + 1 + CFGLINE_TAG_MAX + 1,
	NAMES_MAX = 4 * LISTS_MAX, /* files looked at */
	NETWORK_TEXT_MAX = 64,     /* bytes of one network in a line, generously */
	MODE_LISTS = 0755,         /* mired-setup keeps its copies beside ours */
	MODE_LOADED = 0750,
	MODE_FILE = 0640,
};

static const char temporary[] = ".new";

/* --- writing ---------------------------------------------------------------------------------- */

static bool is_plain(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '_' || c == '.';
}

/* The tag is there for the administrator's eye only: the line in the file says it exactly. */
static void file_name(const struct list *list, char out[static NAME_BYTES])
{
	int len = snprintf(out, NAME_BYTES, "%04u-", list->number);
	size_t at = len > 0 ? (size_t)len : 0;
	for (size_t i = 0; i < list->tag.len && at < NAME_BYTES - 1; i++) {
		uint8_t c = list->tag.ptr[i];
		out[at++] = (char)(is_plain(c) ? c : (uint8_t)'_');
	}
	out[at] = '\0';
}

/* What was done stays done: the old state cannot be had back by then. */
static void sync_dir(const struct lister *lister)
{
	if (fsync(lister->dir) < 0) {
		log_error("lists: a change of the directory may not survive a power cut: %s",
		          err_text(-errno));
	}
}

int lister_disk_save(struct lister *lister, const struct list *list)
{
	char name[NAME_BYTES];
	if (lister->dir < 0) {
		return lister->dir_error;
	}
	file_name(list, name);
	const struct span parts[] = {list->line, SPAN("\n")};
	const struct file_place place = {lister->dir, name, temporary, MODE_FILE};
	int ret = file_replace(&place, parts, ARRAY_LEN(parts));
	if (ret == 0) {
		sync_dir(lister);
	}
	return ret;
}

int lister_disk_remove(struct lister *lister, const struct list *list)
{
	char name[NAME_BYTES];
	if (lister->dir < 0) {
		return lister->dir_error;
	}
	file_name(list, name);
	if (unlinkat(lister->dir, name, 0) < 0 && errno != ENOENT) {
		return -errno;
	}
	sync_dir(lister);
	return 0;
}

/* --- loading ---------------------------------------------------------------------------------- */

struct file {
	uint32_t number;
	char name[NAME_MAX + 1];
};

/* Opens the directory below dir, making it where it is missing. */
static int open_below(int dir, const char *name, mode_t mode)
{
	enum { DIR_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
	if (mkdirat(dir, name, mode) < 0 && errno != EEXIST) {
		return -errno;
	}
	int fd = openat(dir, name, DIR_FLAGS);
	return fd < 0 ? -errno : fd;
}

static int open_dir(const char *state_dir)
{
	int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (state < 0) {
		return -errno;
	}
	int lists = open_below(state, "lists", MODE_LISTS);
	int loaded = lists < 0 ? lists : open_below(lists, "loaded", MODE_LOADED);
	if (lists >= 0) {
		(void)close(lists);
	}
	(void)close(state);
	return loaded;
}

/* False for a name that is not one of ours. */
static bool parse_name(const char *name, uint32_t *number)
{
	struct span rest;
	struct span digits = span_cut(span_of_str(name), '-', &rest);
	uint64_t value = 0;
	if (rest.len == 0 || span_to_u64(digits, UINT32_MAX - NAMES_MAX, &value) != 0 ||
	    value == 0) {
		return false;
	}
	*number = (uint32_t)value;
	return true;
}

static int compare_files(const void *left, const void *right)
{
	const struct file *a = left;
	const struct file *b = right;
	if (a->number != b->number) {
		return a->number < b->number ? -1 : 1;
	}
	return strcmp(a->name, b->name);
}

static void note_file(const char *name, struct file *files, size_t *n)
{
	uint32_t number = 0;
	if (name[0] == '.') {
		return; /* . and .. and a temporary file */
	}
	if (!parse_name(name, &number)) {
		log_warning("lists: %s is no list of ours; it is left alone", name);
	} else if (*n == NAMES_MAX) {
		log_warning("lists: %s is one file too many; it is left alone", name);
	} else {
		files[*n].number = number;
		(void)snprintf(files[*n].name, sizeof files[*n].name, "%s", name);
		(*n)++;
	}
}

static int read_names(int dir_fd, struct file *files, size_t *n)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		int ret = -errno;
		if (fd >= 0) {
			(void)close(fd);
		}
		return ret;
	}
	const struct dirent *entry = readdir(dir);
	while (entry) {
		note_file(entry->d_name, files, n);
		entry = readdir(dir);
	}
	(void)closedir(dir);
	qsort(files, *n, sizeof *files, compare_files);
	return 0;
}

static int read_all(int fd, size_t len, char **out)
{
	char *bytes = malloc(len + 1);
	size_t have = 0;
	ssize_t n = 1;
	if (!bytes) {
		return -ENOMEM;
	}
	while (have < len && n > 0) {
		n = read(fd, bytes + have, len - have);
		have += n > 0 ? (size_t)n : 0;
	}
	if (have < len) {
		int ret = n < 0 ? -errno : ERR_TRUNCATED;
		free(bytes);
		return ret;
	}
	*out = bytes;
	return 0;
}

/* *text is the one line of the file, without its LF. */
static int read_file(const struct lister *lister, const char *name, char **bytes, struct span *line,
                     int64_t *loaded_secs)
{
	size_t max = (size_t)lister_prefixes_max(lister) * NETWORK_TEXT_MAX + CFGLINE_TAG_MAX +
	             CFGLINE_TEXT_MAX + NETWORK_TEXT_MAX;
	struct stat st;
	int fd = openat(lister->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		return -errno;
	}
	int ret = fstat(fd, &st) < 0 ? -errno : 0;
	if (ret == 0 && (!S_ISREG(st.st_mode) || st.st_size < 0)) {
		ret = ERR_CORRUPT;
	}
	if (ret == 0 && (size_t)st.st_size > max) {
		ret = ERR_TOO_LONG;
	}
	ret = ret ? ret : read_all(fd, (size_t)st.st_size, bytes);
	(void)close(fd);
	if (ret != 0) {
		return ret;
	}
	*loaded_secs = st.st_mtim.tv_sec;
	*line = span_of(*bytes, (size_t)st.st_size);
	return 0;
}

/* A file that was cut has lost its LF, or more than that. */
static int list_of_file(struct span content, size_t n_left, struct list **out,
                        char why[static LISTER_WHY_MAX])
{
	struct span rest;
	struct span line = span_cut(content, '\n', &rest);
	if (line.len + 1 != content.len) {
		(void)snprintf(why, LISTER_WHY_MAX, "it is not one whole line");
		return ERR_CORRUPT;
	}
	int ret = list_new(line, n_left, out, why);
	if (ret == 0 && !*out) {
		(void)snprintf(why, LISTER_WHY_MAX, "it is empty");
		return ERR_CORRUPT;
	}
	return ret;
}

/* A file that nobody could use once, while its list came anew under a higher number. */
static void remove_older(struct lister *lister, struct lists *lists, struct span tag)
{
	struct list *older = lists_find(lists, tag);
	if (!older) {
		return;
	}
	int ret = lister_disk_remove(lister, older);
	log_warning(
	        "lists: number %u is an older list of the same name as a later one and goes%s%s",
	        older->number, ret ? ": " : "", ret ? err_text(ret) : "");
	lists_remove(lists, older);
	list_free(older);
}

static int put_loaded(struct lister *lister, struct lists *lists, const struct file *file,
                      struct list *list, char why[static LISTER_WHY_MAX])
{
	char name[NAME_BYTES];
	list->line = span_of(NULL, 0);
	list->number = file->number;
	file_name(list, name);
	if (strcmp(name, file->name) != 0) {
		(void)snprintf(why, LISTER_WHY_MAX, "its list would be named %s", name);
		return ERR_CORRUPT;
	}
	remove_older(lister, lists, list->tag);
	(void)snprintf(why, LISTER_WHY_MAX, "more than %d lists", LISTS_MAX);
	return lists_put(lists, list);
}

static int load_file(struct lister *lister, struct lists *lists, const struct file *file,
                     char why[static LISTER_WHY_MAX])
{
	size_t n_max = lister_prefixes_max(lister);
	char *bytes = NULL;
	struct span content = {NULL, 0};
	struct list *list = NULL;
	int64_t loaded_secs = 0;
	int ret = read_file(lister, file->name, &bytes, &content, &loaded_secs);
	if (ret != 0) {
		(void)snprintf(why, LISTER_WHY_MAX, "%s", err_text(ret));
		return ret;
	}
	ret = list_of_file(content, lists_room_for(lists, content, n_max), &list, why);
	free(bytes);
	if (ret != 0) {
		return ret;
	}
	list->loaded_secs = loaded_secs;
	ret = put_loaded(lister, lists, file, list, why);
	if (ret != 0) {
		list_free(list);
	}
	return ret;
}

static int load_all(struct lister *lister, struct lists *lists)
{
	struct file *files = calloc(NAMES_MAX, sizeof *files);
	size_t n = 0;
	int ret = files ? read_names(lister->dir, files, &n) : -ENOMEM;
	for (size_t i = 0; i < n && ret == 0; i++) {
		char why[LISTER_WHY_MAX] = "";
		lists->number_last = files[i].number;
		if (load_file(lister, lists, &files[i], why) != 0) {
			log_error("lists: %s/lists/loaded/%s cannot be used and is left alone: %s",
			          lister->env.conf->state_dir, files[i].name, why);
			counters_add(&lister->counters, COUNTER_lists_refused, 1);
		}
	}
	free(files);
	return ret;
}

void lister_disk_load(struct lister *lister, struct lists *lists)
{
	int dir = open_dir(lister->env.conf->state_dir);
	lister->dir = dir < 0 ? -1 : dir;
	lister->dir_error = dir < 0 ? dir : 0;
	if (dir >= 0) {
		(void)unlinkat(dir, temporary, 0); /* of a process that was killed */
	}
	int ret = dir < 0 ? dir : load_all(lister, lists);
	if (ret != 0) {
		log_error("lists: %s/lists/loaded: %s; the lists in it are not in force",
		          lister->env.conf->state_dir, err_text(ret));
	}
}

void lister_disk_close(struct lister *lister)
{
	if (lister->dir >= 0) {
		(void)close(lister->dir);
	}
}
