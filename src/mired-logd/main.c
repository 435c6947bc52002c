/* mired-logd, the counterpart of spamlogd(8): binds the log groups as root, gives up every right,
 * then reads. Two threads: this one reads and counts, the reporter talks to the daemon. */
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "conf/conf.h"
#include "conf/conf_log.h"
#include "mired-logd/herald.h"
#include "mired-logd/nflog.h"
#include "mired-logd/options.h"
#include "mired-logd/packet.h"
#include "mired-logd/reporter.h"
#include "priv/sandbox.h"

enum {
	READ_MAX = 64,       /* datagrams before signals get their turn */
	TURN_MS = 1000,      /* the loop looks after its figures this often at least */
	INDEX_MS = 1000,     /* an interface may come back with another index */
	LOST_LOG_MS = 10000, /* losses are said this often at most */
};

struct logd {
	struct options options;
	struct conf conf;
	struct nflog *nflog;
	struct herald *herald;               /* NULL: no peers, or no key */
	char herald_why[SYNC_SETUP_WHY_MAX]; /* why there is none though it is wanted, or "" */
	struct reporter *reporter;
	int signals;
	struct mono now;
	uint32_t interface; /* index of -i; 0 = not there at present */
	struct mono index_due;
	uint64_t n_ignored; /* other interfaces, no mail server's address, not TCP */
	uint64_t n_lost_said;
	struct mono lost_due;
};

static int complain(const char *why)
{
	(void)fprintf(stderr, "mired-logd: %s\n", why);
	return EXIT_FAILURE;
}

/* --- messages --------------------------------------------------------------------------------- */

static bool is_wanted(struct logd *logd, const struct nflog_packet *packet)
{
	if (!logd->options.interface) {
		return true;
	}
	if (packet->interface != logd->interface && logd->now.ns >= logd->index_due.ns) {
		logd->interface = if_nametoindex(logd->options.interface);
		logd->index_due = mono_add_ms(logd->now, INDEX_MS);
	}
	return packet->interface != 0 && packet->interface == logd->interface;
}

static void on_packet(void *ctx, const struct nflog_packet *packet)
{
	struct logd *logd = ctx;
	struct addr addr;
	char text[ADDR_TEXT_MAX];
	if (!is_wanted(logd, packet) ||
	    packet_peer(packet->payload, packet->is_outbound, &addr) != 0) {
		logd->n_ignored++;
		return;
	}
	if (log_takes(LOG_EVENT_seen)) {
		const struct log_fields fields = {.client = addr_format(&addr, text)};
		log_event(LOG_EVENT_seen, &fields, "%s %s",
		          packet->is_outbound ? "outbound" : "inbound", text);
	}
	reporter_add(logd->reporter, &addr, packet->is_outbound);
}

static void say_losses(struct logd *logd)
{
	struct nflog_figures figures;
	nflog_figures_get(logd->nflog, &figures);
	if (figures.n_lost == logd->n_lost_said || logd->now.ns < logd->lost_due.ns) {
		return;
	}
	log_warning("the kernel dropped %llu log messages (%llu since the start): the next mail of "
	            "those hosts counts again",
	            (unsigned long long)(figures.n_lost - logd->n_lost_said),
	            (unsigned long long)figures.n_lost);
	logd->n_lost_said = figures.n_lost;
	logd->lost_due = mono_add_ms(logd->now, LOST_LOG_MS);
}

static void say_figures(const struct logd *logd, const struct reporter_figures *reports)
{
	struct nflog_figures nflog;
	nflog_figures_get(logd->nflog, &nflog);
	log_info("messages %llu, lost %llu, overruns %llu, ignored %llu, reported %llu, forgotten "
	         "%llu, refused %llu, told %llu, untold %llu",
	         (unsigned long long)nflog.n_messages, (unsigned long long)nflog.n_lost,
	         (unsigned long long)nflog.n_overruns, (unsigned long long)logd->n_ignored,
	         (unsigned long long)reports->n_reported, (unsigned long long)reports->n_forgotten,
	         (unsigned long long)reports->n_refused,
	         (unsigned long long)reports->told.n_datagrams,
	         (unsigned long long)reports->told.n_failures);
}

/* --- running ---------------------------------------------------------------------------------- */

/* False: it is time to end. */
static bool take_signal(const struct logd *logd)
{
	struct signalfd_siginfo info;
	if (read(logd->signals, &info, sizeof info) != (ssize_t)sizeof info) {
		return true;
	}
	if (info.ssi_signo == SIGUSR1) {
		struct reporter_figures reports;
		reporter_figures_get(logd->reporter, &reports);
		say_figures(logd, &reports);
		return true;
	}
	if (info.ssi_signo == SIGHUP) {
		log_warning("SIGHUP: the configuration is read at start only; restart mired-logd");
		return true;
	}
	return false;
}

static int run(struct logd *logd)
{
	struct pollfd polls[] = {
	        {.fd = nflog_socket(logd->nflog), .events = POLLIN},
	        {.fd = logd->signals, .events = POLLIN},
	};
	for (;;) {
		int n = poll(polls, ARRAY_LEN(polls), TURN_MS);
		logd->now = clock_mono();
		if (n > 0 && polls[1].revents && !take_signal(logd)) {
			return EXIT_SUCCESS;
		}
		/* POLLERR: the kernel had to drop; reading takes the error away */
		int ret = n > 0 && polls[0].revents ? nflog_read(logd->nflog, READ_MAX) : 0;
		if (ret != 0) {
			log_error("reading the kernel's log: %s", err_text(ret));
			return EXIT_FAILURE;
		}
		say_losses(logd);
	}
}

