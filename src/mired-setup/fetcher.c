/* Two ends of one SOCK_SEQPACKET socket. The program sends a question; packets of data come back,
 * then one with the report. A question while the answer is under way, or the end of the program,
 * ends the child. */
#include "mired-setup/fetcher.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "mired-setup/child.h"
#include "mired-setup/helper.h"
#include "priv/sandbox.h"

enum {
	PACKET_BYTES = 64 << 10,
	CHILD_GRACE_MS = 500,    /* a download says itself that its time is over */
	FETCHER_GRACE_MS = 5000, /* the program's patience beyond that */
};

enum packet_kind { PACKET_DATA = 1, PACKET_REPORT = 2 };

struct question {
	uint32_t method;
	char source[COPY_SOURCE_MAX];
	struct fetch_known known;
};

struct packet {
	uint32_t kind;
	union {
		struct fetch_report report;
		uint8_t bytes[PACKET_BYTES];
	};
};

enum { PACKET_HEAD = offsetof(struct packet, bytes) };

struct fetcher {
	pid_t pid;
	int channel;
	uint64_t bytes_max;
	uint32_t timeout_ms;
	bool is_lost; /* out of step or gone: asked no more */
	struct packet packet;
};

/* --- the fetching side ------------------------------------------------------------------------ */

/* One list under way. */
struct relay {
	int channel;
	struct child child;
	uint64_t bytes_left;
	struct mono deadline;
	bool is_orphan; /* the program is gone, or does not keep to the order */
	struct packet packet;
};

static int wait_readable(struct relay *relay, int fd)
{
	int64_t left_ms = mono_diff_ms(relay->deadline, clock_mono());
	struct pollfd fds[] = {{.fd = fd, .events = POLLIN},
	                       {.fd = relay->channel, .events = POLLIN}};
	if (left_ms <= 0) {
		return -ETIMEDOUT;
	}
	if (poll(fds, ARRAY_LEN(fds), (int)left_ms) < 0 && errno != EINTR) {
		return -errno;
	}
	relay->is_orphan = fds[1].revents != 0;
	return relay->is_orphan ? ERR_CLOSED : fds[0].revents ? 1 : 0;
}

/* One piece of data. 1 = more may come, 0 = the end. */
static int relay_piece(struct relay *relay)
{
	ssize_t n = read(relay->child.data, relay->packet.bytes, PACKET_BYTES);
	if (n <= 0) {
		return n == 0 ? 0 : errno == EINTR ? 1 : -errno;
	}
	if ((uint64_t)n > relay->bytes_left) {
		return ERR_TOO_LONG;
	}
	relay->bytes_left -= (uint64_t)n;
	relay->packet.kind = PACKET_DATA;
	if (send(relay->channel, &relay->packet, PACKET_HEAD + (size_t)n, MSG_NOSIGNAL) < 0) {
		relay->is_orphan = true;
		return ERR_CLOSED;
	}
	return 1;
}

/* Until the data end and the child has ended, or time, size or patience is over. */
static int relay_all(struct relay *relay)
{
	int ret = 1;
	while (ret > 0) {
		ret = wait_readable(relay, relay->child.data);
		ret = ret == 1 ? relay_piece(relay) : ret == 0 ? 1 : ret;
	}
	for (int ended = 0; ret == 0 && ended != 1;) {
		ended = wait_readable(relay, relay->child.pid_fd);
		ret = ended < 0 ? ended : 0;
	}
	return ret;
}

static void explain_relay(int ret, const struct fetch_job *job, struct fetch_report *report)
{
	if (ret == -ETIMEDOUT) {
		fetch_report_fail(report, ret, "it was not done after %u s (list-timeout)",
		                  (unsigned)(job->timeout_ms / MS_PER_SEC));
	} else if (ret == ERR_TOO_LONG) {
		fetch_report_fail(report, ret, "it is larger than %llu bytes (list-size)",
		                  (unsigned long long)job->bytes_max);
	} else if (ret) {
		fetch_report_fail(report, ret, "reading it failed: %s", err_text(ret));
	}
}

