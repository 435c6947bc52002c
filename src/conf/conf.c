/* Where the configuration comes from, in order: defaults, file, options, what is found out. And
 * where it goes: the effective file, the help text, the example. */
#include "conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "conf/schema.h"
#include "mired/names.h"

enum { FILE_BYTES_MAX = 256 * 1024 };

static int refuse_file(int code, const char *label, char why[static CONF_ERROR_MAX])
{
	(void)snprintf(why, CONF_ERROR_MAX, "%.300s: %s", label, err_text(code));
	return code;
}

static int check_file_kind(int fd, size_t *size)
{
	struct stat st;
	if (fstat(fd, &st) != 0) {
		return -errno;
	}
	if (S_ISDIR(st.st_mode)) {
		return -EISDIR;
	}
	if (!S_ISREG(st.st_mode)) {
		return ERR_UNSUPPORTED;
	}
	*size = (size_t)st.st_size;
	return st.st_size > FILE_BYTES_MAX ? ERR_TOO_LONG : 0;
}

/* Reads up to size bytes from the start of the file; *len is what there was. */
static int read_bytes(int fd, char *text, size_t size, size_t *len)
{
	for (*len = 0; *len < size;) {
		ssize_t n = pread(fd, text + *len, size - *len, (off_t)*len);
		if (n < 0 && errno != EINTR) {
			return errno > 0 ? -errno : -EIO;
		}
		if (n == 0) {
			break; /* it became shorter */
		}
		*len += n > 0 ? (size_t)n : 0;
	}
	text[*len] = '\0';
	return 0;
}

static int load_open_file(struct conf *conf, int fd, const char *label,
                          char why[static CONF_ERROR_MAX])
{
	size_t size = 0;
	size_t len = 0;
	int ret = check_file_kind(fd, &size);
	char *text = ret == 0 ? malloc(size + 1) : NULL;
	if (ret == 0) {
		ret = text ? read_bytes(fd, text, size, &len) : -ENOMEM;
	}
	ret = ret == 0 ? parse_text(conf, text, len, label, why) : refuse_file(ret, label, why);
	free(text);
	return ret;
}

static int load_file(struct conf *conf, const char *path, char why[static CONF_ERROR_MAX])
{
	/* O_NONBLOCK: a FIFO must be refused, not waited for */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		return refuse_file(-errno, path, why);
	}
	int ret = load_open_file(conf, fd, path, why);
	(void)close(fd);
	return ret;
}

static int find_out_hostname(struct conf *conf, char why[static CONF_ERROR_MAX])
{
	char name[256] = "";
	char reason[SCHEMA_WHY_MAX];
	const struct schema_row *row = schema_find("hostname");
	if (conf->hostname) {
		return 0;
	}
	if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') {
		(void)snprintf(name, sizeof name, "localhost");
	}
	int ret = value_set(conf, row, name, true, reason);
	if (ret != 0) {
		(void)snprintf(why, CONF_ERROR_MAX, "hostname of this machine: %s", reason);
	}
	return ret;
}

static int begin(struct conf *conf, const char *label, char why[static CONF_ERROR_MAX])
{
	char reason[SCHEMA_WHY_MAX];
	memset(conf, 0, sizeof *conf);
	conf->path = strdup(label);
	if (!conf->path) {
		return refuse_file(-ENOMEM, label, why);
	}
	int ret = value_set_defaults(conf, reason);
	if (ret != 0) {
		(void)snprintf(why, CONF_ERROR_MAX, "default: %s", reason);
	}
	return ret;
}

/* `where`: what the values came from, for the message about two that do not fit together. */
static int finish(struct conf *conf, int ret, const char *where, char why[static CONF_ERROR_MAX])
{
	char reason[CONF_ERROR_MAX];
	if (ret == 0) {
		ret = find_out_hostname(conf, why);
	}
	if (ret == 0) {
		ret = check_conf(conf, reason);
		if (ret != 0) {
			(void)snprintf(why, CONF_ERROR_MAX, "%.300s: %.200s", where, reason);
		}
	}
	if (ret != 0) {
		conf_fini(conf);
	}
	return ret;
}