/* --- starting --------------------------------------------------------------------------------- */

static int open_signals(void)
{
	static const int wanted[] = {SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGHUP};
	sigset_t set;
	(void)sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		(void)sigaddset(&set, wanted[i]);
	}
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	(void)sigaction(SIGPIPE, &ignore, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* What the command line says wins; -l with one group says nothing about the other. */
static struct nflog_options groups_of(const struct logd *logd)
{
	const struct options *options = &logd->options;
	const struct conf *conf = &logd->conf;
	return (struct nflog_options){
	        .group_in = options->has_groups ? options->group_in : conf->nflog_in,
	        .group_out = options->has_group_out ? options->group_out : conf->nflog_out,
	        .has_out = !options->is_inbound_only,
	        .handler = on_packet,
	};
}

/* Peers come from -Y, as with spamlogd; those of the configuration count when it says so. Without
 * a key the whitelist here is kept alive all the same. */
static int open_herald(struct logd *logd)
{
	const struct options *options = &logd->options;
	const struct conf *conf = &logd->conf;
	bool has_own = options->n_peers > 0 || !conf->logd_sync;
	size_t n_targets = has_own ? options->n_peers : conf->n_sync_peers;
	if (n_targets == 0) {
		return EXIT_SUCCESS;
	}
	int ret = herald_open(&logd->herald, conf, has_own ? options->peers : conf->sync_peers,
	                      n_targets, logd->herald_why);
	return ret == 0 || ret == ERR_NOT_FOUND ? EXIT_SUCCESS : complain(logd->herald_why);
}

/* Everything that needs root, and then no more root. */
static int open_and_drop(struct logd *logd)
{
	char why[NFLOG_WHY_MAX] = "";
	char sandbox_why[SANDBOX_WHY_MAX] = "";
	struct nflog_options groups = groups_of(logd);
	groups.ctx = logd;
	if (groups.has_out && groups.group_in == groups.group_out) {
		return complain("both NFLOG groups are the same");
	}
	if (nflog_open_groups(&logd->nflog, &groups, why) != 0) {
		return complain(why);
	}
	if (open_herald(logd) != EXIT_SUCCESS) {
		return EXIT_FAILURE;
	}
	if (sandbox_drop(logd->conf.logd_user, false, sandbox_why) != 0) {
		return complain(sandbox_why);
	}
	return EXIT_SUCCESS;
}

static int serve(struct logd *logd)
{
	const int64_t asked_secs = logd->options.whiteexp_secs;
	const struct reporter_options reports = {.socket = logd->conf.control_socket,
	                                         .interval_ms = logd->conf.seen_ms,
	                                         .life_secs = asked_secs ? asked_secs
	                                                                 : logd->conf.whiteexp_secs,
	                                         .herald = logd->herald};
	int ret = reporter_start(&logd->reporter, &reports);
	if (ret != 0) {
		log_error("the reporting thread: %s", err_text(ret));
		return EXIT_FAILURE;
	}
	if (logd->herald_why[0]) {
		log_error("%s; peers are not told", logd->herald_why);
	}
	log_info("listening on %s%s%s", logd->options.interface ? "" : "all interfaces",
	         logd->options.interface ? logd->options.interface : "",
	         logd->options.is_inbound_only ? ", inbound direction only" : "");
	(void)sd_notify(0, "READY=1");
	int status = run(logd);
	struct reporter_figures last;
	reporter_stop(logd->reporter, &last);
	say_figures(logd, &last);
	return status;
}

static int start(struct logd *logd)
{
	struct log_options log = conf_log_options(&logd->conf, "mired-logd");
	log.target = logd->options.is_foreground ? LOG_TARGET_STDERR : log.target;
	int status = open_and_drop(logd);
	if (status != EXIT_SUCCESS) {
		return status;
	}
	logd->signals = open_signals(); /* before there are threads that inherit what is blocked */
	int ret = logd->signals < 0 ? -errno : log_open(&log);
	if (ret != 0) {
		return complain(err_text(ret));
	}
	status = serve(logd);
	log_close();
	return status;
}

int main(int argc, char **argv)
{
	struct logd logd = {.signals = -1};
	char why[OPTIONS_WHY_MAX] = "";
	char conf_why[CONF_ERROR_MAX] = "";
	if (options_parse(argc, argv, &logd.options, why) != 0) {
		if (*why) {
			(void)complain(why);
		}
		(void)fputs(options_usage, stderr);
		return EXIT_FAILURE;
	}
	if (logd.options.is_help || logd.options.is_version) {
		(void)fputs(logd.options.is_help ? options_usage : "mired-logd " MIRED_VERSION "\n",
		            stdout);
		return EXIT_SUCCESS;
	}
	if (conf_load(&logd.conf, NULL, logd.options.config, 0, NULL, conf_why) != 0) {
		return complain(conf_why);
	}
	int status = start(&logd);
	nflog_close_groups(logd.nflog);
	herald_close(logd.herald);
	if (logd.signals >= 0) {
		(void)close(logd.signals);
	}
	conf_fini(&logd.conf);
	return status;
}
