/* mired-setup: fetches the lists of spamd.conf and gives them to the running mired. The order of
 * setup() is what keeps rights apart: the helpers are forked first, with nothing open; then what
 * only the caller may read is opened; then the caller's rights go for good, and only after that is
 * anything read that was written elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "conf/conf.h"
#include "lists/capfile.h"
#include "mired-setup/bytes.h"
#include "mired-setup/fetcher.h"
#include "mired-setup/options.h"
#include "mired-setup/run.h"
#include "mired-setup/say.h"
#include "mired-setup/sender.h"
#include "mired-setup/source.h"
#include "priv/place.h"
#include "priv/sandbox.h"

enum { CAPFILE_BYTES_MAX = 1 << 20, USER_NAME_MAX = 64 };

struct setup {
	struct options options;
	struct conf conf;
	struct capfile capfile;
	struct source *sources;
	char user[USER_NAME_MAX];       /* who the program becomes */
	char fetch_user[USER_NAME_MAX]; /* who the fetcher becomes */
	struct fetcher *fetcher;
	struct sender *sender;
	int copies;
	int lock;
};

/* --- configuration ---------------------------------------------------------------------------- */

static int read_capfile(struct setup *setup)
{
	const char *path = setup->conf.lists_file;
	char why[CAPFILE_WHY_MAX] = "";
	struct bytes bytes = {.ptr = NULL};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int ret = fd < 0 ? -errno : bytes_read_fd(&bytes, fd, CAPFILE_BYTES_MAX);
	ret = ret ? ret : capfile_parse(bytes_span(&bytes), &setup->capfile, why);
	if (fd >= 0) {
		(void)close(fd);
	}
	bytes_fini(&bytes);
	if (ret) {
		say_error("%s: %s", path, why[0] ? why : err_text(ret));
	}
	return ret;
}

static int describe_sources(struct setup *setup)
{
	setup->sources = calloc(setup->capfile.n + 1, sizeof *setup->sources);
	int ret = setup->sources ? 0 : -ENOMEM;
	for (size_t i = 0; i < setup->capfile.n && ret == 0; i++) {
		const struct capfile_list *list = &setup->capfile.lists[i];
		ret = source_describe(list, &setup->sources[i]);
		if (ret) {
			char name[2 * USER_NAME_MAX];
			say_error("%s: list %s: %s", setup->conf.lists_file,
			          span_escape(span_of_str(list->name), name, sizeof name),
			          setup->sources[i].why);
		}
	}
	return ret;
}

static int read_configuration(struct setup *setup)
{
	char why[CONF_ERROR_MAX];
	struct conf_cli cli = {.check_only = false};
	int ret = conf_load(&setup->conf, &cli, setup->options.config, 0, NULL, why);
	if (ret) {
		say_error("%s", why);
		return ret;
	}
	say_configured(&setup->conf);
	if (setup->options.is_blacklist_only && !setup->conf.blacklist_only) {
		say_warning("-b has no effect: the configuration does not say blacklist-only");
	}
	ret = read_capfile(setup);
	return ret ? ret : describe_sources(setup);
}

/* --- rights ----------------------------------------------------------------------------------- */

/* Who may change users works as those of the configuration; anybody else as himself. */
static int choose_users(struct setup *setup)
{
	const char *user = setup->conf.user;
	const char *fetch_user = setup->conf.fetch_user;
	if (!sandbox_can_change_user()) {
		const struct passwd *self = getpwuid(geteuid());
		if (!self) {
			say_error("user %u has no name", (unsigned)geteuid());
			return ERR_NOT_FOUND;
		}
		user = fetch_user = self->pw_name;
	}
	(void)snprintf(setup->user, sizeof setup->user, "%s", user);
	(void)snprintf(setup->fetch_user, sizeof setup->fetch_user, "%s", fetch_user);
	return 0;
}

/* The state directory belongs to the user, whoever starts first: daemon or this. */
static int make_state_dir(const struct setup *setup)
{
	char why[PLACE_WHY_MAX];
	const struct passwd *user = getpwnam(setup->user);
	if (!user) {
		say_error("user %s of the configuration does not exist", setup->user);
		return ERR_NOT_FOUND;
	}
	int ret = place_state_dir(setup->conf.state_dir, user->pw_uid, user->pw_gid, why);
	if (ret) {
		say_error("%s", why);
	}
	return ret;
}

