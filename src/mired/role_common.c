/* See role_common.h. */
#include "mired/role_common.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "conf/conf_log.h"

int role_take_conf(struct conf *conf, bool *has_conf, int fd)
{
	char why[CONF_ERROR_MAX] = "a second one";
	int ret = *has_conf ? ERR_SYNTAX : conf_load_fd(conf, fd, why);
	(void)close(fd);
	if (ret) {
		log_error("configuration handed over: %s", why);
		return ret;
	}
	*has_conf = true;
	return 0;
}

int role_take_new_conf(struct conf *conf, int fd)
{
	char why[CONF_ERROR_MAX] = "";
	int ret = conf_load_fd(conf, fd, why);
	(void)close(fd);
	if (ret) {
		log_error("configuration handed over: %s; the old one stays in force", why);
	}
	return ret;
}

static int read_all(int fd, char *text, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = pread(fd, text + at, len - at, (off_t)at);
		if (n <= 0) {
			return n < 0 ? -errno : -EIO;
		}
		at += (size_t)n;
	}
	return 0;
}

int role_take_file(int fd, char **text, size_t *len)
{
	struct stat st;
	*text = NULL;
	*len = 0;
	int ret = fstat(fd, &st) != 0                ? -errno
	          : st.st_size > ROLE_FILE_BYTES_MAX ? ERR_TOO_LONG
	                                             : 0;
	size_t size = ret ? 0 : (size_t)st.st_size;
	char *bytes = size ? malloc(size) : NULL;
	if (size && !bytes) {
		ret = -ENOMEM;
	}
	ret = ret ? ret : read_all(fd, bytes, size);
	(void)close(fd);
	if (ret) {
		free(bytes);
		return ret;
	}
	*text = bytes;
	*len = size;
	return 0;
}

void role_drop(const struct msg *msg)
{
	if (msg->fd >= 0) {
		(void)close(msg->fd);
	}
}

int role_take_by_row(const struct role_taker *rows, size_t n, void *ctx, const struct msg *msg)
{
	for (size_t i = 0; i < n; i++) {
		if (rows[i].type == msg->type) {
			return rows[i].take(ctx, msg);
		}
	}
	role_drop(msg);
	return ERR_SYNTAX;
}

/* What msg_recv cannot mend by reading on: anything but a message that is wrong in itself. */
static bool is_channel_error(int code)
{
	return code == ERR_CLOSED || (code < 0 && code > ERR_SYNTAX);
}

int role_take_all(int supervisor, role_take *take, void *ctx)
{
	struct msg msg = {.fd = -1};
	int first = 0;
	while (msg.type != MSG_START) {
		int ret = msg_recv(supervisor, &msg);
		if (is_channel_error(ret)) {
			return first ? first : ret;
		}
		if (!ret && msg.type == MSG_STOP) {
			return ERR_CLOSED;
		}
		ret = ret ? ret : take(ctx, &msg);
		first = first ? first : ret;
	}
	return first;
}

int role_fatal(int supervisor, enum role_exit status, const char *text)
{
	struct msg msg = {.type = MSG_FATAL, .fd = -1};
	(void)snprintf(msg.text, sizeof msg.text, "%s", text);
	if (msg_send(supervisor, &msg) != 0) {
		log_error("%s", text);
	}
	return (int)status;
}

enum role_word role_hear_by_row(int supervisor, const struct role_taker *rows, size_t n, void *ctx)
{
	struct msg msg = {.fd = -1};
	int ret = msg_recv(supervisor, &msg);
	if (ret == -EAGAIN) {
		return ROLE_WORD_NONE;
	}
	if (is_channel_error(ret)) {
		return ROLE_WORD_GONE;
	}
	if (!ret && msg.type == MSG_STOP) {
		return ROLE_WORD_STOP;
	}
	ret = ret ? ret : role_take_by_row(rows, n, ctx, &msg);
	if (ret) {
		log_warning("message from the supervisor dropped: %s", err_text(ret));
	}
	return ROLE_WORD_NONE;
}

int role_open_log(const struct conf *conf)
{
	const struct log_options options = conf_log_options(conf, NULL);
	return log_open(&options);
}

void role_set_log(const struct conf *conf)
{
	const struct log_options options = conf_log_options(conf, NULL);
	log_set_level(options.level);
	log_set_rate(options.rate);
}
