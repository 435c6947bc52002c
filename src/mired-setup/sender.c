/* The line travels in a sealed memory file: however long it is, it is written once and never
 * copied on its way to the socket. */
#include "mired-setup/sender.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "ctl/ctl.h"
#include "lists/cfgline.h"
#include "mired-setup/helper.h"

/* The daemon reads a list of millions of networks and checks its white hosts in this time amply. */
enum { PUT_WAIT_MS = 120000, SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };

struct reply {
	int32_t code;
	char why[SENDER_WHY_MAX];
};

struct sender {
	pid_t pid;
	int channel;
};

/* One descriptor and one byte: what the program may ask. */
union descriptor_message {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* --- the sending side ------------------------------------------------------------------------- */

/* 1 and *fd; 0 = the program is gone or sends something else. */
static int receive_descriptor(int channel, int *fd)
{
	char byte;
	union descriptor_message control;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control.bytes,
	                     .msg_controllen = sizeof control.bytes};
	ssize_t n;
	do {
		n = recvmsg(channel, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	const struct cmsghdr *header = n == 1 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (!header || header->cmsg_type != SCM_RIGHTS ||
	    header->cmsg_len != CMSG_LEN(sizeof *fd)) {
		return 0;
	}
	memcpy(fd, CMSG_DATA(header), sizeof *fd);
	return 1;
}

static void put_reply(struct reply *reply, int code, const char *about, const char *text)
{
	reply->code = code;
	(void)snprintf(reply->why, sizeof reply->why, "%s%s", about, text);
}

static void ask_daemon(const char *path, struct span body, struct reply *reply)
{
	struct ctl_link *link = NULL;
	json_t *answer = NULL;
	int ret = ctl_link_open(&link, path);
	ret = ret ? ret : ctl_link_request(link, "list-put", body, PUT_WAIT_MS, &answer);
	if (ret) {
		char about[SENDER_WHY_MAX / 2];
		(void)snprintf(about, sizeof about, "can't reach mired at %s: ", path);
		put_reply(reply, ERR_CLOSED, about, err_text(ret));
	} else {
		const char *error = json_string_value(json_object_get(answer, "error"));
		put_reply(reply, error ? ERR_DENIED : 0, "", error ? error : "");
	}
	json_decref(answer);
	ctl_link_close(link);
}

/* Takes a line only if it cannot change any more. */
static void put_line(const char *path, int fd, struct reply *reply)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) != 0 || st.st_size <= 0) {
		put_reply(reply, ERR_SYNTAX, "", "the line is not sealed");
		return;
	}
	void *line = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (line == MAP_FAILED) {
		put_reply(reply, -errno, "", err_text(-errno));
		return;
	}
	ask_daemon(path, span_of(line, (size_t)st.st_size), reply);
	(void)munmap(line, (size_t)st.st_size);
}

_Noreturn static void sender_main(const char *path, int channel)
{
	helper_begin(channel);
	capng_clear(CAPNG_SELECT_BOTH);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		_exit(1);
	}
	int fd = -1;
	while (receive_descriptor(channel, &fd)) {
		struct reply reply = {.code = 0};
		put_line(path, fd, &reply);
		(void)close(fd);
		if (send(channel, &reply, sizeof reply, MSG_NOSIGNAL) < 0) {
			break;
		}
	}
	_exit(0);
}

/* --- the program's side ----------------------------------------------------------------------- */

int sender_start(const char *path, struct sender **out)
{
	int ends[2] = {-1, -1};
	struct sender *sender = calloc(1, sizeof *sender);
	int ret = sender ? 0 : -ENOMEM;
	if (ret == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
		ret = -errno;
	}
	pid_t pid = ret ? -1 : fork();
	if (pid == 0) {
		sender_main(path, ends[1]);
	}
	if (pid < 0) {
		ret = ret ? ret : -errno;
		(void)close(ends[0]);
		(void)close(ends[1]);
		free(sender);
		return ret;
	}
	(void)close(ends[1]);
	*sender = (struct sender){.pid = pid, .channel = ends[0]};
	*out = sender;
	return 0;
}

void sender_stop(struct sender *sender)
{
	if (sender) {
		(void)close(sender->channel);
		(void)waitpid(sender->pid, NULL, 0);
		free(sender);
	}
}

static int write_line(FILE *out, const struct sender_list *list)
{
	if (list->n == 0) {
		const struct cfgline clear = {.tag = span_of_str(list->tag), .is_clear = true};
		return cfgline_write(out, &clear);
	}
	return cfgline_write_decoded(out, list->tag, list->message, list->cidrs, list->n);
}

/* The list as a sealed memory file. */
static int make_line(const struct sender_list *list, int *line)
{
	int fd = memfd_create("list", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int stream_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
	FILE *out = stream_fd < 0 ? NULL : fdopen(stream_fd, "w");
	int ret = out ? write_line(out, list) : -errno;
	if (out && fclose(out) != 0 && ret == 0) {
		ret = -errno;
	}
	if (ret == 0 && fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
		ret = -errno;
	}
	if (ret && fd >= 0) {
		(void)close(fd);
	}
	*line = fd;
	return ret;
}

static int send_descriptor(int channel, int fd)
{
	char byte = 0;
	union descriptor_message control = {.bytes = {0}};
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control.bytes,
	                     .msg_controllen = sizeof control.bytes};
	struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
	*header = (struct cmsghdr){
	        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
	memcpy(CMSG_DATA(header), &fd, sizeof fd);
	return sendmsg(channel, &msg, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int sender_wait_put(struct sender *sender, const struct sender_list *list,
                    char why[static SENDER_WHY_MAX])
{
	struct reply reply = {.code = ERR_CLOSED, .why = "the sending process is gone"};
	int line = -1;
	int ret = make_line(list, &line);
	if (ret) {
		(void)snprintf(why, SENDER_WHY_MAX, "cannot write its line: %s", err_text(ret));
		return ret;
	}
	ret = send_descriptor(sender->channel, line);
	(void)close(line);
	struct reply got;
	if (ret == 0 && recv(sender->channel, &got, sizeof got, 0) == (ssize_t)sizeof got) {
		reply = got;
	}
	(void)snprintf(why, SENDER_WHY_MAX, "%s", reply.why);
	return reply.code;
}
