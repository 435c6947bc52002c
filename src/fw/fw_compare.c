/* Texts are compared, not netlink objects: both come from the same libnftables and the same kernel,
 * so equal rules are equal lines, whatever those look like. The counters' values and the sets'
 * elements are left out; others may have added to the table (see fw_watch.c), so what is there
 * beyond ours does not matter. */
#include "fw/fw_compare.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nftables/libnftables.h>

#include "base/err.h"
#include "base/span.h"

enum {
	LISTING_BYTES_MAX = 256 << 10,
	EXIT_NO_RIGHTS = 77, /* of the child */
};

/* --- what stands in a namespace --------------------------------------------------------------- */

/* Newly allocated; "" when there is no such table. */
static int list_table(const char *table, char **out, char why[static FW_WHY_MAX])
{
	char command[128];
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
	int ret = -ENOMEM;
	*out = NULL;
	if (!nft || nft_ctx_buffer_error(nft) || nft_ctx_buffer_output(nft)) {
		(void)snprintf(why, FW_WHY_MAX, "libnftables: %s", err_text(ret));
		goto done;
	}
	nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_TERSE | NFT_CTX_OUTPUT_STATELESS);
	(void)snprintf(command, sizeof command, "list table inet %s", table);
	bool is_there = nft_run_cmd_from_buffer(nft, command) == 0;
	const char *complaint = nft_ctx_get_error_buffer(nft);
	/* the library keeps the reason in words only */
	if (!is_there && strstr(complaint, strerror(EPERM))) {
		ret = -EPERM;
	} else if (!is_there && !strstr(complaint, strerror(ENOENT))) {
		(void)snprintf(why, FW_WHY_MAX, "%.*s", (int)strcspn(complaint, "\n"), complaint);
		ret = ERR_UNSUPPORTED;
	} else {
		*out = strdup(is_there ? nft_ctx_get_output_buffer(nft) : "");
		ret = *out ? 0 : -ENOMEM;
	}
done:
	if (nft) {
		nft_ctx_free(nft);
	}
	return ret;
}

/* In a namespace of this process's own. */
static int make_table(const struct conf *conf, char why[static FW_WHY_MAX])
{
	struct fw *fw = NULL;
	if (unshare(CLONE_NEWNET) != 0) {
		return -errno;
	}
	int ret = fw_open(&fw, conf, why);
	ret = ret ? ret : fw_put_table(fw, NULL, 0, why);
	ret = ret ? ret : fw_put_chains(fw, why);
	fw_close(fw);
	return ret;
}

/* --- what would stand there ------------------------------------------------------------------- */

/* The child's part: the listing, or the reason, goes to `out`. */
static int list_wanted(const struct conf *conf, FILE *out)
{
	char why[FW_WHY_MAX] = "";
	char *listing = NULL;
	int ret = make_table(conf, why);
	ret = ret ? ret : list_table(conf->nft_table, &listing, why);
	(void)fputs(ret ? why : listing, out);
	free(listing);
	if (fclose(out) != 0) {
		return EXIT_FAILURE;
	}
	return ret == 0 ? EXIT_SUCCESS : ret == -EPERM ? EXIT_NO_RIGHTS : EXIT_FAILURE;
}

static int read_all(int fd, char *text, size_t size, size_t *len)
{
	for (*len = 0; *len < size;) {
		ssize_t n = read(fd, text + *len, size - *len);
		if (n <= 0) {
			return n < 0 ? -errno : 0;
		}
		*len += (size_t)n;
	}
	return ERR_TOO_LONG;
}

/* What the child said, and how it ended. */
static int await_wanted(pid_t child, int fd, char **out, char why[static FW_WHY_MAX])
{
	size_t len = 0;
	int status = 0;
	char *text = calloc(1, LISTING_BYTES_MAX + 1);
	int ret = text ? read_all(fd, text, LISTING_BYTES_MAX, &len) : -ENOMEM;
	(void)close(fd);
	(void)waitpid(child, &status, 0);
	if (!ret && (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)) {
		ret = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NO_RIGHTS ? -EPERM
		                                                                 : ERR_UNSUPPORTED;
		(void)snprintf(why, FW_WHY_MAX, "%.*s", FW_WHY_MAX - 1, text);
	}
	if (ret) {
		free(text);
		return ret;
	}
	*out = text;
	return 0;
}

static int find_wanted(const struct conf *conf, char **out, char why[static FW_WHY_MAX])
{
	int ends[2];
	if (pipe2(ends, 0) != 0) {
		return -errno;
	}
	(void)fflush(NULL); /* or the child has what is unwritten, too */
	pid_t child = fork();
	if (child == 0) {
		(void)close(ends[0]);
		FILE *file = fdopen(ends[1], "w");
		_exit(file ? list_wanted(conf, file) : EXIT_FAILURE);
	}
	int ret = child < 0 ? -errno : 0;
	(void)close(ends[1]);
	if (ret) {
		(void)close(ends[0]);
		return ret;
	}
	return await_wanted(child, ends[0], out, why);
}

/* --- both ------------------------------------------------------------------------------------- */

static bool find_line(struct span line, struct span *found)
{
	while (found->len > 0) {
		if (span_equal(span_trim(span_cut(*found, '\n', found)), line)) {
			return true;
		}
	}
	return false;
}

static bool ends_with(struct span line, uint8_t byte)
{
	return line.len > 0 && line.ptr[line.len - 1] == byte;
}

/* Whether a block begins with this line somewhere, and what is in it: up to the first line that
 * closes one, which is all of a chain or set, and nothing of a table. */
static bool find_block(struct span first, struct span found, struct span *block)
{
	if (!find_line(first, &found)) {
		return false;
	}
	struct span rest = found;
	while (rest.len > 0) {
		struct span before = rest;
		if (span_equal(span_trim(span_cut(rest, '\n', &rest)), span_of_str("}"))) {
			found.len -= before.len;
			break;
		}
	}
	*block = found;
	return true;
}

/* Chains and sets are listed as they were made, those of an earlier configuration first. */
bool fw_compare_lines(struct span wanted, struct span found, struct span *missing)
{
	struct span block = found;
	while (wanted.len > 0) {
		*missing = span_trim(span_cut(wanted, '\n', &wanted));
		bool is_there = ends_with(*missing, '{') ? find_block(*missing, found, &block)
		                                         : find_line(*missing, &block);
		if (!is_there && missing->len > 0 && !span_equal(*missing, span_of_str("}"))) {
			return false;
		}
	}
	return true;
}

static void compare(const char *wanted, const char *found, struct fw_comparison *out)
{
	struct span missing;
	if (found[0] == '\0') {
		out->standing = FW_STANDING_NONE;
	} else if (fw_compare_lines(span_of_str(wanted), span_of_str(found), &missing)) {
		out->standing = FW_STANDING_SAME;
	} else {
		out->standing = FW_STANDING_OTHER;
		(void)span_to_str(missing, out->missing, sizeof out->missing);
	}
}

int fw_compare(const struct conf *conf, struct fw_comparison *out, char why[static FW_WHY_MAX])
{
	char *wanted = NULL;
	char *found = NULL;
	*out = (struct fw_comparison){0};
	why[0] = '\0';
	if (geteuid() != 0) {
		return -EPERM; /* libnftables says so on stderr */
	}
	int ret = list_table(conf->nft_table, &found, why);
	ret = ret ? ret : find_wanted(conf, &wanted, why);
	if (!ret) {
		compare(wanted, found, out);
	} else if (!why[0]) {
		(void)snprintf(why, FW_WHY_MAX, "%s", err_text(ret));
	}
	free(found);
	free(wanted);
	return ret;
}
