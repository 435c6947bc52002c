/* Where lines go. Encoded lines are gathered one behind the other and leave in one call: sendmmsg
 * for the two that take a datagram a line, write for stderr. The formats:
 *
 *   journal  systemd's "Native Journal Protocol": NAME=value and a line feed for each field; values
 *            with line feeds would need another form, but none is left in ours
 *   syslog   RFC 3164 as the C library sends it: <PRIORITY>Mon dd hh:mm:ss ident[pid]: text
 *   stderr   ident[pid]: text
 *
 * Sending never waits, so a log that stands still costs lines, not the writer. A lost connection is
 * made again; what was gathered for one kind of log is dropped when the next one is of the other.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/log_impl.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define SYSLOG_SOCKET  "/dev/log"

enum {
	/* a control character takes four bytes; the head of one event and its name */
	LINE_BYTES_MAX = SINK_HEAD_MAX + 4 * LOG_LINE_MAX + LOG_FIELDS_BYTES_MAX + 256,
	SEND_BUFFER_BYTES = 1 << 20, /* a second of lines or so while the log is busy */
	/* several processes share a terminal or pipe: lines stay whole only within one atomic write
	 */
	WRITE_MAX = PIPE_BUF,
};

static_assert(SINK_BYTES > 2 * LINE_BYTES_MAX, "there is room for another line after the first");
static_assert(LINE_BYTES_MAX < 0xffff, "lengths of a line fit");

static const int priorities[] = {
        [LOG_LEVEL_ERROR] = LOG_ERR,
        [LOG_LEVEL_WARNING] = LOG_WARNING,
        [LOG_LEVEL_INFO] = LOG_INFO,
        [LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

/* --- connection ------------------------------------------------------------------------------- */

static void disconnect(struct log_sink *sink)
{
	if (sink->fd >= 0) {
		(void)close(sink->fd);
		sink->fd = -1;
	}
}

static void write_head(struct log_sink *sink)
{
	(void)snprintf(sink->head, sizeof sink->head,
	               sink->resolved == LOG_TARGET_JOURNAL
	                       ? "SYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=%s\nSYSLOG_PID=%d\n"
	                       : "%s[%d]: ",
	               sink->ident, (int)getpid());
}

static void drop_gathered(struct log_sink *sink)
{
	(void)atomic_fetch_add_explicit(&sink->n_lost, sink->n - sink->n_sent,
	                                memory_order_relaxed);
	sink->n = 0;
	sink->n_sent = 0;
}

static bool connect_to(struct log_sink *sink, enum log_target kind, const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	const int bytes = SEND_BUFFER_BYTES;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		return false;
	}
	(void)snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof sun) != 0) {
		(void)close(fd);
		return false;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes); /* else the default */
	if (sink->resolved != kind) {
		drop_gathered(sink);
	}
	sink->fd = fd;
	sink->resolved = kind;
	write_head(sink);
	return true;
}

static bool connect_again(struct log_sink *sink)
{
	bool wants_journal = sink->target != LOG_TARGET_SYSLOG;
	bool wants_syslog = sink->target != LOG_TARGET_JOURNAL;
	disconnect(sink);
	return (wants_journal && connect_to(sink, LOG_TARGET_JOURNAL, JOURNAL_SOCKET)) ||
	       (wants_syslog && connect_to(sink, LOG_TARGET_SYSLOG, SYSLOG_SOCKET));
}

void log_sink_open(struct log_sink *sink, const struct log_options *options)
{
	sink->target = options->target;
	sink->resolved = options->target;
	sink->fd = -1;
	sink->n = 0;
	sink->n_sent = 0;
	sink->stamp_secs = -1;
	(void)snprintf(sink->ident, sizeof sink->ident, "%s", options->ident);
	write_head(sink);
}

void log_sink_close(struct log_sink *sink)
{
	disconnect(sink);
}

bool log_sink_is_up(struct log_sink *sink)
{
	return sink->target == LOG_TARGET_STDERR || sink->fd >= 0 || connect_again(sink);
}

bool log_sink_has_fields(const struct log_sink *sink)
{
	return sink->resolved == LOG_TARGET_JOURNAL;
}

void log_sink_wait(const struct log_sink *sink)
{
	struct pollfd pollfd = {.fd = sink->fd, .events = POLLOUT}; /* -1: only waits */
	(void)poll(&pollfd, 1, LOG_POLL_MS);
}

/* --- encoding --------------------------------------------------------------------------------- */

/* Writers of parts return the end. The caller has made sure of LINE_BYTES_MAX. */
static char *put(char *at, const char *text, size_t len)
{
	memcpy(at, text, len);
	return at + len;
}

/* Values from outside are escaped where they enter a line. This is for what should never be there,
 * such as a library's message of several lines. */
static char *put_text(char *at, const char *text, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c >= 0x20 && c != 0x7f) {
			*at++ = (char)c;
			continue;
		}
		const char escape[] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
		at = put(at, escape, sizeof escape);
	}
	return at;
}

static char *put_journal(const struct log_sink *sink, const struct log_line *line, char *at)
{
	char head[160];
	const struct log_event_row *row = log_event_row((enum log_event)line->event);
	int len = snprintf(head, sizeof head, "PRIORITY=%d\n", priorities[line->level]);
	if (line->event != LOG_EVENT_NONE) {
		len = snprintf(head, sizeof head, "PRIORITY=%d\nMESSAGE_ID=%s\nEVENT=%s\n",
		               priorities[line->level], row->message_id, row->name);
	}
	at = put(at, sink->head, strlen(sink->head));
	at = put(at, head, (size_t)len);
	at = put(at, line->bytes + line->text_len + 1, line->fields_len);
	at = put(at, "MESSAGE=", strlen("MESSAGE="));
	at = put_text(at, line->bytes, line->text_len);
	return put(at, "\n", 1);
}

