/* A load of SMTP clients for the system tests: one thread, one epoll. It always stops by itself.
 *
 *   smtpload --connect ADDR:PORT [--source-range A-B] [--seconds S] [--rate R]
 *            ( --idle N [--push BYTES [--lines]] [--pace MS] | --tuples N --ack-file F
 * [--pipelined] [--tag T] )
 *
 * idle: holds N connections to the end, discards what comes, pushes BYTES into each: one endless
 * line, or lines. With --pace
 * it says how late the bytes of a server that sends one every MS came, at most, in each second.
 * tuples: each client says HELO, MAIL, RCPT, DATA for a sender and recipient nobody else has, and
 * appends "helo sender recipient source" to the file F (one write, O_APPEND) when its 451 line has
 * been received to its last byte. Whatever goes wrong before is tried again until the time is up.
 *
 * Prints one JSON object. Exit status: 0 all held or acknowledged, 1 not all, 2 usage. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "load_options.h"
#include "load_pace.h"

enum {
	FDS_SPARE = 32, /* descriptors that are no clients */
	EVENTS_MAX = 512,
	RETRY_MS = 200,         /* a failed client comes back after this */
	CLIENT_WAIT_MS = 60000, /* a client that is not through by then has failed */
	LOOP_WAIT_MS = 10,
	PUSH_SEND_BUFFER = 65536,
	JUNK_BYTES = 4096,
	JUNK_LINE = 64,
	TEXT_MAX = 512,     /* all four commands of a client */
	LINE_MAX_KEPT = 80, /* of a reply line: its code is what matters */
	GRACE_SECONDS = 10, /* then the alarm ends what should have ended by itself */
};

enum command { COMMAND_HELO, COMMAND_MAIL, COMMAND_RCPT, COMMAND_DATA };

enum state { STATE_NEW, STATE_WAITING, STATE_CONNECTING, STATE_OPEN, STATE_DONE };

struct client {
	int fd;
	enum state state;
	uint8_t n_replies; /* complete replies received */
	uint16_t line_len; /* of the reply line under way, as received */
	char line[LINE_MAX_KEPT];
	uint16_t out_pos;
	uint16_t out_len; /* commands that may be sent so far */
	uint64_t n_pushed;
	struct mono since;
	int64_t due_ns; /* see pace_recv */
};

struct load {
	struct load_options options;
	struct client *clients;
	uint32_t *retries; /* ring of clients that wait, oldest first */
	uint32_t retry_first;
	uint32_t n_retries;
	uint32_t n_started; /* clients begun at least once */
	uint32_t n_open;
	uint32_t open_max;
	uint32_t oldest; /* where the search for clients that take too long goes on */
	int epoll;
	int ack_fd;
	struct mono start;
	uint64_t n_acked, n_refused, n_lost, n_unexpected, n_timeouts, n_connected;
	uint64_t bytes_received, bytes_sent;
	struct pace pace;
	char junk[JUNK_BYTES]; /* what is pushed, over and over */
};

static volatile sig_atomic_t is_interrupted;

/* --- names ----------------------------------------------------------------------------------- */

/* The text of a client's commands up to and with number `last`. */
static size_t commands(const struct load *load, uint32_t idx, unsigned last, char out[TEXT_MAX])
{
	const char *tag = load->options.tag;
	size_t len = (size_t)snprintf(out, TEXT_MAX, "HELO h%u.%s.example\r\n", idx, tag);
	if (last >= COMMAND_MAIL) {
		len += (size_t)snprintf(out + len, TEXT_MAX - len, "MAIL FROM:<s%u@%s.example>\r\n",
		                        idx, tag);
	}
	if (last >= COMMAND_RCPT) {
		len += (size_t)snprintf(out + len, TEXT_MAX - len, "RCPT TO:<r%u@%s.example>\r\n",
		                        idx, tag);
	}
	if (last >= COMMAND_DATA) {
		len += (size_t)snprintf(out + len, TEXT_MAX - len, "DATA\r\n");
	}
	return len;
}

static struct addr source_of(const struct load_options *options, uint32_t idx)
{
	struct addr addr = options->first;
	uint64_t carry = idx % options->n_sources;
	for (size_t i = sizeof addr.bytes; i-- > 0 && carry > 0; carry >>= 8) {
		carry += addr.bytes[i];
		addr.bytes[i] = (uint8_t)carry;
	}
	return addr;
}