static int start_helpers(struct setup *setup)
{
	char why[FETCHER_WHY_MAX] = "";
	struct fetcher_conf fetcher_conf = {.user = setup->fetch_user,
	                                    .bytes_max = setup->conf.list_bytes_max,
	                                    .timeout_ms = setup->conf.list_timeout_ms};
	int ret = fetcher_start(&fetcher_conf, &setup->fetcher, why);
	if (ret) {
		say_error("cannot fetch as user %s: %s", setup->fetch_user, why);
		return ret;
	}
	ret = setup->options.is_dry ? 0 : sender_start(setup->conf.control_socket, &setup->sender);
	if (ret) {
		say_error("cannot start a process: %s", err_text(ret));
	}
	return ret;
}

static void open_sources(struct setup *setup)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max; /* each local list is held open */
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	for (size_t i = 0; i < setup->capfile.n; i++) {
		source_open(&setup->sources[i]);
	}
}

static int drop_rights(const struct setup *setup)
{
	char why[SANDBOX_WHY_MAX];
	int ret = sandbox_drop(setup->user, false, why);
	if (ret) {
		say_error("cannot become user %s: %s", setup->user, why);
	}
	return ret;
}

/* Without a directory of copies a dry run goes on; a real one does not. */
static int open_copies(struct setup *setup)
{
	char why[COPY_WHY_MAX];
	bool is_dry = setup->options.is_dry;
	int ret = copy_dir_open(setup->conf.state_dir, !is_dry, &setup->copies, why);
	if (is_dry) {
		return 0;
	}
	if (ret) {
		say_error("%s", why);
		return ret;
	}
	ret = copy_dir_lock(setup->copies, &setup->lock);
	if (ret) {
		say_error("%s/lists/fetched/lock: %s", setup->conf.state_dir,
		          ret == ERR_BUSY ? "another mired-setup is at work" : err_text(ret));
	}
	return ret;
}

/* --- the program ------------------------------------------------------------------------------ */

static int detach(const struct setup *setup)
{
	if (setup->options.is_detached) {
		if (daemon(1, 0) != 0) {
			say_error("cannot detach: %s", strerror(errno));
			return -errno;
		}
		say_detached();
	}
	(void)umask(027);
	return chdir("/") == 0 ? 0 : -errno;
}

static int prepare(struct setup *setup)
{
	int ret = read_configuration(setup);
	ret = ret ? ret : choose_users(setup);
	ret = ret ? ret : detach(setup);
	ret = ret ? ret : setup->options.is_dry ? 0 : make_state_dir(setup);
	ret = ret ? ret : start_helpers(setup);
	if (ret) {
		return ret;
	}
	open_sources(setup);
	ret = drop_rights(setup);
	return ret ? ret : open_copies(setup);
}

static enum run_exit run(struct setup *setup)
{
	struct obtain_env env = {.conf = &setup->conf,
	                         .fetcher = setup->fetcher,
	                         .copies = setup->copies,
	                         .is_kept = !setup->options.is_dry};
	return run_lists(&env, setup->sender, setup->sources, setup->capfile.n);
}

static void clean_up(struct setup *setup)
{
	fetcher_stop(setup->fetcher);
	sender_stop(setup->sender);
	for (size_t i = 0; setup->sources && i < setup->capfile.n; i++) {
		source_close(&setup->sources[i]);
	}
	free(setup->sources);
	capfile_fini(&setup->capfile);
	conf_fini(&setup->conf);
	if (setup->lock >= 0) {
		(void)close(setup->lock);
	}
	if (setup->copies >= 0) {
		(void)close(setup->copies);
	}
}

int main(int argc, char **argv)
{
	struct setup setup = {.copies = -1, .lock = -1};
	if (options_parse(argc, argv, &setup.options) != 0) {
		options_print_usage(stderr);
		return RUN_FATAL;
	}
	if (setup.options.is_help) {
		options_print_usage(stdout);
		return fflush(stdout) == 0 ? RUN_OK : RUN_FATAL;
	}
	if (setup.options.is_version) {
		return puts("mired-setup " MIRED_VERSION) >= 0 && fflush(stdout) == 0 ? RUN_OK
		                                                                      : RUN_FATAL;
	}
	(void)signal(SIGPIPE, SIG_IGN); /* stderr may go away */
	say_open(setup.options.is_debug);
	enum run_exit status = prepare(&setup) == 0 ? run(&setup) : RUN_FATAL;
	clean_up(&setup);
	return status;
}
