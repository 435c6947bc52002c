/* What a reload makes of two configurations: which keys differ, which of them a running mired takes
 * on, and what puts the others in force. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "conf/schema.h"

static const struct {
	const char *mend;   /* the command that puts such a key in force */
	bool is_always_due; /* also when mired took the value, because others read it, too */
} kinds[CONF_RELOAD_COUNT] = {
        [CONF_RESTART] = {"systemctl restart mired", false},
        [CONF_RESTART_LOGD] = {"systemctl restart mired-logd", true},
        [CONF_RESTART_BOTH] = {"systemctl restart mired mired-logd", true},
        [CONF_RESTART_METRICS] = {"systemctl restart mired-metrics", true},
        [CONF_NEXT_SETUP] = {"systemctl start mired-setup", true},
        [CONF_LIVE_LOGD] = {"systemctl restart mired-logd", true},
        [CONF_LIVE_BELOW] = {"systemctl restart mired", false},
        [CONF_LIVE_FILLED] = {"systemctl restart mired", false},
};

struct merge {
	struct conf *fresh;
	const struct conf *running;
	const struct conf_merge_env *env;
};

/* Tables of connections are made at the start; the listeners for the low-priority MX, too. */
static bool may_take(const struct schema_row *row, const struct merge *merge)
{
	const struct conf *fresh = merge->fresh;
	switch (row->reload) {
	case CONF_RESTART:
	case CONF_RESTART_BOTH:
		return false;
	case CONF_RESTART_LOGD:
	case CONF_RESTART_METRICS:
	case CONF_NEXT_SETUP:
	case CONF_LIVE:
	case CONF_LIVE_LOGD:
		return true;
	case CONF_LIVE_BELOW:
		return fresh->max_connections == 0
		               ? merge->env->was_auto
		               : fresh->max_connections <= merge->env->connections_max;
	case CONF_LIVE_FILLED:
		return fresh->n_low_priority_mx > 0 && merge->running->n_low_priority_mx > 0;
	case CONF_RELOAD_COUNT:
		break;
	}
	return false;
}

static bool is_read_by_mired(enum conf_reload reload)
{
	return reload != CONF_RESTART_LOGD && reload != CONF_RESTART_METRICS &&
	       reload != CONF_NEXT_SETUP;
}

static int settle(struct merge *merge, const struct schema_row *row, struct conf_change *change)
{
	bool is_taken = may_take(row, merge);
	bool is_due = !is_taken || kinds[row->reload].is_always_due;
	change->is_pending = !is_taken;
	change->is_in_force = is_taken && is_read_by_mired(row->reload);
	change->mend = is_due ? kinds[row->reload].mend : NULL;
	if (merge->env->on_change) {
		merge->env->on_change(merge->env->ctx, change);
	}
	return is_taken ? 0 : value_copy(merge->fresh, merge->running, row);
}

static int merge_one(struct merge *merge, const struct schema_row *row)
{
	char *before = value_text(merge->running, row);
	char *after = value_text(merge->fresh, row);
	int ret = before && after ? 0 : -ENOMEM;
	if (ret == 0 && strcmp(before, after) != 0) {
		struct conf_change change = {.key = row->name, .before = before, .after = after};
		ret = settle(merge, row, &change);
	}
	free(before);
	free(after);
	return ret;
}

int conf_merge(struct conf *fresh, const struct conf *running, const struct conf_merge_env *env,
               char why[static CONF_ERROR_MAX])
{
	struct merge merge = {fresh, running, env};
	char reason[CONF_ERROR_MAX];
	int ret = 0;
	for (size_t i = 0; i < schema_n_rows && ret == 0; i++) {
		ret = merge_one(&merge, &schema_rows[i]);
	}
	if (ret != 0) {
		(void)snprintf(why, CONF_ERROR_MAX, "%s", err_text(ret));
		return ret;
	}
	ret = check_conf(fresh, reason);
	if (ret != 0) {
		(void)snprintf(
		        why, CONF_ERROR_MAX,
		        "%.200s: what takes a restart and what does not would not go together "
		        "(%.200s); %s takes all of it",
		        fresh->path, reason, kinds[CONF_RESTART].mend);
	}
	return ret;
}

int conf_copy(struct conf *out, const struct conf *from)
{
	memset(out, 0, sizeof *out);
	out->has_file = from->has_file;
	out->path = strdup(from->path);
	int ret = out->path ? 0 : -ENOMEM;
	for (size_t i = 0; i < schema_n_rows && ret == 0; i++) {
		ret = value_copy(out, from, &schema_rows[i]);
	}
	if (ret != 0) {
		conf_fini(out);
	}
	return ret;
}

/* FNV-1a: it tells versions of one file apart and keeps no secret. */
static uint64_t digest_of(const char *text, size_t len)
{
	uint64_t digest = UINT64_C(0xcbf29ce484222325);
	for (size_t i = 0; i < len; i++) {
		digest = (digest ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
	}
	return digest;
}

int conf_digest(const struct conf *conf, char out[static CONF_DIGEST_MAX])
{
	char *text = NULL;
	size_t len = 0;
	FILE *file = open_memstream(&text, &len);
	if (!file) {
		return -errno;
	}
	int ret = conf_print(conf, file);
	if (fclose(file) != 0 && ret == 0) {
		ret = -ENOMEM;
	}
	if (ret == 0) {
		(void)snprintf(out, CONF_DIGEST_MAX, "%016llx",
		               (unsigned long long)digest_of(text, len));
	}
	free(text);
	return ret;
}
