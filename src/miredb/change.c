/* -a and -d: keys become changes, with spamdb's messages in the order of the keys. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "mired/ctl.h"
#include "miredb/sink.h"
#include "store/change.h"

/* spamdb ends at once at a spamtrap that is no mail address. */
enum { EXIT_NO_MAILBOX = 255, PREFIX_MAX = 16 };

/* Keys on their way. */
struct keys {
	struct sink *sink;
	const struct options *options;
	const char *batch[MIRED_CTL_CHANGES_MAX]; /* keys of the sink's lines */
	unsigned n_batch;
	int n_failed;
};

static const char *verb_of(const struct options *options)
{
	if (options->action == ACTION_DELETE) {
		return options->type == KEY_GREY ? "delete-grey" : "delete";
	}
	switch (options->type) {
	case KEY_TRAPPED:
		return "trapped";
	case KEY_SPAMTRAP:
		return "spamtrap";
	case KEY_WHITE:
	case KEY_GREY: /* refused with -a */
		break;
	}
	return "white";
}

static void on_failed(void *ctx, unsigned idx, const char *error, bool is_absent)
{
	struct keys *keys = ctx;
	const char *key = idx < keys->n_batch ? keys->batch[idx] : "";
	keys->n_failed++;
	if (is_absent) {
		(void)fail("no entry for %s", key);
	} else {
		(void)fail("%s: %s", key, error);
	}
}

static int flush_keys(struct keys *keys)
{
	int status = sink_flush(keys->sink, on_failed, keys);
	keys->n_batch = 0;
	return status;
}

/* A key that no change can name: told after what came before it. */
static int refuse_key(struct keys *keys, const char *key, const char *why)
{
	const struct options *options = keys->options;
	int status = flush_keys(keys);
	if (status) {
		return status;
	}
	keys->n_failed++;
	if (options->action == ACTION_ADD && options->type == KEY_SPAMTRAP) {
		(void)fail("not an email address: %s", key);
		return EXIT_NO_MAILBOX;
	}
	if (options->action == ACTION_ADD || options->type == KEY_GREY) {
		(void)fail("invalid ip address %s", key);
	} else {
		(void)fail("%s: %s", key, why);
	}
	return 0;
}

static int take_key(struct keys *keys, const char *key)
{
	char text[CHANGE_LINE_MAX + PREFIX_MAX];
	uint8_t buf[CHANGE_TEXT_BYTES];
	char why[CHANGE_WHY_MAX] = "a key of that kind cannot be";
	struct change change;
	int len = snprintf(text, sizeof text, "%s %s", verb_of(keys->options), key);
	if (len < 0 || (size_t)len >= sizeof text || strchr(key, '\n') ||
	    change_parse(span_of(text, (size_t)len), buf, &change, why)) {
		return refuse_key(keys, key, why);
	}
	if (sink_is_full(keys->sink, (size_t)len + 1)) {
		int status = flush_keys(keys);
		if (status) {
			return status;
		}
	}
	keys->batch[keys->n_batch++] = key;
	sink_add(keys->sink, span_of(text, (size_t)len));
	return 0;
}

int change_main(const struct run *run)
{
	struct keys keys = {.options = run->options};
	int status = sink_open(&keys.sink, run);
	if (status) {
		return status;
	}
	for (int i = 0; i < run->options->n_keys && status == 0; i++) {
		if (run->options->keys[i][0] != '\0') {
			status = take_key(&keys, run->options->keys[i]);
		}
	}
	status = status ? status : flush_keys(&keys);
	sink_close(keys.sink);
	if (status) {
		return status;
	}
	return keys.n_failed < EXIT_KEYS_MAX ? keys.n_failed : EXIT_KEYS_MAX;
}