int conf_load(struct conf *conf, struct conf_cli *cli, const char *path, int argc, char **argv,
              char why[static CONF_ERROR_MAX])
{
	struct conf_cli own = {0};
	bool reads_file = true;
	memset(conf, 0, sizeof *conf);
	why[0] = '\0';
	if (argv) {
		int ret = options_scan(argc, argv, &own, &path, why);
		if (ret != 0) {
			return ret;
		}
		/* help must come whatever the file holds */
		reads_file = !own.help && !own.version;
	}
	if (cli) {
		*cli = own;
	}
	const char *where = path ? path : MIRED_CONF_PATH;
	int ret = begin(conf, where, why);
	if (ret == 0 && reads_file) {
		ret = load_file(conf, where, why);
		conf->has_file = ret == 0;
	}
	if (ret == -ENOENT && !path) {
		where = "options"; /* the usual file need not be there */
		ret = 0;
	}
	if (ret == 0 && reads_file && argv) {
		ret = options_apply(conf, argc, argv, why);
	}
	return finish(conf, ret, where, why);
}

int conf_load_fd(struct conf *conf, int fd, char why[static CONF_ERROR_MAX])
{
	static const char label[] = "passed configuration";
	why[0] = '\0';
	int ret = begin(conf, label, why);
	if (ret == 0) {
		ret = load_open_file(conf, fd, label, why);
	}
	return finish(conf, ret, label, why);
}

static int end_output(FILE *out)
{
	if (fflush(out) != 0) {
		return -errno;
	}
	return ferror(out) ? -EIO : 0;
}

int conf_print(const struct conf *conf, FILE *out)
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		(void)fprintf(out, "%s = ", schema_rows[i].name);
		value_print(conf, &schema_rows[i], out);
		(void)fputc('\n', out);
	}
	return end_output(out);
}

int conf_print_example(FILE *out)
{
	struct conf conf;
	char why[CONF_ERROR_MAX];
	int ret = begin(&conf, "example", why);
	if (ret != 0) {
		return ret;
	}
	(void)fputs("# mired.conf: every key with its default. See mired.conf(5).\n", out);
	for (size_t i = 0; i < schema_n_rows; i++) {
		const struct schema_row *row = &schema_rows[i];
		/* what depends on the machine or the build is shown, not set */
		bool is_fixed = row->def && strcmp(row->name, "rules-dir") != 0;
		(void)fprintf(out, "\n# %s\n# (", row->help);
		value_print_range(row, out);
		(void)fprintf(out, ")\n%s%s = ", is_fixed ? "" : "# ", row->name);
		if (is_fixed || schema_is_list(row)) {
			value_print(&conf, row, out);
		}
		(void)fputc('\n', out);
	}
	conf_fini(&conf);
	return end_output(out);
}

void conf_fini(struct conf *conf)
{
	for (size_t i = 0; i < schema_n_rows; i++) {
		value_clear(conf, &schema_rows[i]);
	}
	free(conf->path);
	memset(conf, 0, sizeof *conf);
}

void conf_print_help(FILE *out)
{
	(void)fputs(
	        "usage: mired [option]...\n\n"
	        "  -f, --config FILE          configuration file (" MIRED_CONF_PATH ")\n"
	        "  -G MIN:HOURS:HOURS         passtime, greyexp and whiteexp at once\n"
	        "  -4, -5                     final reply to listed hosts with 450 or 550\n"
	        "      --check-config         say what is wrong with the configuration and exit\n"
	        "      --print-config         print the configuration in force and exit\n"
	        "      --remove-rules         remove the rules that a stopped mired left, and "
	        "exit\n"
	        "      --help, --version\n\n"
	        "Each key of the configuration file is an option, too:\n",
	        out);
	for (size_t i = 0; i < schema_n_rows; i++) {
		const struct schema_row *row = &schema_rows[i];
		bool is_flag = row->kind == SCHEMA_BOOL;
		int width = fprintf(out, row->letter ? "  -%c, " : "      ", row->letter);
		width += fprintf(out, "--%s%s", row->name, is_flag ? "" : " VALUE");
		(void)fprintf(out, "%*s%s", width < 29 ? 29 - width : 1, "", row->help);
		if (row->def) {
			(void)fprintf(out, " (%s)", row->def);
		}
		(void)fputc('\n', out);
	}
}
