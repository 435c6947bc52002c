"""miredb beside a running daemon, and as a reader that is stopped or has much to read."""
import fcntl
import os
import pathlib
import pwd
import re
import shutil
import signal
import struct
import subprocess
import time

import nftset
import topology
import world as w
from daemon import Mired, prefix64
from world import BUILD, check, marked, run, wait_for

KERNEL_SECS = 0.1 * w.PATIENCE
N_DUMP = 100_000
N_STOPPED, COMMITS_A_SEC = 200_000, 1000
PIPE_BYTES = 65536
NOBODY = pwd.getpwnam("nobody").pw_uid


def start(world, **settings):
    return Mired(world, topology.gateway(world), **settings).start()


def miredb(mired, *args, **options):
    return run([BUILD / "miredb", "-f", mired.conf, *args], check_code=False, **options)


def own_store(mired):
    """Gives a store made by root's helpers to its user."""
    user = pwd.getpwnam("mired")
    for path in (mired.db.parent, mired.db, *mired.db.iterdir()):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    mired.db.chmod(0o700)
    mired.db.parent.chmod(0o750)


def seeded(world, n_hosts):
    """A configuration whose store holds many hosts, without a daemon."""
    mired = Mired(world, topology.gateway(world), store_map="8g")
    mired.db.mkdir(parents=True)
    run([BUILD / "tests" / "system" / "seedstore", mired.db, n_hosts, "10.0.0.0"],
        timeout_secs=300)
    own_store(mired)
    return mired


def secs_until(sets, name, address, is_there):
    """How long the kernel still says otherwise."""
    began = time.monotonic()
    while sets.has_all(name, [address]) != is_there:
        check(time.monotonic() - began < 10, f"{address} in {name} is {is_there} within 10 s")
        time.sleep(0.001)
    return time.monotonic() - began


@marked(timeout_secs=90, tags=("sanitize",), alone=True)
def test_changes_are_in_the_kernel_within_100_ms(world):
    mired = start(world)
    sets = nftset.Sets(mired.ns, "mired")
    steps = [  # arguments, what is then where
        (("-a",), {"spamd-white": True, "spamd-greytrap": False}),
        (("-t", "-a"), {"spamd-white": False, "spamd-greytrap": True}),
        (("-a",), {"spamd-white": True, "spamd-greytrap": False}),
        (("-d",), {"spamd-white": False, "spamd-greytrap": False}),
        (("-t", "-a"), {"spamd-white": False, "spamd-greytrap": True}),
        (("-d", "-t"), {"spamd-white": False, "spamd-greytrap": False}),
    ]
    worst = 0.0
    for n in range(5):
        for address in (topology.client4(n), topology.client6(n)):
            suffix = "6" if ":" in address else ""
            for args, expected in steps:
                done = miredb(mired, *args, address)
                check(done.returncode == 0 and not done.stderr, f"{args} {address}:", done)
                for name, is_there in expected.items():
                    key = prefix64(address) if suffix and name == "spamd-white" else address
                    worst = max(worst, secs_until(sets, name + suffix, key, is_there))
    print(f"worst of {5 * 2 * len(steps)} changes: in the kernel {worst * 1000:.1f} ms after "
          "miredb's end")
    check(worst < KERNEL_SECS, "within 100 ms:", worst)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_messages_and_exit_codes_through_the_daemon(world):
    mired = start(world)
    rows = [
        (("-a", "192.0.2.5", "", "2001:db8:7::9"), 0, ""),
        (("-a", "-T", "Trap@example.org"), 0, ""),
        (("-a", "-t", "192.0.2.6"), 0, ""),
        (("-a", "x", "192.0.2.7", "y"), 2,
         "miredb: invalid ip address x\nmiredb: invalid ip address y\n"),
        (("-d", "192.0.2.99", "192.0.2.7", "a@b"), 2,
         "miredb: no entry for 192.0.2.99\nmiredb: no entry for a@b\n"),
        (("-d", "-G", "192.0.2.5"), 1, "miredb: no entry for 192.0.2.5\n"),
        (("-a", "-T", "b@example.org", "nobody", "c@example.org"), 255,
         "miredb: not an email address: nobody\n"),
        (("-a",), 2, "miredb: no addresses specified\n"),
        (("-a", "-G", "192.0.2.5"), 2, "miredb: cannot add GREY entries\n"),
    ]
    for args, code, said in rows:
        done = miredb(mired, *args)
        check((done.returncode, done.stderr) == (code, said), f"{args}:", done)
    expected = {("WHITE", "192.0.2.5"), ("WHITE", "2001:db8:7::"), ("TRAPPED", "192.0.2.6"),
                ("SPAMTRAP", "trap@example.org"), ("SPAMTRAP", "b@example.org")}
    got = {(row[0], row[1]) for row in mired.rows()}
    check(got == expected, "the store holds what was asked for:", got)
    check(miredb(mired, "--check").returncode == 0, "the store is sound")


