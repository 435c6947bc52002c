/* Order matters: groups and bounding set while we may still change them, then the ids, then the
 * capabilities, then the lock behind us. Afterwards everything is read back, because a privilege
 * that silently stayed is worse than a daemon that does not start. */
#include "priv/sandbox.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/err.h"

enum { GROUPS_MAX = 1024 }; /* more is no sensible set-up for a daemon's user */

static int failed(char why[static SANDBOX_WHY_MAX], int code, const char *what)
{
	(void)snprintf(why, SANDBOX_WHY_MAX, "%s: %s", what, err_text(code));
	return code;
}

static int find_user(const char *user, struct passwd *out, char why[static SANDBOX_WHY_MAX])
{
	errno = 0;
	const struct passwd *found = getpwnam(user);
	if (!found) {
		(void)snprintf(why, SANDBOX_WHY_MAX, "user %s does not exist", user);
		return ERR_NOT_FOUND;
	}
	if (found->pw_uid == 0) {
		(void)snprintf(why, SANDBOX_WHY_MAX, "user %s is root: a role needs its own user",
		               user);
		return ERR_DENIED;
	}
	*out = *found;
	return 0;
}

bool sandbox_can_change_user(void)
{
	return capng_get_caps_process() == 0 &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_SETUID) &&
	       capng_have_capability(CAPNG_EFFECTIVE, CAP_SETGID);
}

static int change_ids(const struct passwd *pw, const char *user, char why[static SANDBOX_WHY_MAX])
{
	if (geteuid() == pw->pw_uid && !sandbox_can_change_user()) {
		return 0; /* started as that user: there is nothing to change and no right to */
	}
	if (initgroups(user, pw->pw_gid) != 0) {
		return failed(why, -errno, "taking the user's groups");
	}
	if (setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) != 0) {
		return failed(why, -errno, "taking the user's group id");
	}
	if (setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) != 0) {
		return failed(why, -errno, "taking the user's user id");
	}
	return 0;
}

/* The bounding set stays where the right to shrink it is missing (a container): with
 * no_new_privs no program can gain from it. */
static void shrink_bounding_set(void)
{
	if (capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP)) {
		for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
		}
	}
}

static int change_capabilities(bool keep_net_admin, char why[static SANDBOX_WHY_MAX])
{
	capng_clear(CAPNG_SELECT_BOTH);
	if (keep_net_admin &&
	    capng_update(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
	                 CAP_NET_ADMIN) != 0) {
		return failed(why, -EINVAL, "choosing CAP_NET_ADMIN");
	}
	if (capng_apply(CAPNG_SELECT_CAPS) != 0) {
		return failed(why, -EPERM, "setting capabilities");
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
		return failed(why, -errno, "no_new_privs");
	}
	return 0;
}

static int verify_ids(const struct passwd *pw, char why[static SANDBOX_WHY_MAX])
{
	uid_t uid[3];
	gid_t gid[3];
	if (getresuid(&uid[0], &uid[1], &uid[2]) != 0 ||
	    getresgid(&gid[0], &gid[1], &gid[2]) != 0) {
		return failed(why, -errno, "reading the ids back");
	}
	for (int i = 0; i < 3; i++) {
		if (uid[i] != pw->pw_uid || gid[i] != pw->pw_gid) {
			return failed(why, ERR_DENIED, "ids did not change");
		}
	}
	if (setresuid(0, 0, 0) == 0) {
		return failed(why, ERR_DENIED, "root could be regained");
	}
	return 0;
}

static bool is_among(gid_t gid, const gid_t *gids, int n)
{
	for (int i = 0; i < n; i++) {
		if (gids[i] == gid) {
			return true;
		}
	}
	return false;
}

/* The supplementary groups must be the user's own; the starter's root group is the one that would
 * matter. */
static int verify_groups(const struct passwd *pw, const char *user,
                         char why[static SANDBOX_WHY_MAX])
{
	gid_t held[GROUPS_MAX];
	gid_t own[GROUPS_MAX];
	int n_held = getgroups(GROUPS_MAX, held);
	int n_own = GROUPS_MAX;
	if (n_held < 0 || getgrouplist(user, pw->pw_gid, own, &n_own) < 0) {
		return failed(why, n_held < 0 ? -errno : ERR_TOO_LONG, "reading the groups back");
	}
	for (int i = 0; i < n_held; i++) {
		if (!is_among(held[i], own, n_own)) {
			return failed(why, ERR_DENIED, "a group of the starter is still there");
		}
	}
	return 0;
}

static int verify_set(capng_type_t type, bool keep_net_admin, char why[static SANDBOX_WHY_MAX])
{
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		bool wanted = keep_net_admin && cap == CAP_NET_ADMIN && type != CAPNG_INHERITABLE;
		if ((capng_have_capability(type, cap) != 0) != wanted) {
			return failed(why, ERR_DENIED,
			              wanted ? "CAP_NET_ADMIN is missing"
			                     : "a capability is still there");
		}
	}
	return 0;
}

static int verify_capabilities(bool keep_net_admin, char why[static SANDBOX_WHY_MAX])
{
	static const capng_type_t types[] = {CAPNG_EFFECTIVE, CAPNG_PERMITTED, CAPNG_INHERITABLE};
	capng_clear(CAPNG_SELECT_BOTH);
	int ret = capng_get_caps_process() == 0
	                  ? 0
	                  : failed(why, -EPERM, "reading the capabilities back");
	for (size_t i = 0; i < ARRAY_LEN(types) && !ret; i++) {
		ret = verify_set(types[i], keep_net_admin, why);
	}
	if (!ret && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) {
		ret = failed(why, ERR_DENIED, "no_new_privs is not set");
	}
	return ret;
}

/* A change of user clears the parent-death signal and makes the process undumpable. The signal is
 * wanted. LeakSanitizer must be able to trace its own process; nobody else needs to. */
static void restore_process(int death_signal)
{
	(void)prctl(PR_SET_PDEATHSIG, death_signal);
#ifdef __SANITIZE_ADDRESS__
	(void)prctl(PR_SET_DUMPABLE, 1);
#endif
}

int sandbox_drop(const char *user, bool keep_net_admin, char why[static SANDBOX_WHY_MAX])
{
	struct passwd pw;
	int ret = find_user(user, &pw, why);
	if (ret) {
		return ret;
	}
	int death_signal = 0;
	(void)prctl(PR_GET_PDEATHSIG, &death_signal);
	if (capng_get_caps_process() != 0) {
		return failed(why, -EPERM, "reading the capabilities");
	}
	shrink_bounding_set();
	/* without it the change of user would take CAP_NET_ADMIN along */
	if (prctl(PR_SET_KEEPCAPS, keep_net_admin ? 1 : 0, 0, 0, 0) != 0) {
		return failed(why, -errno, "keeping capabilities");
	}
	ret = change_ids(&pw, user, why);
	ret = ret ? ret : change_capabilities(keep_net_admin, why);
	ret = ret ? ret : verify_ids(&pw, why);
	ret = ret ? ret : verify_groups(&pw, user, why);
	ret = ret ? ret : verify_capabilities(keep_net_admin, why);
	(void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
	restore_process(death_signal);
	return ret;
}