static void acknowledge(struct load *load, uint32_t idx)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof name;
	struct addr addr;
	char source[ADDR_TEXT_MAX] = "?";
	char text[TEXT_MAX];
	const char *tag = load->options.tag;
	memset(&name, 0, sizeof name);
	if (getsockname(load->clients[idx].fd, (struct sockaddr *)&name, &len) == 0 &&
	    addr_from_sockaddr((const struct sockaddr *)&name, &addr) == 0) {
		addr_format(&addr, source);
	}
	int n = snprintf(text, sizeof text, "h%u.%s.example <s%u@%s.example> <r%u@%s.example> %s\n",
	                 idx, tag, idx, tag, idx, tag, source);
	if (write(load->ack_fd, text, (size_t)n) != n) {
		perror("smtpload: cannot write the acknowledgement");
		exit(1);
	}
	load->n_acked++;
}

/* --- one client ------------------------------------------------------------------------------ */

static void drop(struct load *load, uint32_t idx, enum state state)
{
	struct client *client = &load->clients[idx];
	if (client->fd >= 0) {
		close(client->fd);
		client->fd = -1;
		load->n_open--;
	}
	client->state = state;
}

/* Idle connections are not replaced: what was lost shall be seen. */
static void fail_client(struct load *load, uint32_t idx, uint64_t *counter)
{
	(*counter)++;
	if (load->options.is_idle) {
		drop(load, idx, STATE_DONE);
		return;
	}
	drop(load, idx, STATE_WAITING);
	load->clients[idx].since = clock_mono();
	load->retries[(load->retry_first + load->n_retries) % load->options.n_clients] = idx;
	load->n_retries++;
}

static int open_socket(const struct load *load, uint32_t idx)
{
	const struct load_options *options = &load->options;
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&options->server, options->port, &ss);
	int one = 1;
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		return -errno;
	}
	if (options->push_bytes > 0) {
		/* what waits in our own kernel is not the server's burden */
		int size = PUSH_SEND_BUFFER;
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	}
	if (options->pace_ms > 0 && pace_open(fd) < 0) {
		goto fail;
	}
	if (options->has_sources) {
		struct sockaddr_storage from;
		struct addr source = source_of(options, idx);
		socklen_t from_len = addr_to_sockaddr(&source, 0, &from);
		/* the port is chosen at connect: each source has all of them for this server */
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
		if (bind(fd, (const struct sockaddr *)&from, from_len) < 0) {
			goto fail;
		}
	}
	if (connect(fd, (const struct sockaddr *)&ss, len) == 0 || errno == EINPROGRESS) {
		return fd;
	}
fail:;
	int ret = -errno;
	close(fd);
	return ret;
}

static void start_client(struct load *load, uint32_t idx)
{
	struct client *client = &load->clients[idx];
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = idx};
	*client = (struct client){.fd = -1, .state = STATE_CONNECTING, .since = clock_mono()};
	int fd = open_socket(load, idx);
	if (fd < 0) {
		fail_client(load, idx, &load->n_refused);
		return;
	}
	client->fd = fd;
	load->n_open++;
	if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		fail_client(load, idx, &load->n_refused);
	}
}

/* Sends what may be sent. False: the connection is gone. */
static bool send_commands(struct load *load, uint32_t idx)
{
	struct client *client = &load->clients[idx];
	char text[TEXT_MAX];
	commands(load, idx, COMMAND_DATA, text);
	while (client->out_pos < client->out_len) {
		ssize_t n = send(client->fd, text + client->out_pos,
		                 (size_t)(client->out_len - client->out_pos), MSG_NOSIGNAL);
		if (n < 0) {
			return errno == EAGAIN || errno == EINTR;
		}
		client->out_pos = (uint16_t)(client->out_pos + n);
		load->bytes_sent += (uint64_t)n;
	}
	return true;
}

static void make_junk(struct load *load)
{
	for (size_t i = 1; load->options.has_lines && i < sizeof load->junk; i++) {
		load->junk[i] = i % JUNK_LINE == JUNK_LINE - 1 ? '\n' : 'x';
	}
}

