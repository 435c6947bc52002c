/* The feeder's thread, its channel, start and stop. What it sends is in feeder_send.c.
 *
 * One turn: take a new channel and new ranges, listen to the role, send. */
#include "keeper/feeder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/thread.h"
#include "keeper/feeder_impl.h"

enum {
	RECEIVE_MAX = 64,   /* messages taken before ours are sent */
	ASK_WAIT_MS = 1000, /* a new role says itself that it needs a copy; if not, it gets one */
	/* What waits in the channel delays a decision. This holds some 1,500 elements, which the
	 * kernel takes in one or two milliseconds, and keeps both sides busy. */
	CHANNEL_BYTES = 32768,
};

bool feeder_must_stop(const struct feeder *feeder)
{
	/* acquire: partner of feeder_stop */
	return atomic_load_explicit(&feeder->must_stop, memory_order_acquire);
}

/* --- the channel ------------------------------------------------------------------------------ */

/* With nothing under way, what was skipped (tuples) counts as done too. */
static uint64_t done_seq(const struct feeder *feeder)
{
	bool is_idle = feeder->n_done == feeder->n_sent && feeder->out.n_elements == 0;
	return is_idle ? feeder->cursor : feeder->n_done;
}

static void publish(struct feeder *feeder, const struct msg_figures *firewall)
{
	stopwatch_done(&feeder->stopwatch, done_seq(feeder), clock_mono(), &feeder->delay);
	(void)pthread_mutex_lock(&feeder->lock);
	if (firewall) {
		feeder->figures.firewall = *firewall;
	}
	feeder->figures.is_connected = feeder->channel >= 0;
	feeder->figures.done_seq = done_seq(feeder);
	if (!feeder->has_done) {
		feeder->figures.done_seq = 0;
		feeder->figures.firewall.is_complete = false;
	}
	(void)pthread_mutex_unlock(&feeder->lock);
}

void feeder_want_fill(struct feeder *feeder, int64_t wait_ms)
{
	if (!feeder->must_fill) {
		/* a role that got all of a copy and has not put it in yet says 0: it has nothing */
		feeder->fill_from = feeder->has_done && feeder->n_done > 0
		                            ? feeder->n_done
		                            : store_journal_last(feeder->reader);
	}
	feeder->must_fill = true;
	feeder->has_copy = false;
	feeder->has_done = false;
	stopwatch_clear(&feeder->stopwatch);
	feeder->fill_at = mono_add_ms(clock_mono(), wait_ms);
	publish(feeder, NULL);
}

static void drop_channel(struct feeder *feeder, int reason)
{
	(void)close(feeder->channel);
	feeder->channel = -1;
	feeder->must_fill = false;
	feeder_end_fill(feeder);
	feeder->has_done = false;
	stopwatch_clear(&feeder->stopwatch);
	log_info("firewall: connection to the role ended: %s", err_text(reason));
	publish(feeder, NULL);
}

static void prepare_channel(int fd)
{
	int flags = fcntl(fd, F_GETFL);
	int bytes = CHANNEL_BYTES;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) < 0) {
		log_error("firewall: channel unusable: %s", err_text(-errno));
	}
}

static void empty_eventfd(int fd)
{
	uint64_t n = 0;
	(void)!read(fd, &n, sizeof n); /* only empties it */
}

/* `control` is emptied here alone and under the lock: while it is readable there is a channel that
 * was not taken, or a stop. */
static void take_channel(struct feeder *feeder)
{
	(void)pthread_mutex_lock(&feeder->lock);
	int next = feeder->next_channel;
	feeder->next_channel = -1;
	empty_eventfd(feeder->control);
	(void)pthread_mutex_unlock(&feeder->lock);
	if (next < 0) {
		return;
	}
	if (feeder->channel >= 0) {
		(void)close(feeder->channel);
	}
	prepare_channel(next);
	feeder->channel = next;
	feeder->must_send_ranges = feeder->has_ranges;
	feeder_want_fill(feeder, ASK_WAIT_MS);
}

