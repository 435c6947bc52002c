"""Big lists under load: what a replacement costs the others, and what a kill leaves behind."""
import random
import threading
import time

import test_flush
import topology
from client import Client, attempt
from control import Control
from daemon import Mired
from load import Load
from world import PATIENCE, check, marked, wait_for

N_NETWORKS, N_CONNECTIONS, N_REPLACED = 1_000_000, 10_000, 4
LATE_MAX_MS = 100
N_WHITE, N_WHITE_LISTED = 1_000_000, 200_000
N_KILLS, N_KILL_NETWORKS = 8, 150_000


def list_line(tag, first, n, step=2):
    """A list of n single addresses, `step` apart, as one line of the spamd-cfg protocol."""
    parts = [f'{tag};"Your address %A is on the list {tag}";inet;{n}']
    for number in range(first, first + n * step, step):
        parts.append(f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}/32")
    return ";".join(parts) + ";\n"


def put(mired, body):
    """Replaces lists and returns the answer and how long it took."""
    began = time.monotonic()
    with Control(mired) as control:
        answer = control.ask("list-put", body)
    check("error" not in answer, "the list is taken:", answer)
    return answer, time.monotonic() - began


@marked(timeout_secs=240, tags=("once",), alone=True)
def test_replacing_a_list_of_a_million_delays_no_stuttered_byte(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="1s", grey_stutter="90s", verbose="no").start()
    bodies = [list_line("big", 0x0b000001 + n, N_NETWORKS).encode() for n in range(2)]
    load = Load(world, net.out, net.target(False), "--idle", N_CONNECTIONS, "--pace", 1000,
                "--rate", 2000, "--source-range", "198.19.0.1-198.19.199.255", seconds=80)
    began = time.monotonic()
    wait_for("all connections", lambda: mired.status()["connections"]["now"] >= N_CONNECTIONS, 60,
             0.2)
    quiet_from = time.monotonic() - began + 1
    time.sleep(6)
    busy_from = time.monotonic() - began
    took = [put(mired, bodies[n % 2])[1] for n in range(N_REPLACED)]
    busy_until = time.monotonic() - began
    time.sleep(2)
    status = mired.status()
    load.process.terminate()
    summary = load.result(20)
    late = summary["late_ms"]
    quiet = max(late[int(quiet_from):int(busy_from) - 1])
    busy = max(late[int(busy_from):int(busy_until) + 2])
    print(f"{N_REPLACED} replacements of {N_NETWORKS} networks, {N_CONNECTIONS} connections: "
          f"longest delay of a byte {busy:.0f} ms (before: {quiet:.0f} ms), answers after "
          f"{', '.join(f'{secs:.2f}' for secs in took)} s, {summary['gaps']} bytes measured, "
          f"{summary['merged']} not; table and kept lists "
          f"{status['lists']['table_bytes'] / N_NETWORKS:.1f} bytes a network")
    check(summary["held"] == N_CONNECTIONS, "all are held:", summary["held"])
    check(summary["gaps"] > N_CONNECTIONS * 5, "they were stuttered:", summary["gaps"])
    check(summary["merged"] <= summary["gaps"] / 1000, "hardly a byte is unmeasured:",
          summary["merged"])
    check(status["lists"]["networks"] == N_NETWORKS, "the list is in force:", status["lists"])
    check(status["lists"]["table_bytes"] <= 64 * N_NETWORKS, "memory:", status["lists"])
    check(busy <= LATE_MAX_MS * PATIENCE, "no byte is late:", busy)