static bool push(struct load *load, uint32_t idx)
{
	struct client *client = &load->clients[idx];
	while (client->n_pushed < load->options.push_bytes) {
		uint64_t left = load->options.push_bytes - client->n_pushed;
		size_t at = client->n_pushed % sizeof load->junk;
		size_t here = sizeof load->junk - at;
		ssize_t n =
		        send(client->fd, load->junk + at, left < here ? left : here, MSG_NOSIGNAL);
		if (n < 0) {
			return errno == EAGAIN || errno == EINTR;
		}
		client->n_pushed += (uint64_t)n;
		load->bytes_sent += (uint64_t)n;
	}
	return true;
}

static void on_connected(struct load *load, uint32_t idx)
{
	struct client *client = &load->clients[idx];
	char text[TEXT_MAX];
	int error = 0;
	socklen_t len = sizeof error;
	(void)getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0) {
		fail_client(load, idx, &load->n_refused);
		return;
	}
	client->state = STATE_OPEN;
	load->n_connected++;
	if (load->options.is_pipelined && !load->options.is_idle) {
		client->out_len = (uint16_t)commands(load, idx, COMMAND_DATA, text);
	}
}

/* A complete last line of a reply. False: this client is through, well or badly. */
static bool on_reply(struct load *load, uint32_t idx)
{
	struct client *client = &load->clients[idx];
	static const char *const expected[] = {"220", "250", "250", "250", "451"};
	char text[TEXT_MAX];
	unsigned n = client->n_replies;
	if (n == ARRAY_LEN(expected) || strncmp(client->line, expected[n], 3) != 0) {
		fail_client(load, idx, &load->n_unexpected);
		return false;
	}
	client->n_replies++;
	if (client->n_replies == ARRAY_LEN(expected)) {
		acknowledge(load, idx);
		drop(load, idx, STATE_DONE);
		return false;
	}
	if (!load->options.is_pipelined) {
		client->out_len = (uint16_t)commands(load, idx, n, text);
	}
	return true;
}

/* False: the client is through. */
static bool take_byte(struct load *load, uint32_t idx, char byte)
{
	struct client *client = &load->clients[idx];
	if (client->line_len < sizeof client->line) {
		client->line[client->line_len++] = byte;
	}
	if (byte != '\n') {
		return true;
	}
	bool is_last = client->line_len > 3 && client->line[3] == ' ';
	client->line_len = 0;
	return !is_last || on_reply(load, idx);
}

/* Reads to the end of what is there. False: the client is through or gone. */
static bool read_all(struct load *load, uint32_t idx)
{
	struct client *client = &load->clients[idx];
	char bytes[4096];
	for (;;) {
		ssize_t n =
		        pace_recv(&load->pace, client->fd, bytes, sizeof bytes, &client->due_ns);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			return true;
		}
		if (n <= 0) {
			fail_client(load, idx, &load->n_lost);
			return false;
		}
		load->bytes_received += (uint64_t)n;
		for (ssize_t i = 0; i < n && !load->options.is_idle; i++) {
			if (!take_byte(load, idx, bytes[i])) {
				return false;
			}
		}
	}
}

static void on_event(struct load *load, uint32_t idx, uint32_t events)
{
	struct client *client = &load->clients[idx];
	if (client->state == STATE_CONNECTING && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))) {
		on_connected(load, idx);
	}
	if (client->state != STATE_OPEN || !read_all(load, idx)) {
		return;
	}
	bool is_alive = load->options.is_idle ? push(load, idx) : send_commands(load, idx);
	if (!is_alive) {
		fail_client(load, idx, &load->n_lost);
	}
}

/* --- the loop -------------------------------------------------------------------------------- */

static bool is_time_up(const struct load *load)
{
	return is_interrupted || mono_diff_ms(clock_mono(), load->start) >=
	                                 (int64_t)load->options.seconds * MS_PER_SEC;
}

static void start_due(struct load *load)
{
	struct mono now = clock_mono();
	int64_t due = mono_diff_ms(now, load->start) * load->options.rate / MS_PER_SEC + 1;
	while (load->n_retries > 0 && load->n_open < load->open_max) {
		uint32_t idx = load->retries[load->retry_first];
		if (mono_diff_ms(now, load->clients[idx].since) < RETRY_MS) {
			break;
		}
		load->retry_first = (load->retry_first + 1) % load->options.n_clients;
		load->n_retries--;
		start_client(load, idx);
	}
	while (load->n_started < load->options.n_clients && load->n_started < due &&
	       load->n_open < load->open_max) {
		start_client(load, load->n_started++);
	}
}