@marked(timeout_secs=60, tags=("once",))
def test_without_rights_nothing_is_written(world):
    mired = start(world)
    done = run(["setpriv", f"--reuid={NOBODY}", "--clear-groups", BUILD / "miredb", "-f",
                mired.conf, "-a", "192.0.2.5"], check_code=False)
    check(done.returncode == 1 and "ermission denied" in done.stderr, "it says so:", done)
    check(mired.rows() == [], "the store is empty")
    mired.stop()
    done = miredb(mired, "-a", "192.0.2.5")
    check(done.returncode == 0, "without a daemon it goes straight to the store:", done)
    check(mired.whites() == ["192.0.2.5"], "it is there:", mired.whites())
    owners = {path.stat().st_uid for path in mired.db.iterdir()}
    check(owners == {pwd.getpwnam("mired").pw_uid}, "no file belongs to root:", owners)
    mired.start()
    check(mired.has_white("192.0.2.5"), "the next daemon brings it to the kernel")


@marked(timeout_secs=60, tags=("once",))
def test_an_import_without_a_daemon_does_not_end_it_for_good(world):
    mired = seeded(world, 1)
    with open(mired.db / "writer.lock", "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as miredb import holds it
        done = mired.run_to_end(timeout_secs=30)
    check(done.returncode == 1, "a service manager is to try again:", done)
    check("another process writes to this store" in done.stderr + mired.log_text(),
          "it says why:", done)
    mired.start()
    check(mired.has_white("10.0.0.0"), "it runs when the import is done")


def dump_lines():
    """As spamdb of OpenBSD prints them, all of a life that has not ended."""
    now = int(time.time())
    for n in range(N_DUMP):
        address = f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
        if n % 10 == 0:
            yield f"WHITE|{address}|||{now}|{now}|{now + 3000000 + n}|{n % 7}|{n % 5}"
        elif n % 10 == 1:
            yield f"TRAPPED|{address}|{now + 80000 + n}"
        elif n % 10 == 2:
            yield f"SPAMTRAP|nobody-{n}@example.org"
        else:
            yield (f"GREY|{address}|mail{n}.example.net|<sender-{n}@example.net>|"
                   f"<Somebody@example.org>|{now}|{now + 14400}|{now + 14400}|1|0")


@marked(timeout_secs=240, tags=("once",))
def test_a_dump_of_spamdb_comes_in_and_goes_out(world):
    mired = start(world)
    lines = sorted(dump_lines())
    dump = world.dir / "spamdb.dump"
    dump.write_text("\n".join(lines) + "\n")
    command = [BUILD / "miredb", "-f", mired.conf, "import", dump]
    killed = subprocess.Popen([str(word) for word in command])
    wait_for("the import to be under way",
             lambda: mired.status()["greylist"]["tuples"] > 0, 30, 0.01)
    killed.kill()
    killed.wait()
    n_before = len(mired.rows())
    check(0 < n_before < N_DUMP, "it was killed midway, records stored:", n_before)
    began = time.monotonic()
    done = run(command, check_code=False, timeout_secs=120)
    took = time.monotonic() - began
    check(done.returncode == 0 and done.stderr == "", "the import:", done)
    got = sorted(miredb(mired, "export").stdout.splitlines())
    check(got == lines, "what came in goes out, line by line; lines:", len(got))
    print(f"{N_DUMP} lines imported through the daemon in {took:.1f} s, after one was killed at "
          f"{n_before}; the export is the same")
    white = [line.split("|")[1] for line in lines if line.startswith("WHITE")]
    wait_for("the kernel to have all", lambda: len(mired.in_set("spamd-white", white)) ==
             len(white), 30)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_watch_tells_changes_as_they_happen(world):
    mired = start(world)
    log = world.dir / "watch"
    watcher = world.spawn([BUILD / "miredb", "-f", mired.conf, "--watch"], log=log)
    time.sleep(1 * w.PATIENCE)
    for args in (("-a", "192.0.2.5"), ("-t", "-a", "192.0.2.5"), ("-d", "192.0.2.5"),
                 ("-a", "-T", "t@example.org"), ("-d", "t@example.org")):
        check(miredb(mired, *args).returncode == 0, f"{args} works")
        time.sleep(0.3 * w.PATIENCE)
    expected = [r"put WHITE\|192\.0\.2\.5\|\|\|\d+\|\d+\|\d+\|1\|0",
                r"put TRAPPED\|192\.0\.2\.5\|\d+", r"delete WHITE\|192\.0\.2\.5",
                r"delete TRAPPED\|192\.0\.2\.5", r"put SPAMTRAP\|t@example\.org",
                r"delete SPAMTRAP\|[0-9a-f]{32}"]
    wait_for("all lines", lambda: len(log.read_text().splitlines()) >= len(expected), 5)
    lines = log.read_text().splitlines()
    for line, pattern in zip(lines, expected):
        check(re.fullmatch(r"\d{10} " + pattern, line), f"{pattern} is told:", line)
    check(len(lines) == len(expected), "and nothing else:", lines)
    watcher.terminate()
    check(watcher.wait(timeout=5) == -signal.SIGTERM, "it watches until it is killed")


# --- readers --------------------------------------------------------------------------------------

def listing(mired):
    return subprocess.Popen([str(BUILD / "miredb"), "-f", str(mired.conf)],
                            stdout=subprocess.PIPE)


def commit_for(mired, secs):
    """Commits as the store's user; how many there were."""
    done = run(["setpriv", "--reuid=mired", "--regid=mired", "--clear-groups",
                BUILD / "tests" / "system" / "commitload", mired.db, secs, COMMITS_A_SEC],
               timeout_secs=secs + 60)
    return int(done.stdout)


def disk_bytes(mired):
    return (mired.db / "data.mdb").stat().st_blocks * 512


def holds_transaction(mired, pid):
    """By the reader table of LMDB 0.9: 64 bytes a slot behind a head of two; all ones are none."""
    table = (mired.db / "lock.mdb").read_bytes()
    slots = [struct.unpack_from("<Qi", table, at) for at in range(128, len(table) - 63, 64)]
    mine = [transaction for transaction, owner in slots if owner == pid]
    check(len(mine) == 1, f"{pid} is a reader:", mine)
    return mine[0] != 2**64 - 1


@marked(timeout_secs=60, tags=("once",))
def test_ctrl_z_never_stops_a_listing_within_a_transaction(world):
    mired = seeded(world, N_STOPPED)
    n_stops = 30
    reader = subprocess.Popen([str(BUILD / "miredb"), "-f", str(mired.conf), *["0.0.0.0/0"] * 200],
                              stdout=subprocess.DEVNULL, process_group=0)
    wait_for("the listing", lambda: reader.pid in
             struct.unpack(f"<{(mired.db / 'lock.mdb').stat().st_size // 4}i",
                           (mired.db / "lock.mdb").read_bytes()), 10)
    for n in range(n_stops):
        time.sleep(0.001 * (5 + n % 7))
        reader.send_signal(signal.SIGTSTP)
        wait_for("it to stop", lambda: b"State:\tT" in
                 pathlib.Path(f"/proc/{reader.pid}/status").read_bytes(), 5, 0.001)
        check(not holds_transaction(mired, reader.pid), f"stop {n} is between two slices")
        reader.send_signal(signal.SIGCONT)
    reader.kill()
    check(reader.wait(timeout=10) == -signal.SIGKILL, "it had not come to its end")


def ignores_ctrl_z(pid):
    mask = re.search(r"SigIgn:\s+(\w+)", pathlib.Path(f"/proc/{pid}/status").read_text())
    return int(mask.group(1), 16) >> (signal.SIGTSTP - 1) & 1


def children_of(pid):
    return [int(word) for word in
            pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@marked(timeout_secs=60, tags=("once",))
def test_ctrl_z_lets_a_check_give_its_snapshot_back(world):
    mired = seeded(world, N_STOPPED)
    checker = subprocess.Popen([str(BUILD / "miredb"), "-f", str(mired.conf), "--check"],
                               stdout=subprocess.PIPE, text=True, process_group=0)
    wait_for("the walk to begin", lambda: children_of(checker.pid), 10, 0.001)
    walker = children_of(checker.pid)[0]
    wait_for("it to be on its own", lambda: ignores_ctrl_z(walker), 10, 0.001)
    os.killpg(checker.pid, signal.SIGTSTP)
    wait_for("the walk to end", lambda: not w.pid_is_alive(walker), 20)
    check(checker.poll() is None, "who asked is stopped")
    os.killpg(checker.pid, signal.SIGCONT)
    said, _ = checker.communicate(timeout=20)
    check(checker.returncode == 0 and said.endswith(": sound\n"), "and then told:", said)


def stopped_listing(world, secs):
    world.tmpfs(world.dir / "mired", "1g")  # so many commits are more than a slow disk makes
    mired = seeded(world, N_STOPPED)
    commit_for(mired, 3)
    reader = listing(mired)
    n_read = len(reader.stdout.read(1000))
    time.sleep(0.5)  # it fills the pipe
    reader.send_signal(signal.SIGSTOP)
    before = disk_bytes(mired)
    n_commits = commit_for(mired, secs)
    after = disk_bytes(mired)
    reader.send_signal(signal.SIGCONT)
    text = reader.stdout.read()
    check(reader.wait(timeout=60) == 0, "the listing ends well")
    n_lines = text.count(b"\n")
    growth = (after - before) / before
    print(f"stopped for {secs} s under {n_commits / secs:.0f} commits/s: data.mdb {before >> 10} "
          f"-> {after >> 10} KiB ({growth:+.1%}); then {n_lines} lines")
    check(n_read == 1000 and n_lines >= N_STOPPED - PIPE_BYTES // 30, "it lists all:", n_lines)
    check(n_commits >= 0.8 * COMMITS_A_SEC * secs / w.PATIENCE, "1,000 commits a second:", n_commits)
    check(growth < 0.1, "the store grew by less than 10 %:", growth)


@marked(timeout_secs=120, tags=("once",))
def test_a_stopped_listing_does_not_grow_the_store(world):
    stopped_listing(world, 20)


@marked(timeout_secs=240, tags=("once", "long"))
def test_a_listing_stopped_for_a_minute_does_not_grow_the_store(world):
    stopped_listing(world, 60)


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        found = re.search(r"RssAnon:\s+(\d+) kB", file.read())
    return int(found.group(1)) * 1024 if found else None  # a zombie has no memory


def memory_of_listing(world, n_hosts):
    """The mapped pages of the store belong to the page cache; what is the reader's own is flat."""
    mired = seeded(world, n_hosts)
    reader = listing(mired)
    began = time.monotonic()
    n_lines, samples = 0, []
    while block := reader.stdout.read(1 << 20):
        n_lines += block.count(b"\n")
        own = anonymous_bytes(reader.pid)
        samples += [own] if own else []
    took = time.monotonic() - began
    _, status, usage = os.wait4(reader.pid, 0)
    reader.returncode = os.waitstatus_to_exitcode(status)
    check(reader.returncode == 0 and n_lines == n_hosts, "all are listed:", n_lines)
    print(f"{n_hosts} records listed in {took:.1f} s; memory of its own at most "
          f"{max(samples) >> 10} KiB in {len(samples)} samples, ru_maxrss with the mapped store "
          f"{usage.ru_maxrss} KiB")
    check(max(samples) < 16 << 20, "the reader's own memory is small:", max(samples))
    check(max(samples) - min(samples) < 1 << 20, "and flat:", min(samples), max(samples))


@marked(timeout_secs=180, tags=("once",))
def test_a_million_records_are_listed_with_flat_memory(world):
    memory_of_listing(world, 1_000_000)


@marked(timeout_secs=900, tags=("once", "long"))
def test_ten_million_records_are_listed_with_flat_memory(world):
    memory_of_listing(world, 10_000_000)
