"""Stores that were damaged while mired was down: found at start or survived, never overwritten."""
import hashlib
import os
import random

import topology
from client import try_many
from daemon import Mired
from world import Failure, check, marked, wait_for

PAGE = 4096
N_TUPLES = 300
N_DAMAGED = 12
STORE_EXIT = 20  # a service manager need not try again


def stopped_with_tuples(world):
    """A daemon that has stored some tuples and was stopped."""
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s").start()
    try_many(net.out, net.target(False), map(topology.client4, range(N_TUPLES)))
    check(mired.stop()[0] == 0, "a clean stop")
    mired.data = mired.db / "data.mdb"
    return net, mired


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_refused_untouched(mired, what):
    """It does not run on this store, says so with the way out, and leaves the file as it was."""
    before = digest(mired.data)
    done = mired.run_to_end(timeout_secs=60)
    said = done.stdout + done.stderr
    check(done.returncode == STORE_EXIT, f"{what}: exit {STORE_EXIT}, got", done.returncode, said[-1500:])
    check(str(mired.db) in said, f"{what}: names the store:", said[-1500:])
    check(digest(mired.data) == before, f"{what}: the file is not touched")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_bad_meta_pages_are_refused(world):
    _, mired = stopped_with_tuples(world)
    with open(mired.data, "r+b") as file:
        file.write(b"\xa5" * 2 * PAGE)
    check_refused_untouched(mired, "bad meta pages")


@marked(timeout_secs=90, tags=("once",))
def test_a_truncated_file_is_refused(world):
    _, mired = stopped_with_tuples(world)
    used = len(mired.data.read_bytes().rstrip(b"\0"))  # the file is made larger in steps
    os.truncate(mired.data, used // 2 // PAGE * PAGE)
    check_refused_untouched(mired, "half a file")
    os.truncate(mired.data, 100)
    check_refused_untouched(mired, "a hundred bytes")


@marked(timeout_secs=90, tags=("once",))
def test_an_emptied_or_missing_file_is_not_made_again_silently(world):
    _, mired = stopped_with_tuples(world)
    os.truncate(mired.data, 0)
    check_refused_untouched(mired, "an empty file")
    mired.data.unlink()
    done = mired.run_to_end(timeout_secs=60)
    check(done.returncode == STORE_EXIT, "a missing file is refused:", done.stderr[-1500:])
    check(not mired.data.exists(), "and not made")


@marked(timeout_secs=240, alone=True, tags=("once",))
def test_random_damage_is_found_or_survived(world):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    net, mired = stopped_with_tuples(world)
    good = mired.data.read_bytes()
    outcomes = {}
    for n in range(N_DAMAGED):
        word = damage_and_run(net, mired, good, random.Random(seed + n))
        outcomes[word] = outcomes.get(word, 0) + 1
    print(outcomes)


def damage_and_run(net, mired, good, dice):
    """One damaged copy: either it serves, or it ends with a message. Returns which."""
    stat = mired.data.stat()
    mired.data.write_bytes(good)
    used = len(good.rstrip(b"\0"))  # what lies behind was never written
    os.chown(mired.data, stat.st_uid, stat.st_gid)
    with open(mired.data, "r+b") as file:
        for _ in range(dice.randint(1, 12)):
            page = dice.randrange(2, max(3, used // PAGE)) * PAGE
            is_whole = dice.randrange(3) == 0
            file.seek(page + (0 if is_whole else dice.randrange(PAGE - 64)))
            file.write(dice.randbytes(PAGE if is_whole else dice.randint(1, 64)))
    mired.log.write_text("")
    mired.launch()
    wait_for("an end or service", lambda: mired.process.poll() is not None or mired.status(False),
             60)
    try:
        try_many(net.out, net.target(False), map(topology.client4, range(0, N_TUPLES, 7)))
    except (OSError, Failure):
        pass  # the engine died on it
    if mired.process.poll() is None and mired.status(False):
        check(mired.stop()[0] == 0, "a clean stop of what runs")
        return "survived"
    # the supervisor's rule: three engine deaths in the store, then a message and the end
    wait_for("an end or service", lambda: mired.process.poll() is not None or mired.status(False),
             60)
    if mired.process.poll() is None:
        mired.stop()
        return "survived a restart"
    check(mired.process.poll() == STORE_EXIT, "exit 20, got", mired.process.poll(), mired.log_text()[-1500:])
    check(str(mired.db) in mired.log_text(), "the message names the store:",
          mired.log_text()[-1500:])
    return "refused"
