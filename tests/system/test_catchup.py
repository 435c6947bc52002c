"""A gateway that was down, or cut off, catches up: the other one's records join its own by `miredb
export --merge` and `miredb import --merge`, both ways, with both daemons running.

There is no second wall clock for a process to live by (time namespaces have none), so where clocks
differ the stamps of one gateway's lines are shifted on their way out, which is what the other one
sees of such a clock.
"""
import random
import subprocess
import time

import control
import gateways
from client import attempt, Client, try_many
from topology import client4, client6
from world import BUILD, check, marked, run, wait_for

N_BASE, N_MISSED, N_OWN = 10_000, 104_000, 500  # some deletions find nothing
N_APART = 4_000  # changes of each gateway while they do not see each other
BATCH = 1000  # lines of a change request
SKEW_SECS = 300
KEY_FIELDS = {"WHITE": 2, "TRAPPED": 2, "GREY": 5, "SPAMTRAP": 2}


def two_gateways(world):
    """Both running; what passes between them is what the test carries."""
    sites = gateways.make(world)
    return sites, [gateways.gateway(sites, n, store_map="2g", stutter="0s",
                                    grey_stutter="0s").start() for n in range(2)]


# --- changes --------------------------------------------------------------------------------------

def address(n):
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def mailbox(n):
    return f"nobody-{n}@example.org"


def grey(n, now):
    return (f"put GREY|{address(n)}|mail{n}.example.net|<sender-{n}@example.net>|"
            f"<Somebody@example.org>|{now}|{now + 14400}|{now + 14400}|1|0")


def base_changes(now):
    """A record for each number, of a kind by its remainder."""
    for n in range(N_BASE):
        yield (f"white {address(n)}", f"trapped {address(n)}", f"spamtrap {mailbox(n)}",
               grey(n, now), f"white 2001:db8:{n >> 8:x}:{n & 255:x}::1")[n % 5]


def deletion(n):
    return (f"delete {address(n)}", f"delete {address(n)}", f"delete {mailbox(n)}",
            f"delete-grey {address(n)}", f"delete 2001:db8:{n >> 8:x}:{n & 255:x}::1")[n % 5]


def some_changes(rng, count, first, now):
    """Of every kind, of records from `first` on and of those of the base."""
    for n in range(first, first + count):
        kind, old = n % 10, rng.randrange(N_BASE)
        yield {0: f"white {address(n)}", 1: f"trapped {address(n)}", 2: f"spamtrap {mailbox(n)}",
               3: f"seen in {address(n)} 3 3110400", 4: f"put WHITE|{address(n)}|||{now}|{now}|"
               f"{now + 3000000}|1|2", 5: deletion(old), 6: f"trapped {address(old)}",
               7: f"white {address(old)}"}.get(kind) or grey(n, now)


def change(mired, lines):
    """Through the control socket; deleting what is gone is no failure."""
    lines, n_done = list(lines), 0
    with control.Control(mired) as connection:
        for at in range(0, len(lines), BATCH):
            answer = connection.ask("change", "\n".join(lines[at:at + BATCH]) + "\n")
            bad = [row for row in answer["failed"] if row["error"] != "not found"]
            check(not bad, "changes are taken:", bad[:3])
            n_done += answer["done"]
    return n_done


# --- joining --------------------------------------------------------------------------------------

def miredb(mired, *args, stdin=None):
    return run([BUILD / "miredb", "-f", mired.conf, *args], stdin=stdin, timeout_secs=120)


def export(mired):
    return miredb(mired, "export", "--merge").stdout.splitlines()


def join(mired, lines):
    done = miredb(mired, "import", "--merge", stdin="\n".join(lines) + "\n")
    check(done.stderr == f"miredb: {len(lines)} records joined\n", "all are joined:", done.stderr)


def catch_up(to, source):
    """The command of mired-catchup.service, without ssh."""
    out = subprocess.Popen([BUILD / "miredb", "-f", source.conf, "export", "--merge"],
                           stdout=subprocess.PIPE)
    done = subprocess.run([BUILD / "miredb", "-f", to.conf, "import", "--merge"], stdin=out.stdout,
                          capture_output=True, text=True, timeout=120, check=False)
    out.stdout.close()
    check(out.wait() == 0 and done.returncode == 0, "the records come over:", done.stderr)
    return int(done.stderr.split()[1])


def shifted(lines, since, secs):
    """What was changed from `since` until now, by a clock that is so far ahead. A stamp that is
    ahead of ours already came from there: it was put behind one that was shifted."""
    now = int(time.time())
    for line in lines:
        fields = line.split("|")
        at = KEY_FIELDS[fields[0][1:]]
        if since <= int(fields[at]) <= now:
            fields[at] = str(int(fields[at]) + secs)
        yield "|".join(fields)


# --- what must hold -------------------------------------------------------------------------------

def facts(lines):
    """Of each key, when it was changed last and whether it is there."""
    out = {}
    for line in lines:
        fields = line.split("|")
        n_key = KEY_FIELDS[fields[0][1:]]
        key = (fields[0][1:], *fields[1:n_key])
        fact = (int(fields[n_key]), line[0] == "+")  # at the same time, there beats deleted
        out[key] = max(out.get(key, fact), fact)
    return out