static int send_report(struct relay *relay, const struct fetch_report *report)
{
	relay->packet.kind = PACKET_REPORT;
	relay->packet.report = *report;
	return send(relay->channel, &relay->packet, PACKET_HEAD + sizeof *report, MSG_NOSIGNAL) < 0
	               ? -errno
	               : 0;
}

static int answer(struct relay *relay, const struct fetch_job *job)
{
	struct fetch_report report = {.code = 0};
	int ret = child_start(job, relay->channel, &relay->child);
	if (ret) {
		fetch_report_fail(&report, ret, "cannot start a process: %s", err_text(ret));
		return send_report(relay, &report);
	}
	relay->bytes_left = job->bytes_max;
	relay->deadline = mono_add_ms(clock_mono(), (int64_t)job->timeout_ms + CHILD_GRACE_MS);
	ret = relay_all(relay);
	child_finish(&relay->child, &report);
	if (ret) {
		explain_relay(ret, job, &report);
	}
	return relay->is_orphan ? ERR_CLOSED : send_report(relay, &report);
}

static int serve(struct relay *relay, const struct fetcher_conf *conf)
{
	struct question question;
	int ret = 0;
	while (ret == 0) {
		ssize_t n = recv(relay->channel, &question, sizeof question, 0);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n != (ssize_t)sizeof question) {
			return n == 0 ? 0 : ERR_SYNTAX;
		}
		question.source[sizeof question.source - 1] = '\0';
		struct fetch_job job = {.method = (enum capfile_method)question.method,
		                        .source = question.source,
		                        .bytes_max = conf->bytes_max,
		                        .timeout_ms = conf->timeout_ms,
		                        .known = question.known};
		ret = answer(relay, &job);
	}
	return ret;
}

_Noreturn static void fetcher_main(const struct fetcher_conf *conf, int channel)
{
	struct relay *relay = calloc(1, sizeof *relay);
	struct fetch_report report = {.code = 0};
	char why[SANDBOX_WHY_MAX];
	if (!relay) {
		_exit(1);
	}
	relay->channel = channel;
	helper_begin(channel);
	int ret = sandbox_drop(conf->user, false, why);
	if (ret) {
		fetch_report_fail(&report, ret, "%s", why);
	}
	ret = ret ? ret : child_adopt();
	if (ret && report.code == 0) {
		fetch_report_fail(&report, ret, "its children cannot be adopted: %s",
		                  err_text(ret));
	}
	ret = send_report(relay, &report) || report.code ? 1 : serve(relay, conf);
	free(relay);
	_exit(ret ? 1 : 0);
}

/* --- the program's side ----------------------------------------------------------------------- */

/* The next packet's length, or a negative code. */
static int receive_packet(struct fetcher *fetcher, struct mono deadline)
{
	int64_t left_ms = mono_diff_ms(deadline, clock_mono());
	struct pollfd fd = {.fd = fetcher->channel, .events = POLLIN};
	/* what is there is taken even when we were stopped beyond the deadline */
	int n_ready = poll(&fd, 1, left_ms > 0 ? (int)left_ms : 0);
	if (n_ready <= 0) {
		return n_ready == 0 ? -ETIMEDOUT : errno == EINTR ? 0 : -errno;
	}
	ssize_t n = recv(fetcher->channel, &fetcher->packet, sizeof fetcher->packet, MSG_DONTWAIT);
	if (n < 0) {
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	}
	return n <= PACKET_HEAD ? ERR_CLOSED : (int)n;
}

/* Takes a packet of an answer. 1 = more will come, 0 = *report is there. */
static int take_packet(struct fetcher *fetcher, int len, struct bytes *data,
                       struct fetch_report *report)
{
	const struct packet *packet = &fetcher->packet;
	size_t body_len = (size_t)len - PACKET_HEAD;
	if (packet->kind == PACKET_REPORT && body_len == sizeof *report) {
		*report = packet->report;
		fetch_report_bound(report);
		return 0;
	}
	if (packet->kind != PACKET_DATA) {
		return ERR_SYNTAX;
	}
	int ret = bytes_append(data, packet->bytes, body_len, fetcher->bytes_max);
	return ret ? ret : 1;
}