/* Local time, since that is what syslog files have. */
static const char *stamp(struct log_sink *sink)
{
	struct wall now = clock_wall();
	if (now.secs != sink->stamp_secs) {
		struct tm tm;
		time_t secs = (time_t)now.secs;
		(void)localtime_r(&secs, &tm);
		(void)strftime(sink->stamp, sizeof sink->stamp, "%h %e %T ", &tm);
		sink->stamp_secs = now.secs;
	}
	return sink->stamp;
}

static char *put_syslog(struct log_sink *sink, const struct log_line *line, char *at)
{
	char head[16];
	int len = snprintf(head, sizeof head, "<%d>", LOG_DAEMON | priorities[line->level]);
	const char *when = stamp(sink);
	at = put(at, head, (size_t)len);
	at = put(at, when, strlen(when));
	at = put(at, sink->head, strlen(sink->head));
	return put_text(at, line->bytes, line->text_len);
}

static char *put_stderr(const struct log_sink *sink, const struct log_line *line, char *at)
{
	at = put(at, sink->head, strlen(sink->head));
	at = put_text(at, line->bytes, line->text_len);
	return put(at, "\n", 1);
}

static char *put_line(struct log_sink *sink, const struct log_line *line, char *at)
{
	switch (sink->resolved) {
	case LOG_TARGET_JOURNAL:
		return put_journal(sink, line, at);
	case LOG_TARGET_AUTO:
	case LOG_TARGET_SYSLOG:
		return put_syslog(sink, line, at);
	case LOG_TARGET_STDERR:
		break;
	}
	return put_stderr(sink, line, at);
}

static size_t begin_of(const struct log_sink *sink, size_t i)
{
	return i == 0 ? 0 : sink->ends[i - 1];
}

bool log_sink_add(struct log_sink *sink, const struct log_line *line)
{
	size_t used = begin_of(sink, sink->n);
	if (sink->n == SINK_LINES_MAX || SINK_BYTES - used < LINE_BYTES_MAX) {
		return false;
	}
	char *end = put_line(sink, line, sink->bytes + used);
	sink->ends[sink->n++] = (size_t)(end - sink->bytes);
	return true;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void lose_one(struct log_sink *sink)
{
	(void)atomic_fetch_add_explicit(&sink->n_lost, 1, memory_order_relaxed);
	sink->n_sent++;
}

/* What is left after an error of sending: true to go on. */
static bool judge_error(struct log_sink *sink, int error, bool *has_reconnected)
{
	switch (error) {
	case EINTR:
		return true;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return false;
	case EMSGSIZE:
		lose_one(sink); /* whoever listens takes no line as long as this */
		return true;
	default:
		/* the log was stopped or started again */
		if (*has_reconnected) {
			disconnect(sink);
			return false;
		}
		*has_reconnected = true;
		return connect_again(sink);
	}
}

static int send_some(const struct log_sink *sink)
{
	struct mmsghdr messages[SINK_LINES_MAX];
	struct iovec vectors[SINK_LINES_MAX];
	size_t n = sink->n - sink->n_sent;
	for (size_t i = 0; i < n; i++) {
		size_t begin = begin_of(sink, sink->n_sent + i);
		vectors[i] = (struct iovec){(void *)(sink->bytes + begin),
		                            sink->ends[sink->n_sent + i] - begin};
		messages[i] =
		        (struct mmsghdr){.msg_hdr = {.msg_iov = &vectors[i], .msg_iovlen = 1}};
	}
	int ret = sendmmsg(sink->fd, messages, (unsigned)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return ret < 0 ? -errno : ret;
}

static void flush_datagrams(struct log_sink *sink)
{
	bool has_reconnected = false;
	bool goes_on = log_sink_is_up(sink);
	while (goes_on && sink->n_sent < sink->n) {
		int n = send_some(sink);
		if (n >= 0) {
			sink->n_sent += (size_t)n;
		} else {
			goes_on = judge_error(sink, -n, &has_reconnected);
		}
	}
}

/* As many whole lines as one atomic write takes, one at least. */
static size_t lines_to_write(const struct log_sink *sink)
{
	size_t begin = begin_of(sink, sink->n_sent);
	size_t to = sink->n_sent + 1;
	while (to < sink->n && sink->ends[to] - begin <= WRITE_MAX) {
		to++;
	}
	return to;
}

/* False: it takes nothing at present. */
static bool write_bytes(const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = write(STDERR_FILENO, bytes, len);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n < 0) {
			return errno != EAGAIN; /* stderr is gone: nobody is left to tell */
		}
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static void flush_stderr(struct log_sink *sink)
{
	while (sink->n_sent < sink->n) {
		size_t begin = begin_of(sink, sink->n_sent);
		size_t to = lines_to_write(sink);
		if (!write_bytes(sink->bytes + begin, sink->ends[to - 1] - begin)) {
			return;
		}
		sink->n_sent = to;
	}
}

bool log_sink_flush(struct log_sink *sink)
{
	if (sink->target == LOG_TARGET_STDERR) {
		flush_stderr(sink);
	} else if (sink->n_sent < sink->n) {
		flush_datagrams(sink);
	}
	if (sink->n_sent < sink->n) {
		return false;
	}
	sink->n = 0;
	sink->n_sent = 0;
	return true;
}