def check_in_step(mireds, expected):
    """Both exports are the same, and the newest fact of each key is what they hold."""
    exports = [sorted(export(mired)) for mired in mireds]
    check(exports[0] == exports[1], "the exports are the same; only in one of them:",
          sorted(set(exports[0]) ^ set(exports[1]))[:6])
    lists = [sorted(miredb(mired, "export").stdout.splitlines()) for mired in mireds]
    check(lists[0] == lists[1], "the listings are the same; only in one of them:",
          sorted(set(lists[0]) ^ set(lists[1]))[:6])
    got = facts(exports[0])
    wrong = [(key, got.get(key), fact) for key, fact in expected.items() if got.get(key) != fact]
    check(not wrong and len(got) == len(expected), "the newest fact of each key stays:", wrong[:3])
    return exports[0]


def check_sound(mireds):
    for mired in mireds:
        check(miredb(mired, "--check").stdout.endswith(": sound\n"), "the store is sound")


def count(lines, sign):
    return sum(line[0] == sign for line in lines)


@marked(timeout_secs=120, tags=("once",))
def test_a_gateway_that_was_down_has_all_it_missed(world):
    rng, now = random.Random(4), int(time.time())
    sites, mireds = two_gateways(world)
    up, down = mireds
    change(up, base_changes(now))
    catch_up(down, up)
    change(down, some_changes(rng, N_OWN, 5_000_000, now))
    try_many(sites.bots, gateways.MX4[1], [client4(n) for n in range(10)])
    down.stop()
    began = time.monotonic()
    n_done = change(up, some_changes(rng, N_MISSED, 1_000_000, now))
    took_changes = time.monotonic() - began
    try_many(sites.bots, gateways.MX4[0], [client4(n) for n in range(5, 20)])
    with Client(sites.bots, gateways.MX4[0], source=client4(50)) as client:
        attempt(client, recipient=f"<{mailbox(1_000_002)}>")
    wait_for("the hit", lambda: up.in_set("spamd-greytrap", [client4(50)]), 5)
    check(n_done >= 100_000, "so many changes were made:", n_done)
    expected = facts(export(down) + export(up))
    down.start()
    began = time.monotonic()
    n_there = catch_up(down, up)
    took_there = time.monotonic() - began
    began = time.monotonic()
    catch_up(up, down)
    took_back = time.monotonic() - began
    lines = check_in_step(mireds, expected)
    check(count(lines, "-") > N_MISSED // 20, "there were deletions:", count(lines, "-"))
    wait_for("a host in the other's kernel",
             lambda: down.has_white(address(1_000_000)) and
             down.in_set("spamd-greytrap", [client4(50)]), 10)
    check_sound(mireds)
    print(f"{n_done} changes in {took_changes:.1f} s while the other was down, which had made "
          f"{N_OWN}; {n_there} records joined there in {took_there:.1f} s, back in "
          f"{took_back:.1f} s; {count(lines, '+')} live and {count(lines, '-')} deleted, the "
          "same on both")


@marked(timeout_secs=120, tags=("once",))
def test_clocks_five_minutes_apart_bring_no_deletion_back(world):
    rng, now = random.Random(5), int(time.time())
    _, mireds = two_gateways(world)
    true, ahead = mireds
    change(ahead, base_changes(now))
    base = list(shifted(export(ahead), now, SKEW_SECS))
    for mired in mireds:  # known to both, by stamps that are ahead of one's clock
        join(mired, base)
    deleted = rng.sample(range(N_BASE), N_BASE // 5)
    change(true, [deletion(n) for n in deleted])
    since = int(time.time())
    change(true, some_changes(rng, N_APART, 1_000_000, now))
    change(ahead, some_changes(rng, N_APART, 1_001_000, now))
    here, there = export(true), export(ahead)
    fresh = set(there) - set(base)  # stamps of the base are shifted already
    there = [*set(there) - fresh, *shifted(fresh, since, SKEW_SECS)]
    expected = facts(here + there)
    rng.shuffle(there)
    half = len(there) // 2
    join(true, there[:half])  # in two parts, and one of them twice
    join(true, there[half:])
    join(true, there[:half])
    join(ahead, export(true))
    lines = check_in_step(mireds, expected)
    check_deletions(facts(base), facts(here), facts(there), facts(lines))
    check_sound(mireds)
    print(f"{N_APART} changes on each side, clocks {SKEW_SECS} s apart: {count(lines, '+')} live "
          f"and {count(lines, '-')} deleted, the same on both")


def check_deletions(base, here, there, got):
    """What one deleted and the other left as it was is gone, though its stamp was ahead."""
    n_deleted = 0
    for key, (changed_at, is_live) in here.items():
        if is_live or there.get(key) != base.get(key) or not base.get(key, (0, False))[1]:
            continue
        n_deleted += 1
        check(changed_at > base[key][0], "the deletion is later than what it deleted:", key)
        check(got[key] == (changed_at, False), "it stays deleted:", key, got[key])
    check(n_deleted > 1000, "there were such deletions:", n_deleted)
