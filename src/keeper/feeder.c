/* The feeder's thread. Everything without _Atomic belongs to it, but for what the lock covers.
 *
 * One turn: take a new channel, listen to the role, send a complete copy if it asked for one, then
 * what is in `reasserts`, then the journal behind the cursor. The order of the last two matters: a
 * host is looked up when its re-assertion is sent, so a deletion committed later is behind the
 * cursor and goes out later. */
#include "keeper/feeder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/thread.h"
#include "keeper/keeper.h"

enum {
	CHANGES_MAX = 512,    /* journal rows read in one go */
	REASSERTS_MAX = 1000, /* sent before the journal's turn */
	RECEIVE_MAX = 64,     /* messages taken before ours are sent */
	ASK_WAIT_MS = 1000,   /* a new role says itself that it needs a copy; if not, it gets one */
	RETRY_MS = 1000,      /* after the store could not be read */
	BACKSTOP_SECS = 3600, /* the kernel keeps an element longer than the store its host */
	ELEMENT_WHITE = 0,    /* enum fw_set's numbers, see struct msg_element */
	ELEMENT_GREYTRAP = 1,
};

struct feeder {
	struct counters counters;
	struct feeder_env env;
	pthread_t thread;
	int control; /* eventfd: must_stop or next_channel changed */
	_Atomic bool must_stop;
	pthread_mutex_t lock; /* the two fields below; nothing else is taken under it */
	int next_channel;     /* -1 = none */
	struct feeder_figures figures;

	struct store_reader *reader;
	int channel; /* -1 = no role */
	bool must_fill;
	bool has_copy; /* a complete copy was sent since the role asked for one */
	bool has_done; /* and it has answered since */
	struct mono fill_at;
	uint64_t cursor; /* the journal is sent up to here */
	uint64_t n_sent; /* messages that will be answered by MSG_DONE carry this seq at most */
	uint64_t n_done; /* seq of the last MSG_DONE */
	struct msg out;  /* being gathered */
	struct msg in;
	struct journal_change changes[CHANGES_MAX];
};

static bool must_stop(const struct feeder *feeder)
{
	/* acquire: partner of feeder_stop */
	return atomic_load_explicit(&feeder->must_stop, memory_order_acquire);
}

/* --- the channel ------------------------------------------------------------------------------ */

static void publish(struct feeder *feeder, const struct msg_figures *firewall)
{
	(void)pthread_mutex_lock(&feeder->lock);
	if (firewall) {
		feeder->figures.firewall = *firewall;
	}
	feeder->figures.is_connected = feeder->channel >= 0;
	/* with nothing under way, what was skipped (tuples) counts as done too */
	feeder->figures.done_seq =
	        feeder->n_done == feeder->n_sent ? feeder->cursor : feeder->n_done;
	if (!feeder->has_done) {
		feeder->figures.done_seq = 0;
		feeder->figures.firewall.is_complete = false;
	}
	(void)pthread_mutex_unlock(&feeder->lock);
}

/* Nothing is known of the kernel's sets until a copy has arrived there. */
static void want_fill(struct feeder *feeder, int64_t wait_ms)
{
	feeder->must_fill = true;
	feeder->has_copy = false;
	feeder->has_done = false;
	feeder->fill_at = mono_add_ms(clock_mono(), wait_ms);
	publish(feeder, NULL);
}

static void drop_channel(struct feeder *feeder, int reason)
{
	(void)close(feeder->channel);
	feeder->channel = -1;
	feeder->must_fill = false;
	feeder->has_done = false;
	log_info("firewall: connection to the role ended: %s", err_text(reason));
	publish(feeder, NULL);
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
	int flags = fcntl(next, F_GETFL);
	if (flags < 0 || fcntl(next, F_SETFL, flags | O_NONBLOCK) < 0) {
		log_error("firewall: channel unusable: %s", err_text(-errno));
	}
	feeder->channel = next;
	want_fill(feeder, ASK_WAIT_MS);
}

