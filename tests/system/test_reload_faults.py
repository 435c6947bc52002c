"""Reloads that go wrong: files of every kind, roles that are away or stand still, and storms."""
import concurrent.futures
import os
import pathlib
import re
import signal
import time

import topology
import world as w
from client import Client
from control import ask
from daemon import Mired
from load import Load
from test_listed import put_lists
from world import BUILD, check, marked, run, wait_for

N_STORM, N_WARM = 500, 50
GROWTH_BYTES_MAX = 2 << 20
WRONG_BYTES_MAX = 64 << 20  # sanitizers keep what was freed
NOTHING = "nothing has changed"
AT_ONCE = "other reloads are under way: try again later"


def greeting(net, n=1):
    with Client(net.out, net.target(False), source=topology.client4(n)) as client:
        return client.line()


def reload(mired):
    return run([BUILD / "miredctl", "-f", mired.conf, "--socket", mired.socket_path, "reload"],
               check_code=False)


def put_directory(path):
    path.mkdir()


def put_nothing(_):
    pass


# What may stand where the configuration was, and what is said of it.
KINDS = (
    (put_directory, "Is a directory"),
    (os.mkfifo, "not supported"),
    (put_nothing, "No such file"),
    (lambda path: path.symlink_to(path.name), "Too many levels"),
    (lambda path: path.write_bytes(b"# x\n" * 100_000), "too long"),
    (lambda path: path.write_bytes(b'banner = "a\0b"\n'), ":1: "),
    (lambda path: path.write_bytes(b'banner = "never ends\n\n'), ":"),
    (lambda path: path.write_bytes(b"banner = one\nbanner = {\n"), ":"),
    (lambda path: path.write_bytes(b"include(\"/etc/passwd\")\n"), ":1: "),
    (lambda path: path.write_bytes(b"\xff = 1\n"), ":1: "),
)