/* Looks at a part of the clients each time, so that the cost does not grow with their number. */
static void end_slow(struct load *load)
{
	struct mono now = clock_mono();
	for (unsigned n = 0; n < EVENTS_MAX && load->n_started > 0; n++) {
		load->oldest = (load->oldest + 1) % load->n_started;
		const struct client *client = &load->clients[load->oldest];
		bool is_under_way = client->state == STATE_CONNECTING ||
		                    (client->state == STATE_OPEN && !load->options.is_idle);
		if (is_under_way && mono_diff_ms(now, client->since) > CLIENT_WAIT_MS) {
			fail_client(load, load->oldest, &load->n_timeouts);
		}
	}
}

static void run(struct load *load)
{
	struct epoll_event events[EVENTS_MAX];
	while (!is_time_up(load)) {
		if (!load->options.is_idle && load->n_acked == load->options.n_clients) {
			break;
		}
		start_due(load);
		int n = epoll_wait(load->epoll, events, EVENTS_MAX, LOOP_WAIT_MS);
		for (int i = 0; i < n; i++) {
			on_event(load, events[i].data.u32, events[i].events);
		}
		end_slow(load);
	}
}

static int report(const struct load *load)
{
	const struct load_options *options = &load->options;
	uint64_t n_held = 0;
	for (uint32_t i = 0; i < load->n_started; i++) {
		n_held += load->clients[i].state == STATE_OPEN;
	}
	printf("{\"mode\": \"%s\", \"wanted\": %u, \"started\": %u, \"connected\": %llu, ",
	       options->is_idle ? "idle" : "tuples", options->n_clients, load->n_started,
	       (unsigned long long)load->n_connected);
	printf("\"held\": %llu, \"acked\": %llu, \"refused\": %llu, \"lost\": %llu, ",
	       (unsigned long long)n_held, (unsigned long long)load->n_acked,
	       (unsigned long long)load->n_refused, (unsigned long long)load->n_lost);
	printf("\"unexpected\": %llu, \"timeouts\": %llu, \"bytes_received\": %llu, ",
	       (unsigned long long)load->n_unexpected, (unsigned long long)load->n_timeouts,
	       (unsigned long long)load->bytes_received);
	if (options->pace_ms > 0) {
		pace_print(&load->pace, options->seconds);
	}
	printf("\"bytes_sent\": %llu, \"seconds\": %.3f}\n", (unsigned long long)load->bytes_sent,
	       (double)mono_diff_ms(clock_mono(), load->start) / MS_PER_SEC);
	uint64_t n_good = options->is_idle ? n_held : load->n_acked;
	return n_good == options->n_clients ? 0 : 1;
}

/* --- main ------------------------------------------------------------------------------------ */

static void on_signal(int signo)
{
	(void)signo;
	is_interrupted = 1;
}

static uint32_t raise_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0) {
		return FDS_SPARE;
	}
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	rlim_t most = limit.rlim_max > LOAD_CLIENTS_MAX ? LOAD_CLIENTS_MAX : limit.rlim_max;
	return most > 2UL * FDS_SPARE ? (uint32_t)most - FDS_SPARE : FDS_SPARE;
}

static void open_load(struct load *load)
{
	const struct load_options *options = &load->options;
	load->clients = calloc(options->n_clients, sizeof *load->clients);
	load->retries = calloc(options->n_clients, sizeof *load->retries);
	load->open_max = raise_limit();
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	load->ack_fd = -1;
	make_junk(load);
	if (options->ack_path) {
		load->ack_fd =
		        open(options->ack_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	}
	if (!load->clients || !load->retries || load->epoll < 0 ||
	    (options->ack_path && load->ack_fd < 0)) {
		perror("smtpload");
		exit(1);
	}
	load->start = clock_mono();
	load->pace.start = load->start;
	load->pace.ms = options->pace_ms;
}

int main(int argc, char **argv)
{
	static struct load load;
	struct sigaction action = {.sa_handler = on_signal};
	load_options_parse(argc, argv, &load.options);
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	(void)alarm(load.options.seconds + GRACE_SECONDS);
	open_load(&load);
	run(&load);
	int status = report(&load);
	free(load.clients);
	free(load.retries);
	close(load.epoll);
	if (load.ack_fd >= 0) {
		close(load.ack_fd);
	}
	return status;
}
