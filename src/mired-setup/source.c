/* Only plain files are read: a pipe without a writer would look like an empty list. */
#include "mired-setup/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "lists/cfgline.h"
#include "mired-setup/bytes.h"

static const char *const prefixes[] = {
        [CAPFILE_FILE] = "",      [CAPFILE_HTTP] = "http://", [CAPFILE_HTTPS] = "https://",
        [CAPFILE_FTP] = "ftp://", [CAPFILE_EXEC] = "",
};

static bool is_printable(const char *text)
{
	for (size_t i = 0; text[i] != '\0'; i++) {
		if ((unsigned char)text[i] < ' ' || text[i] == '\x7f') {
			return false;
		}
	}
	return true;
}

static int refuse(struct source *source, int code, const char *text)
{
	(void)snprintf(source->why, sizeof source->why, "%s", text);
	return code;
}

/* What stands before an @ in the host's part of a URL is nobody's business but the server's. */
static void hide_user(const struct capfile_list *list, struct source *out)
{
	const char *host = list->file;
	size_t host_len = strcspn(host, "/?#");
	bool is_url = list->method != CAPFILE_FILE && list->method != CAPFILE_EXEC;
	const char *at = is_url ? memrchr(host, '@', host_len) : NULL;
	if (at) {
		(void)snprintf(out->shown, sizeof out->shown, "%s***%s", prefixes[list->method],
		               at);
	} else {
		memcpy(out->shown, out->text, sizeof out->shown);
	}
}

int source_describe(const struct capfile_list *list, struct source *out)
{
	*out = (struct source){.list = list, .fd = -1};
	if (strlen(list->name) > CFGLINE_TAG_MAX) {
		return refuse(out, ERR_TOO_LONG, "its name is too long");
	}
	if (!is_printable(list->name) || strchr(list->name, ';')) {
		return refuse(out, ERR_SYNTAX, "its name has a character that names may not have");
	}
	/* a tab stands between the words of a command as well as a blank does */
	int len = snprintf(out->text, sizeof out->text, "%s%s", prefixes[list->method], list->file);
	for (char *tab = strchr(out->text, '\t'); tab; tab = strchr(tab, '\t')) {
		*tab = ' ';
	}
	if (len < 0 || (size_t)len >= sizeof out->text) {
		return refuse(out, ERR_TOO_LONG, "its file= is too long");
	}
	hide_user(list, out);
	return is_printable(out->text)
	               ? 0
	               : refuse(out, ERR_SYNTAX, "its file= has control characters");
}

static int open_plain(const char *path, int *fd)
{
	struct stat st;
	int opened = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	int ret = opened < 0 || fstat(opened, &st) != 0 ? -errno
	          : S_ISREG(st.st_mode)                 ? 0
	          : S_ISDIR(st.st_mode)                 ? -EISDIR
	                                                : ERR_UNSUPPORTED;
	if (ret && opened >= 0) {
		(void)close(opened);
	}
	*fd = ret ? -1 : opened;
	return ret;
}

/* A message file as a string, without the NUL bytes no reply can have. */
static int read_message(const char *path, char **out)
{
	struct bytes bytes = {.ptr = NULL};
	int fd = -1;
	int ret = open_plain(path, &fd);
	ret = ret ? ret : bytes_read_fd(&bytes, fd, CFGLINE_TEXT_MAX);
	if (ret == 0 && bytes.len > 0 && memchr(bytes.ptr, '\0', bytes.len)) {
		ret = ERR_SYNTAX;
	}
	if (ret == 0) {
		*out = strndup(bytes.ptr ? (const char *)bytes.ptr : "", bytes.len);
		ret = *out ? 0 : -ENOMEM;
	}
	bytes_fini(&bytes);
	if (fd >= 0) {
		(void)close(fd);
	}
	return ret;
}

static void open_message(struct source *source)
{
	const struct capfile_list *list = source->list;
	int ret = 0;
	if (list->is_message_file) {
		ret = read_message(list->message, &source->message);
	} else {
		source->message = strdup(list->message);
		ret = source->message ? 0 : -ENOMEM;
	}
	if (ret) {
		(void)snprintf(source->why, sizeof source->why,
		               "can't read its message from %s: %s",
		               list->is_message_file ? list->message : "memory", err_text(ret));
	}
}

void source_open(struct source *source)
{
	if (source->list->is_black) {
		open_message(source);
	}
	if (source->list->method == CAPFILE_FILE) {
		source->file_error = open_plain(source->list->file, &source->fd);
	}
}

void source_close(struct source *source)
{
	if (source->fd >= 0) {
		(void)close(source->fd);
	}
	source->fd = -1;
	free(source->message);
	source->message = NULL;
}
