/* The roles' side of the channel to the supervisor. */
#include "mired/role_common.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

struct channel {
	int supervisor; /* its end */
	int role;
};

static struct channel new_channel(void)
{
	int pair[2];
	assert_int_equal(
	        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	return (struct channel){pair[0], pair[1]};
}

static void close_channel(const struct channel *channel)
{
	(void)close(channel->supervisor);
	(void)close(channel->role);
}

static void send_type(const struct channel *channel, enum msg_type type, int fd)
{
	struct msg msg = {.type = type, .fd = fd};
	assert_int_equal(msg_send(channel->supervisor, &msg), 0);
}

static int conf_of(const char *text)
{
	int fd = memfd_create("conf", MFD_CLOEXEC);
	assert_true(fd >= 0 && dprintf(fd, "%s", text) > 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void send_conf(const struct channel *channel, const char *text)
{
	int fd = conf_of(text);
	send_type(channel, MSG_CONF, fd);
	(void)close(fd);
}

/* A role that wants a configuration and nothing else. */
struct taker {
	struct conf conf;
	bool has_conf;
	unsigned n_taken;
};

static int take(void *ctx, const struct msg *msg)
{
	struct taker *taker = ctx;
	taker->n_taken++;
	if (msg->type == MSG_CONF) {
		return role_take_conf(&taker->conf, &taker->has_conf, msg->fd);
	}
	role_drop(msg);
	return msg->type == MSG_START ? 0 : ERR_SYNTAX;
}

static void assert_nothing_unread(const struct channel *channel)
{
	struct msg msg;
	assert_int_equal(msg_recv(channel->role, &msg), -EAGAIN);
}

/* Closing a channel with messages unread would reset it, and the reason would be lost. */
static void after_an_error_the_rest_is_read_and_the_reason_arrives(void **state)
{
	(void)state;
	struct taker taker = {.n_taken = 0};
	struct channel channel = new_channel();
	send_conf(&channel, "no-such-key = 1\n");
	assert_int_equal(send(channel.supervisor, "garbage", 7, 0), 7);
	send_type(&channel, MSG_PEER, channel.supervisor);
	send_type(&channel, MSG_START, -1);
	assert_int_equal(role_take_all(channel.role, take, &taker), ERR_SYNTAX);
	assert_int_equal(taker.n_taken, 3);
	assert_false(taker.has_conf);
	assert_nothing_unread(&channel);
	assert_int_equal(role_fatal(channel.role, ROLE_EXIT_STORE, "because"), ROLE_EXIT_STORE);
	(void)close(channel.role);
	struct msg msg;
	assert_int_equal(msg_recv(channel.supervisor, &msg), 0);
	assert_int_equal(msg.type, MSG_FATAL);
	assert_string_equal(msg.text, "because");
	(void)close(channel.supervisor);
}

static int note_type(void *ctx, const struct msg *msg)
{
	*(enum msg_type *)ctx = msg->type;
	return 0;
}

static void a_message_without_a_row_is_refused_and_its_descriptor_closed(void **state)
{
	(void)state;
	static const struct role_taker rows[] = {{MSG_CONF, note_type}, {MSG_START, note_type}};
	enum msg_type taken = MSG_TYPE_END;
	struct msg msg = {.type = MSG_START, .fd = -1};
	assert_int_equal(role_take_by_row(rows, ARRAY_LEN(rows), &taken, &msg), 0);
	assert_int_equal(taken, MSG_START);
	msg = (struct msg){.type = MSG_PEER, .fd = dup(STDERR_FILENO)};
	assert_int_equal(role_take_by_row(rows, ARRAY_LEN(rows), &taken, &msg), ERR_SYNTAX);
	assert_int_equal(taken, MSG_START);
	assert_int_equal(fcntl(msg.fd, F_GETFD), -1);
}

static void a_second_configuration_is_refused_and_the_first_one_kept(void **state)
{
	(void)state;
	struct taker taker = {.n_taken = 0};
	struct channel channel = new_channel();
	send_conf(&channel, "port = 2525\n");
	send_conf(&channel, "port = 2526\n");
	send_type(&channel, MSG_START, -1);
	assert_int_equal(role_take_all(channel.role, take, &taker), ERR_SYNTAX);
	assert_int_equal(taker.conf.port, 2525);
	conf_fini(&taker.conf);
	close_channel(&channel);
}

static void a_stop_or_the_supervisors_death_ends_the_taking(void **state)
{
	(void)state;
	struct taker taker = {.n_taken = 0};
	struct channel channel = new_channel();
	send_type(&channel, MSG_STOP, -1);
	assert_int_equal(role_take_all(channel.role, take, &taker), ERR_CLOSED);
	(void)close(channel.supervisor);
	assert_int_equal(role_take_all(channel.role, take, &taker), ERR_CLOSED);
	assert_int_equal(taker.n_taken, 0);
	(void)close(channel.role);
}

/* What a running role takes: the last peer, and how many messages in all. */
struct hearer {
	int peer;
	unsigned n_taken;
};

static int take_peer(void *ctx, const struct msg *msg)
{
	struct hearer *hearer = ctx;
	hearer->peer = msg->fd;
	hearer->n_taken++;
	return 0;
}

static enum role_word hear(const struct channel *channel, struct hearer *hearer)
{
	static const struct role_taker rows[] = {{MSG_PEER, take_peer}};
	return role_hear_by_row(channel->role, rows, ARRAY_LEN(rows), hearer);
}

static void while_running_it_hears_one_word_at_a_time(void **state)
{
	(void)state;
	struct channel channel = new_channel();
	struct hearer hearer = {.peer = -1};
	assert_int_equal(hear(&channel, &hearer), ROLE_WORD_NONE);
	send_type(&channel, MSG_PEER, channel.supervisor);
	send_type(&channel, MSG_CONTROL, channel.supervisor); /* not now */
	assert_int_equal(send(channel.supervisor, "garbage", 7, 0), 7);
	send_type(&channel, MSG_STOP, -1);
	assert_int_equal(hear(&channel, &hearer), ROLE_WORD_NONE);
	assert_true(hearer.peer >= 0);
	int next = fcntl(hearer.peer, F_DUPFD_CLOEXEC, 0);
	(void)close(next);
	assert_int_equal(hear(&channel, &hearer), ROLE_WORD_NONE);
	int after = fcntl(hearer.peer, F_DUPFD_CLOEXEC, 0);
	(void)close(after);
	assert_int_equal(after, next); /* the unwanted descriptor was closed */
	assert_int_equal(hear(&channel, &hearer), ROLE_WORD_NONE);
	assert_int_equal(hear(&channel, &hearer), ROLE_WORD_STOP);
	assert_int_equal(hearer.n_taken, 1);
	(void)close(channel.supervisor);
	(void)close(hearer.peer);
	assert_int_equal(hear(&channel, &hearer), ROLE_WORD_GONE);
	(void)close(channel.role);
}

static void a_file_is_taken_whole_whoever_has_read_it_before(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len = 0;
	int fd = conf_of("first\nsecond\n");
	assert_int_equal(lseek(fd, 5, SEEK_SET), 5);
	assert_int_equal(role_take_file(fd, &text, &len), 0);
	assert_int_equal(len, 13);
	assert_memory_equal(text, "first\nsecond\n", len);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	free(text);
	fd = memfd_create("empty", MFD_CLOEXEC);
	assert_int_equal(role_take_file(fd, &text, &len), 0);
	assert_null(text);
	assert_int_equal(len, 0);
	fd = memfd_create("large", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, ROLE_FILE_BYTES_MAX + 1), 0);
	assert_int_equal(role_take_file(fd, &text, &len), ERR_TOO_LONG);
	assert_null(text);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(after_an_error_the_rest_is_read_and_the_reason_arrives),
	        cmocka_unit_test(a_message_without_a_row_is_refused_and_its_descriptor_closed),
	        cmocka_unit_test(a_second_configuration_is_refused_and_the_first_one_kept),
	        cmocka_unit_test(a_stop_or_the_supervisors_death_ends_the_taking),
	        cmocka_unit_test(while_running_it_hears_one_word_at_a_time),
	        cmocka_unit_test(a_file_is_taken_whole_whoever_has_read_it_before),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