static void take_ranges(struct feeder *feeder)
{
	struct addr_range *unused = NULL;
	(void)pthread_mutex_lock(&feeder->lock);
	if (feeder->has_next_ranges) {
		unused = feeder->ranges;
		feeder->ranges = feeder->next_ranges;
		feeder->n_ranges = feeder->n_next_ranges;
		feeder->next_ranges = NULL;
		feeder->has_next_ranges = false;
		feeder->has_ranges = true;
		feeder->must_send_ranges = true;
	}
	(void)pthread_mutex_unlock(&feeder->lock);
	free(unused);
}

static void on_message(struct feeder *feeder, const struct msg *msg)
{
	if (msg->fd >= 0) {
		(void)close(msg->fd); /* none of these messages carries one */
	}
	if (msg->type == MSG_NEED_FILL) {
		feeder_want_fill(feeder, 0);
	} else if (msg->type == MSG_DONE) {
		feeder->n_done = msg->seq;
		feeder->has_done = feeder->has_copy;
		publish(feeder, &msg->figures);
	} else {
		log_warning("firewall: unexpected message %d dropped", (int)msg->type);
	}
}

/* Takes what has come. Negative: the channel is dead. A message that cannot be read is dropped. */
static int receive(struct feeder *feeder)
{
	for (int i = 0; i < RECEIVE_MAX; i++) {
		int ret = msg_recv(feeder->channel, &feeder->in);
		if (ret == -EAGAIN) {
			return 0;
		}
		if (ret == ERR_CLOSED || (ret < 0 && ret > ERR_SYNTAX && ret != -EINTR)) {
			return ret;
		}
		if (ret == 0) {
			on_message(feeder, &feeder->in);
		} else if (ret != -EINTR) {
			log_warning("firewall: bad message dropped: %s", err_text(ret));
		}
	}
	return 0;
}

/* Waits until the channel takes a message, listening meanwhile: the role may be blocked on what it
 * has to tell us. -ECANCELED: a stop or a new channel comes first. */
static int wait_writable(struct feeder *feeder)
{
	struct pollfd pfds[] = {
	        {.fd = feeder->channel, .events = POLLIN | POLLOUT},
	        {.fd = feeder->control, .events = POLLIN},
	};
	if (feeder_must_stop(feeder)) { /* its mark on `control` may have been emptied */
		return -ECANCELED;
	}
	if (poll(pfds, 2, -1) < 0) {
		return errno == EINTR ? 0 : -errno;
	}
	if (pfds[1].revents) {
		return -ECANCELED;
	}
	return pfds[0].revents & (POLLIN | POLLHUP | POLLERR) ? receive(feeder) : 0;
}