/* The first packet says whether it could drop its rights. */
static int wait_started(struct fetcher *fetcher, char why[static FETCHER_WHY_MAX])
{
	struct mono deadline = mono_add_ms(clock_mono(), FETCHER_GRACE_MS);
	struct fetch_report report = {.code = 0};
	int len = 0;
	while (len == 0) {
		len = receive_packet(fetcher, deadline);
	}
	struct bytes none = {.ptr = NULL};
	int ret = len < 0 ? len : take_packet(fetcher, len, &none, &report);
	bytes_fini(&none);
	ret = ret ? ret : report.code;
	if (ret) {
		(void)snprintf(why, FETCHER_WHY_MAX, "%s",
		               report.why[0] ? report.why : err_text(ret));
	}
	return ret;
}

int fetcher_start(const struct fetcher_conf *conf, struct fetcher **out,
                  char why[static FETCHER_WHY_MAX])
{
	int ends[2] = {-1, -1};
	struct fetcher *fetcher = calloc(1, sizeof *fetcher);
	int ret = !fetcher                                                           ? -ENOMEM
	          : socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0 ? -errno
	                                                                             : 0;
	pid_t pid = ret ? -1 : fork();
	if (pid == 0) {
		fetcher_main(conf, ends[1]);
	}
	if (pid < 0) {
		ret = ret ? ret : -errno;
		(void)snprintf(why, FETCHER_WHY_MAX, "%s", err_text(ret));
		(void)close(ends[0]);
		(void)close(ends[1]);
		free(fetcher);
		return ret;
	}
	(void)close(ends[1]);
	fetcher->pid = pid;
	fetcher->channel = ends[0];
	fetcher->bytes_max = conf->bytes_max;
	fetcher->timeout_ms = conf->timeout_ms;
	ret = wait_started(fetcher, why);
	if (ret) {
		fetcher_stop(fetcher);
		return ret;
	}
	*out = fetcher;
	return 0;
}

void fetcher_stop(struct fetcher *fetcher)
{
	if (!fetcher) {
		return;
	}
	/* it ends a child that hangs within a moment; as another user we could not kill it */
	(void)close(fetcher->channel);
	(void)waitpid(fetcher->pid, NULL, 0);
	free(fetcher);
}

static int ask(struct fetcher *fetcher, const struct fetcher_request *request)
{
	struct question question = {.method = (uint32_t)request->method, .known = request->known};
	(void)snprintf(question.source, sizeof question.source, "%s", request->source);
	ssize_t n = send(fetcher->channel, &question, sizeof question, MSG_NOSIGNAL);
	return n == (ssize_t)sizeof question ? 0 : ERR_CLOSED;
}

int fetcher_wait_get(struct fetcher *fetcher, const struct fetcher_request *request,
                     struct bytes *data, struct fetch_report *report)
{
	struct mono deadline =
	        mono_add_ms(clock_mono(), (int64_t)fetcher->timeout_ms + FETCHER_GRACE_MS);
	*report = (struct fetch_report){.code = 0};
	int ret = fetcher->is_lost ? ERR_CLOSED : ask(fetcher, request);
	ret = ret ? ret : 1;
	while (ret > 0) {
		int len = receive_packet(fetcher, deadline);
		ret = len < 0 ? len : len == 0 ? 1 : take_packet(fetcher, len, data, report);
		if (ret == 1 && len > 0 && request->progress) {
			request->progress(request->ctx, data->len);
		}
	}
	if (ret) {
		fetcher->is_lost = true;
		fetch_report_fail(report, ret, "the fetching process failed: %s", err_text(ret));
	}
	return report->code;
}