def remove(path):
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_whatever_stands_where_the_file_was_changes_nothing(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0", stutter="0", banner="good").start()
    good = mired.conf.read_text()
    before = mired.status()["conf"]
    for put, wanted in KINDS:
        mired.conf.unlink()
        put(mired.conf)
        said = ask(mired, "reload")
        remove(mired.conf)
        mired.conf.write_text(good)
        error = said.get("error", "")
        check(error.startswith(str(mired.conf)) and wanted in error, "file and fault:", wanted, said)
    wait_for("each in the log", lambda: mired.log_text().count(NOTHING) == len(KINDS), 5)
    check(mired.status()["conf"] == before, "the same configuration:", mired.status()["conf"])
    check(greeting(net) == "220 good", "the old greeting")
    done = reload(mired)
    check(done.returncode == 0 and done.stdout.startswith("no key has changed"), "it is back:", done)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_a_path_of_any_bytes_is_answered_and_told(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    good = mired.conf.read_bytes()
    name = os.fsencode(mired.dir) + b"/domains-\xff"
    line = b'allowed-domains-file = "' + name + b'"\n'
    for _ in range(6):  # more than may wait for an answer at once
        mired.conf.write_bytes(good + line)
        done = reload(mired)
        check(done.returncode == 1 and "domains-\\xff: No such file" in done.stderr, "a fault:", done)
    pathlib.Path(os.fsdecode(name)).write_bytes(b"mx.example\nnot a domain\n")
    done = reload(mired)
    check(done.returncode == 0 and "allowed-domains-file: " in done.stdout
          and "domains-\\xff'" in done.stdout, "a change:", done)
    check("domains-\\xff:2: " in done.stderr, "and a line left out:", done)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_of_a_wrong_file_a_hundred_lines_are_told(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    pids = mired.pids()
    before = rss(pids)
    mired.write_nospamd("not.an.address\n" * 100_000)
    done = reload(mired)
    lines = done.stderr.splitlines()
    check(done.returncode == 0 and len(lines) == 101, "it is done:", done.returncode, lines[-2:])
    check(lines[-1].endswith("nospamd: 100000 bad lines in all"), "and summed up:", lines[-1])
    wait_for("the sum in the log", lambda: "100000 bad lines in all" in mired.log_text(), 10)
    check(mired.pids() == pids and rss(pids)["supervisor"] - before["supervisor"] < WRONG_BYTES_MAX,
          "nothing grew much:", before, rss(pids))


class UsualMired(Mired):
    """A mired without -f: its own /etc/mired is a directory of the test's."""

    def __init__(self, world, net, **settings):
        super().__init__(world, net, **settings)
        self.etc = world.dir / "etc-mired"
        self.etc.mkdir()
        old = world.dir / "old-etc"
        old.mkdir()
        script = f"""
            mount --rbind /etc {old} && mount -t tmpfs -o mode=755 tmpfs /etc || exit 1
            for file in {old}/*; do
                [ "$file" = {old}/mired ] || ln -s "$file" /etc/
            done
            ln -s {self.etc} /etc/mired
            exec "$@" """
        self.program = ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh"]
        self.write_usual()

    def write_usual(self):
        (self.etc / "mired.conf").write_text(self.conf.read_text())

    def command(self, *options):
        return [*self.program, BUILD / "mired", "-d", *options]


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_the_usual_file_may_be_missing_at_the_start_but_not_vanish(world):
    net = topology.gateway(world)
    mired = UsualMired(world, net, grey_stutter="0", stutter="0", banner="mine",
                       passtime="7s").start()
    (mired.etc / "mired.conf").unlink()
    said = ask(mired, "reload")
    check("/etc/mired/mired.conf: No such file" in said.get("error", ""), "it is a fault:", said)
    check(greeting(net) == "220 mine", "and nothing has changed")
    mired.write_conf(banner="other")
    mired.write_usual()
    said = ask(mired, "reload")
    check([row["key"] for row in said.get("changes", [])] == ["banner"], "it is back:", said)


# --- many, and at the wrong time ------------------------------------------------------------------

def fds(pids):
    """Open files of each process."""
    return {role: len(os.listdir(f"/proc/{pid}/fd")) for role, pid in pids.items()}


def memfds(pids):
    """Those of them that are sealed files of ours."""
    def is_ours(pid, fd):
        try:
            return "memfd:mired" in os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            return False
    return {role: sum(is_ours(pid, fd) for fd in os.listdir(f"/proc/{pid}/fd"))
            for role, pid in pids.items()}


def rss(pids):
    return {role: w.rss_bytes(pid) for role, pid in pids.items()}


@marked(timeout_secs=120, alone=True, tags=("once",))
def test_five_hundred_reloads_by_request_and_signal_leave_nothing_behind(world):
    net = topology.gateway(world)
    mired = Mired(world, net, host_cache=4096, tuple_cache=4096, verbose="no").start()
    pids, supervisor = mired.pids(), mired.supervisor_pid()
    texts = [mired.conf.read_text() + f'banner = "%h {n % 2}"\nmta-addresses = "192.0.2.{n % 2 + 1}"\n'
             for n in range(2)]
    for n in range(1, N_STORM + 1):
        mired.conf.write_text(texts[n % 2] if n % 7 else "not a key\n")
        os.kill(supervisor, signal.SIGHUP)
        said = ask(mired, "reload")
        check(("error" in said) == (n % 7 == 0), "an answer for each request:", n, said)
        if n == N_WARM:
            time.sleep(1)
            before = fds(pids), memfds(pids), rss(pids)
    time.sleep(1)
    after = fds(pids), memfds(pids), rss(pids)
    print(f"after {N_WARM} and after {N_STORM} reloads: open files {before[0]} {after[0]}, memfds "
          f"{before[1]} {after[1]}, RSS {before[2]} {after[2]}")
    check(mired.pids() == pids, "no process died:", mired.log_text()[-1000:])
    check(after[:2] == before[:2], "no file stayed open:", before[:2], after[:2])
    check(all(after[2][role] - before[2][role] <= GROWTH_BYTES_MAX for role in pids),
          "no memory grew:", before[2], after[2])


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_reloads_at_the_same_time_are_all_answered(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    supervisor = mired.supervisor_pid()
    text = mired.conf.read_text()

    def one(n):
        scratch = mired.dir / f"conf-{n}"
        scratch.write_text(f'{text}banner = "%h {n}"\n')
        scratch.rename(mired.conf)
        os.kill(supervisor, signal.SIGHUP)
        return reload(mired)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        done = list(pool.map(one, range(64)))
    refused = [each.stderr for each in done if each.returncode]
    check(len(refused) < len(done) and all(AT_ONCE in text for text in refused),
          "each is done, or told that there are too many:", refused)
    mired.write_conf(banner="%h last")
    check(reload(mired).returncode == 0, "another one")
    check(greeting(net) == "220 gw.example last", "the last one counts")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_a_role_that_is_away_comes_back_with_what_was_reloaded_meanwhile(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0", grey_stutter="0", banner="old").start()
    pids = mired.kill9("engine", "firewall")
    mired.write_conf(banner="new", mx_addresses=[*net.mx, "192.0.2.77"])
    done = reload(mired)  # in time, or nobody listens yet
    check(done.returncode == 0 or "miredctl: " in done.stderr, "in time or not:", done)
    os.kill(pids["supervisor"], signal.SIGHUP)
    wait_for("it to serve again", lambda: mired.pids().get("engine", 0) not in (0, pids["engine"])
             and mired.is_ready(), 20)
    check(greeting(net) == "220 new", "the engine has it")
    wait_for("the rules", lambda: "192.0.2.77" in net.gw.shell("nft list table inet mired"), 10)
    check(mired.pids()["supervisor"] == pids["supervisor"], "the supervisor stayed")


@marked(timeout_secs=120, tags=("once",))
def test_a_firewall_role_that_stands_still_holds_up_no_reload(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0", grey_stutter="0").start()
    pids = mired.pids()
    os.kill(pids["firewall"], signal.SIGSTOP)
    slowest = 0.0
    for n in range(100):
        mired.write_conf(banner=f"%h {n}", mx_addresses=[*net.mx, f"192.0.2.{n + 1}"])
        began = time.monotonic()
        said = ask(mired, "reload")
        slowest = max(slowest, time.monotonic() - began)
        check("error" not in said, "it is answered:", n, said)
    check(greeting(net) == "220 gw.example 99", "the engine has the last one")
    print(f"100 reloads beside a firewall role that stands still: slowest {slowest:.3f} s")
    if pathlib.Path(f"/proc/{pids['firewall']}").exists():
        os.kill(pids["firewall"], signal.SIGCONT)
    wait_for("the last rules", lambda: "192.0.2.100" in net.gw.shell(
        "nft list chain inet mired prerouting"), 20)
    wait_for("it to be whole", mired.is_ready, 20)


# --- everything at once ---------------------------------------------------------------------------

def live_values(net, mired):
    """Two values of each key that a reload puts in force."""
    files = [mired.dir / name for name in ("domains-a", "domains-b", "nospamd-a", "nospamd-b")]
    files[0].write_text("mx.example\n")
    files[1].write_text("mx.example\nother.example\n")
    files[2].write_text("198.51.100.0/24\n")
    files[3].write_text("")
    return {
        "log-rate": (1000, 1), "verbose": ("no", "yes"), "hostname": ("a.example", "b.example"),
        "banner-name": ("one", "two"), "banner": ("%h %n", "%h"), "stutter": ("0s", "1ms"),
        "grey-stutter": ("0s", "20ms"), "read-timeout": ("400s", "300s"),
        "write-timeout": ("400s", "300s"), "close-wait": ("5s", "4s"),
        "close-discard": ("64k", "4k"), "bad-commands": (20, 19), "listed-code": (450, 550),
        "max-listed": (1000, 1), "list-prefixes": (4000000, 3000000),
        "max-connections": (2000, 1900), "look-interval": ("4s", "1s"),
        "byte-budget": ("auto", 1000000), "passtime": ("25m", "1s"), "greyexp": ("4h", "5h"),
        "whiteexp": ("36d", "35d"), "trapexp": ("24h", "23h"), "trap-text": ("No %A", "No"),
        "allowed-domains-file": files[:2],
        "low-priority-mx": (["192.0.2.9"], ["192.0.2.9", "192.0.2.10"]),
        "store-wait": ("10s", "9s"), "store-retry": ("2s", "1s"), "commit-max": (256, 500),
        "commit-wait": ("20ms", "0ms"), "burst-max": (1000000, 0), "sweep-interval": ("1s", "50ms"),
        "keep-rules": ("auto", "yes"), "traffic-class": ("1:25", "off"),
        "interface": (["ext"], ["ext", "int"]), "mx-addresses": (net.mx, [*net.mx, "192.0.2.77"]),
        "mta-addresses": (["192.0.2.1"], ["192.0.2.2"]), "smtp-port": (25, 26),
        "nospamd-file": files[2:], "firewall-watch": ("500ms", "20ms"),
        "sync-skew": ("10m", "9m"),
    }


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_every_key_of_a_reload_changes_under_load(world):
    net = topology.gateway(world)
    mired = Mired(world, net, max_connections=2000, low_priority_mx=["192.0.2.9"])
    values = live_values(net, mired)
    schema = (w.TOP / "src" / "conf" / "schema.c").read_text()
    live = re.findall(r'\{"([a-z0-9-]+)", [^}]* CONF_LIVE(?:_\w+)?\}', schema)
    check(set(live) == set(values), "the table's keys:", set(live) ^ set(values))
    sides = [{key: pair[n] for key, pair in values.items()} for n in range(2)]
    mired.write_conf(**sides[0])
    mired.start()
    pids = mired.pids()
    put_lists(mired, {"bad": ("no", ["198.19.50.0/24"], ["2001:db8::1/128"])})
    loads = [Load(world, net.out, net.target(False), *options, "--source-range", sources, seconds=60)
             for options, sources in (
                 (("--tuples", 100_000, "--rate", 300, "--ack-file", world.dir / "acks"),
                  "198.19.1.1-198.19.2.250"),
                 (("--idle", 300), "198.19.50.1-198.19.50.250"))]
    wait_for("connections", lambda: mired.status()["connections"]["now"] >= 300, 20)
    until = time.monotonic() + 6
    n = 0
    while time.monotonic() < until:
        n += 1
        mired.write_conf(**sides[n % 2])
        answer = ask(mired, "reload")
        changed = {row["key"] for row in answer.get("changes", []) if not row["pending"]}
        check(changed == set(values), "all of them change:", set(values) - changed, answer)
    status = mired.status()
    for load in loads:
        load.end()
    print(f"{n} reloads of {len(values)} keys beside {status['connections']['total']} connections")
    check(mired.pids() == pids, "no process died:", mired.log_text()[-2000:])
    check(status["connections"]["listed"] > 0 and status["connections"]["total"] > 600,
          "there was a load:", status["connections"])
    check("handed over" not in mired.log_text(), "each was taken:", mired.log_text()[-2000:])
    mired.write_conf(**sides[0])
    check(reload(mired).returncode == 0, "the first ones again")

    def serves():
        try:
            return (greeting(net) or "").startswith("220 a.example")
        except ConnectionError:  # the rules for the other port stand a moment longer
            return False
    wait_for("it to serve", serves, 10)
