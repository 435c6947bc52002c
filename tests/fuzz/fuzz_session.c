/* Whole sessions from bytes: the first two choose class and settings, the rest are steps (bytes of
 * the client in random slices, time, a blocked or lying socket, EOF, reset, the store's answers).
 * What must hold for any input is checked here; memory errors are the sanitizers' business.
 *
 *   - a session sleeps: it never asks to be woken in the past again and again
 *   - what it says is lines of a three-digit code, blank or hyphen, text, CRLF
 *   - a tuple has three values that are not empty, without blanks and NUL, of at most 1,023 bytes
 *   - it ends, at the latest when the client does nothing any more */
#include "../smtp/driver.h"

enum {
	WAKES_AT_ONCE_MAX = 2 * DRIVER_OUTBOX_MAX, /* one line a wake would be the worst */
	WAKES_MAX = 1 << 20,
	PATIENCE_SECS = 1000,
	LONGEST_SECS = 10 * DRIVER_RECEIVED_MAX, /* each byte that the client can receive, slowly */
	TIMEOUT_MS = 5000, /* with looks of 1 ms the daemon's 400 s would take for ever */
};

struct input {
	const uint8_t *ptr;
	size_t len;
};

static uint8_t take_byte(struct input *in)
{
	if (in->len == 0) {
		return 0;
	}
	in->len--;
	return *in->ptr++;
}

static void check_value(struct span value)
{
	ASSERT(value.len > 0 && value.len <= SESSION_VALUE_MAX);
	for (size_t i = 0; i < value.len; i++) {
		ASSERT(!memchr(" \t\r\n", value.ptr[i], 5)); /* with its NUL */
	}
}

static void check_event(const struct session_event *event)
{
	if (event->kind == SESSION_EVENT_TUPLE) {
		check_value(event->helo);
		check_value(event->sender);
		check_value(event->recipient);
	}
}

static bool is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

/* All complete lines the client has received. */
static void check_received(const struct driver *driver)
{
	struct span rest = span_of(driver->received, driver->n_received);
	while (rest.len > 0 && memchr(rest.ptr, '\n', rest.len)) {
		struct span line = span_cut(rest, '\n', &rest);
		ASSERT(line.len >= 5 && line.ptr[line.len - 1] == '\r');
		ASSERT(is_digit(line.ptr[0]) && is_digit(line.ptr[1]) && is_digit(line.ptr[2]));
		ASSERT(line.ptr[3] == ' ' || line.ptr[3] == '-');
		ASSERT(!memchr(line.ptr, '\r', line.len - 1));
	}
}

static void run(struct driver *driver, uint32_t ms)
{
	struct mono_ms until = mono_ms_add(driver->now, ms);
	unsigned n_at_once = 0;
	while (!driver->is_closed && mono_ms_diff(driver->session.due, until) <= 0) {
		struct mono_ms before = driver->now;
		driver_wake(driver);
		n_at_once = before.ms == driver->now.ms ? n_at_once + 1 : 0;
		ASSERT(n_at_once < WAKES_AT_ONCE_MAX && driver->n_wakes < WAKES_MAX);
	}
	if (!driver->is_closed && mono_ms_diff(until, driver->now) > 0) {
		driver->now = until;
	}
	if (driver->n_received > DRIVER_RECEIVED_MAX - 4096) {
		check_received(driver);
		driver->is_closed = true; /* the client's memory is full */
	}
}

static void send_slice(struct driver *driver, struct input *in)
{
	size_t n = take_byte(in);
	unsigned repeat = 1U << (n >> 6 << 2); /* 1, 16, 256, 4096 times */
	n = 1 + n % 64;
	n = n < in->len ? n : in->len;
	for (unsigned i = 0; i < repeat; i++) {
		(void)driver_put(driver, span_of(in->ptr, n));
	}
	in->ptr += n;
	in->len -= n;
}

static void store(struct driver *driver, uint8_t how)
{
	if (how % 2) {
		driver_store_all(driver);
	} else if (driver->session.n_pending > 0) {
		session_stored(&driver->session, driver->now);
		driver_answer(driver);
	}
}

static void step(struct driver *driver, struct input *in)
{
	uint8_t op = take_byte(in);
	uint8_t arg = (uint8_t)(op >> 3);
	switch (op & 7U) {
	case 0:
	case 1:
	case 2:
		send_slice(driver, in);
		break;
	case 3:
		run(driver, arg * 50U);
		break;
	case 4:
		run(driver, (uint32_t)arg * arg * 100U);
		break;
	case 5:
		driver->is_blocked = arg & 1U;
		driver->is_late_news = arg & 2U;
		driver->late_ms = arg & 4U ? arg * 40U : 0;
		break;
	case 6:
		store(driver, arg);
		break;
	default:
		driver->is_eof = driver->is_eof || arg % 8 == 0;
		if (arg == 1) {
			session_dead(&driver->session);
		}
		if (arg == 2) {
			session_list(&driver->session, &driver->conf, driver->now);
		}
		if (arg == 3 && driver->session.cls == SESSION_LISTED) {
			session_stop_stutter(&driver->session);
		}
		session_classify(&driver->session, &driver->conf,
		                 (enum session_class)(arg % (SESSION_PASSIVE + 1)), driver->now);
		break;
	}
}

/* One that fits into a SMALL text, one that needs a LARGE one. */
static const struct addr CLIENT;
static const struct span SHORT_MESSAGES[] = {SPAN("Your address\\nis listed")};
static const uint8_t LONG_BYTES[1000];
static const struct span LONG_MESSAGES[] = {SPAN("%A"), {LONG_BYTES, sizeof LONG_BYTES}};
static const struct reply_lists SHORT_LISTS = {SHORT_MESSAGES, 1, 450, &CLIENT};
static const struct reply_lists LONG_LISTS = {LONG_MESSAGES, 2, 550, &CLIENT};

static void start(struct driver *driver, struct input *in)
{
	static const uint32_t stutters[] = {0, 1, 1000, 10000};
	static const uint32_t looks[] = {0, 50, 1000, 100000};
	uint8_t how = take_byte(in);
	uint8_t settings = take_byte(in);
	enum session_class cls = (enum session_class)(how % (SESSION_PASSIVE + 1));
	driver_conf(&driver->conf);
	driver->check = check_event;
	driver->conf.stutter_ms = stutters[settings & 3U];
	driver->conf.grey_stutter_ms = settings & 4U ? 10000 : 0;
	driver->conf.look_min_ms = looks[settings >> 3U & 3U];
	driver->conf.look_max_ms = looks[settings >> 5U & 3U];
	driver->conf.read_timeout_ms = driver->conf.write_timeout_ms = TIMEOUT_MS;
	driver->conf.bad_commands_max = settings & 128U ? UINT8_MAX : 20;
	driver_start(driver, cls, (struct mono_ms){(uint32_t)how << 24U});
	driver->auto_store = how >= 128;
	driver->lists = how & 64U ? LONG_LISTS : SHORT_LISTS;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct driver driver;
	struct input in = {data, size};
	driver_reset(&driver);
	start(&driver, &in);
	while (in.len > 0 && !driver.is_closed) {
		step(&driver, &in);
	}
	/* the client goes away without a word */
	driver.late_ms = 0;
	for (int i = 0; i < LONGEST_SECS / PATIENCE_SECS && !driver.is_closed; i++) {
		run(&driver, PATIENCE_SECS * MS_PER_SEC);
	}
	ASSERT(driver.is_closed);
	check_received(&driver);
	driver_stop(&driver);
	return 0;
}