int feeder_wait_send(struct feeder *feeder)
{
	for (;;) {
		int ret = msg_send(feeder->channel, &feeder->out);
		if (ret != -EAGAIN && ret != -EINTR) {
			return ret;
		}
		ret = wait_writable(feeder);
		if (ret != 0) {
			return ret;
		}
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

static int wait_ms(const struct feeder *feeder)
{
	if (feeder->walk && !feeder->must_fill) {
		return 0;
	}
	if (!feeder->must_fill || feeder->channel < 0) {
		return FEEDER_RETRY_MS;
	}
	int64_t ms = mono_diff_ms(feeder->fill_at, clock_mono());
	return ms < 0 ? 0 : (int)(ms < FEEDER_RETRY_MS ? ms + 1 : FEEDER_RETRY_MS);
}

/* Sleeps; then listens. Negative: the channel is dead. */
static int wait_events(struct feeder *feeder)
{
	struct pollfd pfds[] = {
	        {.fd = feeder->control, .events = POLLIN},
	        {.fd = feeder->env.wake, .events = POLLIN},
	        {.fd = feeder->channel, .events = POLLIN},
	};
	if (poll(pfds, ARRAY_LEN(pfds), wait_ms(feeder)) <= 0) {
		return 0;
	}
	if (pfds[1].revents) {
		empty_eventfd(feeder->env.wake);
	}
	return pfds[2].revents ? receive(feeder) : 0;
}

/* Errors of the store (its codes, or no memory) leave the channel alone: the next turn tries again.
 */
static bool is_channel_error(int ret)
{
	return ret == ERR_CLOSED || ret == -EPIPE || ret == -ECONNRESET || ret == -ENOTCONN ||
	       ret == -EBADF;
}

static void turn(struct feeder *feeder)
{
	int ret = wait_events(feeder);
	if (ret != 0) {
		drop_channel(feeder, ret);
	}
	take_channel(feeder);
	take_ranges(feeder);
	if (feeder->channel < 0) {
		feeder_forget_reasserts(feeder);
		return;
	}
	ret = feeder_send_all(feeder);
	if (is_channel_error(ret)) {
		drop_channel(feeder, ret);
	} else if (ret != 0 && ret != -ECANCELED) {
		log_warning("firewall: changes could not be read or sent: %s", err_text(ret));
	}
	publish(feeder, NULL);
}

static void *feeder_main(void *arg)
{
	struct feeder *feeder = arg;
	while (!feeder_must_stop(feeder)) {
		turn(feeder);
	}
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void feeder_free(struct feeder *feeder)
{
	feeder_end_fill(feeder);
	store_reader_close(feeder->reader);
	int fds[] = {feeder->control, feeder->channel, feeder->next_channel};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0) {
			(void)close(fds[i]);
		}
	}
	free(feeder->ranges);
	free(feeder->next_ranges);
	(void)pthread_mutex_destroy(&feeder->lock);
	free(feeder);
}

int feeder_start(struct feeder **out, const struct feeder_env *env)
{
	struct feeder *feeder = aligned_alloc(_Alignof(struct feeder), sizeof *feeder);
	if (!feeder) {
		return -ENOMEM;
	}
	*feeder = (struct feeder){.env = *env, .channel = -1, .next_channel = -1};
	(void)pthread_mutex_init(&feeder->lock, NULL);
	feeder->control = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int ret = feeder->control < 0 ? -errno : 0;
	ret = ret ? ret : store_reader_open(env->store, &feeder->reader);
	ret = ret ? ret : thread_start(&feeder->thread, "feeder", feeder_main, feeder);
	if (ret != 0) {
		feeder_free(feeder);
		return ret;
	}
	*out = feeder;
	return 0;
}

static void poke(struct feeder *feeder)
{
	uint64_t one = 1;
	(void)!write(feeder->control, &one, sizeof one); /* full means readable already */
}

void feeder_stop(struct feeder *feeder)
{
	if (!feeder) {
		return;
	}
	/* release: partner of must_stop */
	atomic_store_explicit(&feeder->must_stop, true, memory_order_release);
	poke(feeder);
	(void)pthread_join(feeder->thread, NULL);
	feeder_free(feeder);
}

void feeder_set_channel(struct feeder *feeder, int fd)
{
	(void)pthread_mutex_lock(&feeder->lock);
	int unused = feeder->next_channel;
	feeder->next_channel = fd;
	poke(feeder);
	(void)pthread_mutex_unlock(&feeder->lock);
	if (unused >= 0) {
		(void)close(unused);
	}
}

/* Wakes by `wake`: a mark on `control` would end a copy under way. */
void feeder_set_ranges(struct feeder *feeder, struct addr_range *ranges, size_t n)
{
	uint64_t one = 1;
	(void)pthread_mutex_lock(&feeder->lock);
	struct addr_range *unused = feeder->next_ranges;
	feeder->next_ranges = ranges;
	feeder->n_next_ranges = n;
	feeder->has_next_ranges = true;
	(void)pthread_mutex_unlock(&feeder->lock);
	free(unused);
	(void)!write(feeder->env.wake, &one, sizeof one); /* full means readable already */
}

void feeder_figures_get(struct feeder *feeder, struct feeder_figures *out)
{
	(void)pthread_mutex_lock(&feeder->lock);
	*out = feeder->figures;
	(void)pthread_mutex_unlock(&feeder->lock);
	latency_figures_get(&feeder->delay, &out->delay);
	out->delay_p50_ms = latency_quantile_ms(&feeder->delay, 0.50);
	out->delay_p99_ms = latency_quantile_ms(&feeder->delay, 0.99);
}

const struct counters *feeder_counters(const struct feeder *feeder)
{
	return &feeder->counters;
}
