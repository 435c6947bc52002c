/* The lock is shared until the table is gone, so that no daemon starts over what goes away. */
#include "mired/remove_rules.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "base/err.h"
#include "fw/fw.h"
#include "mired/names.h"
#include "priv/place.h"

static_assert((int)REMOVE_RULES_WHY_MAX >= (int)PLACE_WHY_MAX, "it writes its reasons into ours");

int remove_rules_run(const struct conf *conf, char why[static REMOVE_RULES_WHY_MAX])
{
	int lock = -1;
	if (!conf->firewall) {
		return 0;
	}
	int ret = place_share_lock(conf->state_dir, &lock, why);
	if (ret) {
		return ret;
	}
	ret = fw_remove_table(conf->nft_table);
	if (ret) {
		(void)snprintf(why, REMOVE_RULES_WHY_MAX, "table inet %s cannot be removed: %s",
		               conf->nft_table, err_text(ret));
	}
	if (lock >= 0) {
		(void)close(lock);
	}
	return ret;
}

int remove_rules_run_usual(char why[static REMOVE_RULES_WHY_MAX])
{
	char table[] = MIRED_NFT_TABLE;
	char state_dir[] = MIRED_STATE_DIR;
	const struct conf usual = {.firewall = true, .nft_table = table, .state_dir = state_dir};
	return remove_rules_run(&usual, why);
}