static void on_message(struct feeder *feeder, const struct msg *msg)
{
	if (msg->fd >= 0) {
		(void)close(msg->fd); /* none of these messages carries one */
	}
	if (msg->type == MSG_NEED_FILL) {
		want_fill(feeder, 0);
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
	if (must_stop(feeder)) { /* its mark on `control` may have been emptied */
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

static int wait_send(struct feeder *feeder)
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

/* --- gathering elements ----------------------------------------------------------------------- */

static void out_begin(struct feeder *feeder, enum msg_type type)
{
	feeder->out.type = type;
	feeder->out.n_elements = 0;
	feeder->out.fd = -1;
}

/* Sends what was gathered and begins anew. The sequence number says how far the journal is covered.
 */
static int out_flush(struct feeder *feeder)
{
	if (feeder->out.n_elements == 0) {
		return 0;
	}
	feeder->out.seq = feeder->cursor;
	int ret = wait_send(feeder);
	if (ret == 0 && feeder->out.type == MSG_CHANGES) {
		feeder->n_sent = feeder->cursor;
		counters_add(&feeder->counters, COUNTER_fw_changes_sent, feeder->out.n_elements);
	} else if (feeder->out.type == MSG_CHANGES) {
		want_fill(feeder, RETRY_MS); /* these are lost, and the cursor is behind them */
	}
	feeder->out.n_elements = 0;
	return ret;
}

static int out_add(struct feeder *feeder, const struct msg_element *element)
{
	feeder->out.elements[feeder->out.n_elements++] = *element;
	return feeder->out.n_elements == MSG_ELEMENTS_MAX ? out_flush(feeder) : 0;
}

static int64_t life_now_secs(const struct feeder *feeder)
{
	/* relaxed: a turn's delay of this clock is nothing against the backstop */
	return feeder->env.life_now_secs
	               ? atomic_load_explicit(feeder->env.life_now_secs, memory_order_relaxed)
	               : clock_wall().secs;
}

/* The element of a host that lives until `expire`; false when it lives no more, or is of a kind the
 * kernel does not know. */
static bool live_element(const struct feeder *feeder, unsigned kind, struct wall expire,
                         struct msg_element *out)
{
	int64_t left_secs = expire.secs - life_now_secs(feeder);
	if ((kind != RECORD_WHITE && kind != RECORD_TRAPPED) || left_secs <= 0) {
		return false;
	}
	int64_t timeout = left_secs + BACKSTOP_SECS;
	out->timeout_secs = timeout > UINT32_MAX ? UINT32_MAX : (uint32_t)timeout;
	out->set = kind == RECORD_WHITE ? ELEMENT_WHITE : ELEMENT_GREYTRAP;
	out->is_deleted = false;
	return true;
}

/* --- complete copy ---------------------------------------------------------------------------- */

static int fill_rows(struct feeder *feeder, const struct store_row *rows, int n)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		struct msg_element element = {.addr = rows[i].key.addr};
		if (live_element(feeder, rows[i].kind, rows[i].record.expire, &element)) {
			ret = out_add(feeder, &element);
		}
	}
	return ret;
}

/* The slices are copies: no transaction of the store is open while the channel blocks. */
static int fill_hosts(struct feeder *feeder)
{
	struct store_walk *walk = store_walk_new(feeder->reader, STORE_WALK_HOSTS, NULL, NULL);
	if (!walk) {
		return -ENOMEM;
	}
	const struct store_row *rows = NULL;
	int n = store_walk_next(walk, &rows, NULL);
	int ret = 0;
	while (n > 0 && ret == 0) {
		ret = fill_rows(feeder, rows, n);
		if (ret == 0) {
			n = store_walk_next(walk, &rows, NULL);
		}
	}
	store_walk_free(walk);
	return ret ? ret : n;
}

static int send_mark(struct feeder *feeder, enum msg_type type)
{
	out_begin(feeder, type);
	feeder->out.seq = feeder->cursor;
	return wait_send(feeder);
}

/* The journal's number is taken first: what is committed during the walk is sent again after it,
 * which changes nothing where the walk has seen it. */
static int fill(struct feeder *feeder)
{
	feeder->must_fill = false; /* a role that asks again meanwhile gets another one */
	feeder->cursor = store_journal_last(feeder->reader);
	int ret = send_mark(feeder, MSG_FILL_BEGIN);
	if (ret == 0) {
		out_begin(feeder, MSG_FILL);
		ret = fill_hosts(feeder);
		ret = ret ? ret : out_flush(feeder);
	}
	ret = ret ? ret : send_mark(feeder, MSG_FILL_END);
	if (ret == 0) {
		feeder->n_sent = feeder->cursor;
		feeder->has_copy = !feeder->must_fill;
		counters_add(&feeder->counters, COUNTER_fw_fills, 1);
		return 0;
	}
	feeder->must_fill = true;
	feeder->fill_at = mono_add_ms(clock_mono(), RETRY_MS);
	return ret;
}

/* --- changes ---------------------------------------------------------------------------------- */

static int send_reassert(struct feeder *feeder, const struct addr *addr)
{
	struct msg_element element = {.addr = *addr};
	struct grey_record record;
	int ret = store_reader_host(feeder->reader, addr, RECORD_WHITE, &record);
	if (ret <= 0 || !live_element(feeder, RECORD_WHITE, record.expire, &element)) {
		return ret < 0 ? ret : 0;
	}
	return out_add(feeder, &element);
}

/* One whose host cannot be read is dropped: a host that stays unreadable must not hold up the
 * journal, and the keeper asks again. */
static int send_reasserts(struct feeder *feeder)
{
	size_t len = 0;
	int ret = 0;
	const struct keeper_reassert *reassert = mailbox_peek(feeder->env.reasserts, &len);
	for (int i = 0; i < REASSERTS_MAX && reassert && ret == 0; i++) {
		ret = send_reassert(feeder, &reassert->addr);
		mailbox_release(feeder->env.reasserts);
		reassert = mailbox_peek(feeder->env.reasserts, &len);
	}
	int flushed = out_flush(feeder); /* nothing is left to send where out_add failed */
	return flushed ? flushed : ret;
}

static int send_change(struct feeder *feeder, const struct journal_change *change)
{
	struct msg_element element = {.addr = change->addr};
	feeder->cursor = change->seq;
	if (live_element(feeder, change->kind, change->expire, &element)) {
		element.is_deleted = change->is_deleted;
		return out_add(feeder, &element);
	}
	bool is_host = change->kind == RECORD_WHITE || change->kind == RECORD_TRAPPED;
	if (!is_host || !change->is_deleted) {
		return 0; /* tuples; hosts whose life ended: the kernel's timeout ends them too */
	}
	element.set = change->kind == RECORD_WHITE ? ELEMENT_WHITE : ELEMENT_GREYTRAP;
	element.is_deleted = true;
	return out_add(feeder, &element);
}

static int send_changes(struct feeder *feeder, int n)
{
	int ret = 0;
	for (int i = 0; i < n && ret == 0; i++) {
		ret = send_change(feeder, &feeder->changes[i]);
	}
	return ret;
}

/* Everything behind the cursor, in the journal's order: a deletion and a later return of the same
 * host arrive as they happened. */
static int send_journal(struct feeder *feeder)
{
	int n = 0;
	int ret = 0;
	do {
		n = store_journal_read(feeder->reader, feeder->cursor, feeder->changes,
		                       CHANGES_MAX);
		ret = send_changes(feeder, n);
		if (ret != 0) {
			return ret;
		}
	} while (n > 0 && !feeder->must_fill && !must_stop(feeder));
	ret = out_flush(feeder);
	if (n == ERR_NOT_FOUND) {
		log_warning("firewall: the journal no longer reaches back to change %llu: a "
		            "complete copy follows",
		            (unsigned long long)feeder->cursor);
		counters_add(&feeder->counters, COUNTER_fw_feed_behind, 1);
		want_fill(feeder, 0);
		return ret;
	}
	return ret ? ret : n < 0 ? n : 0;
}

/* Without a role they are worth nothing: a new one gets a complete copy. */
static void forget_reasserts(struct feeder *feeder)
{
	size_t len = 0;
	while (mailbox_peek(feeder->env.reasserts, &len)) {
		mailbox_release(feeder->env.reasserts);
	}
}

/* --- the loop --------------------------------------------------------------------------------- */

static int wait_ms(const struct feeder *feeder)
{
	if (!feeder->must_fill || feeder->channel < 0) {
		return RETRY_MS;
	}
	int64_t ms = mono_diff_ms(feeder->fill_at, clock_mono());
	return ms < 0 ? 0 : (int)(ms < RETRY_MS ? ms + 1 : RETRY_MS);
}

/* Sleeps; then listens. Negative: the channel is dead. */
static int wait_events(struct feeder *feeder)
{
	struct pollfd pfds[] = {
	        {.fd = feeder->control, .events = POLLIN},
	        {.fd = feeder->env.wake, .events = POLLIN},
	        {.fd = feeder->channel, .events = POLLIN},
	};
	if (poll(pfds, 3, wait_ms(feeder)) <= 0) {
		return 0;
	}
	if (pfds[1].revents) {
		empty_eventfd(feeder->env.wake);
	}
	return pfds[2].revents ? receive(feeder) : 0;
}

static int send_all(struct feeder *feeder)
{
	int ret = 0;
	if (feeder->must_fill) {
		if (clock_mono().ns < feeder->fill_at.ns) {
			return 0;
		}
		ret = fill(feeder);
	}
	out_begin(feeder, MSG_CHANGES);
	ret = ret ? ret : send_reasserts(feeder);
	ret = ret ? ret : send_journal(feeder);
	return ret;
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
	if (feeder->channel < 0) {
		forget_reasserts(feeder);
		return;
	}
	ret = send_all(feeder);
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
	while (!must_stop(feeder)) {
		turn(feeder);
	}
	return NULL;
}

/* --- start and stop --------------------------------------------------------------------------- */

static void feeder_free(struct feeder *feeder)
{
	store_reader_close(feeder->reader);
	int fds[] = {feeder->control, feeder->channel, feeder->next_channel};
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (fds[i] >= 0) {
			(void)close(fds[i]);
		}
	}
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

void feeder_figures_get(struct feeder *feeder, struct feeder_figures *out)
{
	(void)pthread_mutex_lock(&feeder->lock);
	*out = feeder->figures;
	(void)pthread_mutex_unlock(&feeder->lock);
}

const struct counters *feeder_counters(const struct feeder *feeder)
{
	return &feeder->counters;
}