@marked(timeout_secs=180, alone=True)
def test_newly_listed_hosts_are_out_of_the_kernel_within_two_seconds(world):
    net = topology.gateway(world)
    mired = Mired(world, net, verbose="no")
    white = test_flush.seed(mired, N_WHITE)
    mired.start()
    # every fifth host: they lie all over the store
    listed, others = white[::5], [host for n, host in enumerate(white) if n % 5]
    wait_for("all in the kernel", lambda: mired.in_set("spamd-white", white[-1:]), 60)
    check(len(mired.in_set("spamd-white", listed)) == N_WHITE_LISTED, "all are white")
    body = list_line("bad", 0x0a000000, N_WHITE_LISTED, 5)
    began = time.monotonic()
    _, answered = put(mired, body)
    wait_for("the last to go", lambda: not mired.in_set("spamd-white", listed[-3:]), 10, 0.005)
    took = time.monotonic() - began
    left = mired.in_set("spamd-white", listed)
    print(f"{N_WHITE_LISTED} of {N_WHITE} white hosts out of the kernel {took:.2f} s after the "
          f"list was sent; it was answered after {answered:.2f} s")
    check(not left, "all of them are out:", sorted(left)[:5])
    check(took < 2 * PATIENCE, "in time:", took)
    check(len(mired.in_set("spamd-white", others[:20000])) == 20000, "the others stay")
    wait_for("the count", lambda: mired.status()["lists"]["delisted"] == N_WHITE_LISTED, 5)
    check(mired.log_text().count("blacklisted, removing from whitelist") == 1000,
          "the log names the first thousand")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_a_disk_that_fills_during_a_replacement_leaves_the_old_list_in_force(world):
    net = topology.gateway(world)
    small = world.dir / "small"
    world.tmpfs(small, "8m")
    mired = Mired(world, net, stutter="0s", state_dir=small / "state").start()
    put(mired, list_line("big", 0xc6130001, 1000))  # 198.19.0.1, .3, ...
    for n in range(2):
        with Control(mired) as control:
            answer = control.ask("list-put", list_line("big", 0x0b000001, N_NETWORKS))
            lists = control.ask("lists")["lists"]
        check("No space left on device" in answer.get("error", ""), "refused, and why:", answer)
        check([entry["networks"] for entry in lists] == [1000], "the old one is there:", lists)
        with Client(net.out, net.target(False), source=topology.client4(1)) as client:
            reply = attempt(client)
            check("on the list big" in reply, "and in force:", reply)
        check(mired.log_text().count("No space left on device") == n + 1, "the log says why")
    check([path.name for path in (small / "state" / "lists" / "loaded").iterdir()] ==
          ["0001-big"], "nothing is left behind")
    check(mired.stop()[0] == 0, "a clean end")
    mired.start()
    check(mired.status()["lists"]["networks"] == 1000, "after a restart too")


class Putter(threading.Thread):
    """Puts two lists in turn until mired is gone."""

    def __init__(self, mired, bodies):
        super().__init__(daemon=True)
        self.mired, self.bodies, self.n_taken = mired, bodies, 0

    def run(self):
        try:
            while True:
                put(self.mired, self.bodies[self.n_taken % 2])
                self.n_taken += 1
        except (OSError, ConnectionError, ValueError):
            pass  # killed


@marked(timeout_secs=180, tags=("once", "sanitize"))
def test_a_kill_leaves_the_old_list_or_the_new_one(world):
    rng = random.Random(0x6c697374)
    net = topology.gateway(world)
    mired = Mired(world, net, verbose="no").start()
    bodies = [list_line("big", 0x0b000001, N_KILL_NETWORKS + n).encode() for n in range(2)]
    put(mired, bodies[1])
    loaded = mired.db.parent / "lists" / "loaded"
    n_taken, found = 0, []
    for _ in range(N_KILLS):
        putter = Putter(mired, bodies)
        putter.start()
        time.sleep(rng.uniform(0.05, 1.2) * PATIENCE)
        mired.kill9()
        mired.wait_gone()
        putter.join(timeout=20)
        n_taken += putter.n_taken
        on_disk = (loaded / "0001-big").read_bytes()
        check(on_disk in bodies, "one list or the other is on disk, whole:", len(on_disk))
        mired.start()
        with Control(mired) as control:
            lists = control.ask("lists")["lists"]
        check([entry["name"] for entry in lists] == ["big"], "it is known:", lists)
        check(lists[0]["networks"] == N_KILL_NETWORKS + bodies.index(on_disk),
              "and in force as it stands on disk:", lists)
        check([path.name for path in loaded.iterdir()] == ["0001-big"], "nothing else is there")
        found.append(bodies.index(on_disk))
    print(f"{N_KILLS} kills beside {n_taken} replacements of {N_KILL_NETWORKS} networks; "
          f"found on disk: {found}")
    check(n_taken > 0, "lists were replaced")
