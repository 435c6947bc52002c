/* Lists of networks are large and come rarely: a new one is gathered beside the one in force, and
 * takes its place as a whole. */
#include "mired/networks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"

enum { SIZE_MIN = 4096 };

static void list_fini(struct networks_list *list)
{
	free(list->ranges);
	*list = (struct networks_list){0};
}

bool networks_take_nospamd(struct networks *networks, const char *path, struct span text)
{
	int ret = nospamd_parse(&networks->nospamd, path, text);
	if (ret) {
		log_error("%s: %s; what it said before stays in force", path, err_text(ret));
		return false;
	}
	networks->must_put_nospamd = true;
	return true;
}

static bool make_room(struct networks_list *list, size_t n, size_t n_max)
{
	if (list->n + n > n_max) {
		return false;
	}
	if (list->n + n <= list->size) {
		return true;
	}
	struct addr_range *ranges = array_grow(list->ranges, &list->size, sizeof *ranges, SIZE_MIN);
	if (ranges) {
		list->ranges = ranges;
	}
	return ranges != NULL;
}

static void add(struct networks *networks, const struct msg *msg, size_t n_max)
{
	struct networks_list *list = &networks->coming;
	if (msg->n_ranges == 0) {
		return;
	}
	if (!make_room(list, msg->n_ranges, n_max)) {
		networks->n_left_out += msg->n_ranges;
		return;
	}
	memcpy(list->ranges + list->n, msg->ranges, msg->n_ranges * sizeof *list->ranges);
	list->n += msg->n_ranges;
}

/* A list that did not fit is not used in part: who is left out of it would depend on its order. */
static void finish(struct networks *networks, size_t n_max)
{
	networks->is_coming = false;
	if (networks->n_left_out > 0) {
		log_error(
		        "firewall: more than %zu listed networks (list-prefixes) or no memory for "
		        "them; the old ones stay in force",
		        n_max);
		list_fini(&networks->coming);
		return;
	}
	list_fini(&networks->listed);
	networks->listed = networks->coming;
	networks->coming = (struct networks_list){0};
	networks->must_put_listed = true;
}

bool networks_on_message(struct networks *networks, const struct msg *msg, size_t n_max)
{
	if (msg->type == MSG_RANGES_BEGIN) {
		networks_drop_coming(networks);
		networks->is_coming = true;
	} else if (msg->type == MSG_RANGES && networks->is_coming) {
		add(networks, msg, n_max);
	} else if (msg->type == MSG_RANGES_END && networks->is_coming) {
		finish(networks, n_max);
	} else {
		return false;
	}
	return true;
}

void networks_drop_coming(struct networks *networks)
{
	list_fini(&networks->coming);
	networks->n_left_out = 0;
	networks->is_coming = false;
}

bool networks_is_pending(const struct networks *networks)
{
	return networks->must_put_nospamd || networks->must_put_listed;
}

/* What another try may mend; everything else is wrong with the networks themselves. */
static bool may_mend(int code)
{
	static const int codes[] = {-ENOENT, -ENOMEM, -ENOBUFS, -ETIMEDOUT,
	                            -EINTR,  -EAGAIN, -EPERM};
	for (size_t i = 0; i < ARRAY_LEN(codes); i++) {
		if (code == codes[i]) {
			return true;
		}
	}
	return false;
}

typedef int set_networks(struct fw *fw, const struct addr_range *ranges, size_t n,
                         char why[static FW_WHY_MAX]);

static int put(struct fw *fw, set_networks *set, const struct networks_list *list, const char *what,
               char why[static FW_WHY_MAX])
{
	struct mono began = clock_mono();
	int ret = set(fw, list->ranges, list->n, why);
	if (ret && may_mend(ret)) {
		return ret;
	}
	if (ret) {
		log_error("firewall: %s; the old ones stay in force", why);
		return 0;
	}
	log_info("firewall: %zu %s networks are in the kernel (%lld ms)", list->n, what,
	         (long long)mono_diff_ms(clock_mono(), began));
	return 0;
}

int networks_put(struct networks *networks, struct fw *fw, char why[static FW_WHY_MAX])
{
	int ret = 0;
	if (networks->must_put_nospamd) {
		const struct networks_list exempt = {.ranges = networks->nospamd.ranges,
		                                     .n = networks->nospamd.n};
		ret = put(fw, fw_set_nospamd, &exempt, "exempt", why);
		networks->must_put_nospamd = ret != 0;
	}
	if (ret == 0 && networks->must_put_listed) {
		ret = put(fw, fw_set_spamd, &networks->listed, "listed", why);
		networks->must_put_listed = ret != 0;
	}
	return ret;
}

void networks_on_new_table(struct networks *networks)
{
	networks->must_put_nospamd = false;
	networks->must_put_listed = networks->listed.n > 0 || networks->must_put_listed;
}

void networks_fini(struct networks *networks)
{
	nospamd_fini(&networks->nospamd);
	list_fini(&networks->listed);
	list_fini(&networks->coming);
}
