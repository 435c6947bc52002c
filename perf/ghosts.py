"""A server in a network namespace behind a tun device, with ghost peers on the other side
(ghost.c): what it costs to hold connections, without a client's share in it.

Import only after harness.use_build(options, *TARGETS).
"""
import concurrent.futures
import contextlib
import dataclasses
import json
import os
import resource
import statistics
import subprocess
import time
import types

import harness
import world as w
from daemon import Mired

TARGETS = ("mired", "ghost", "floor")
SERVER, PORT = "10.255.0.1", 8025
SOURCES, N_SOURCES = "10.64.0.1", 2000
TABLE_MAX = 19900  # direct descriptors of one ring of floor: below the usual hard file limit
FEW, MANY, REQUESTS = 4000, 14000, 28000  # see user_bytes()
BANNER = "x" * 250  # what silent clients hear for minutes, a byte a period
# the server on one core, its peers on another: where the scheduler puts them is no figure of theirs
CORES = sorted(os.sched_getaffinity(0))
ON_SERVER_CORE = ["taskset", "-c", str(CORES[0])]
ON_GHOST_CORE = ["taskset", "-c", str(CORES[-1])]
SLABS = ("TCP", "sock_inode_cache", "filp", "dentry")


@dataclasses.dataclass(frozen=True)
class Load:
    """So many connections with a byte each per period."""
    n: int
    period_ms: int
    workers: int
    window_secs: int = 20
    rate: int = 5000

    @property
    def settle_secs(self):
        return 2 + self.period_ms // 1000

    def __str__(self):
        workers = "one worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.n:,} connections, each a byte per {self.period_ms / 1000:g} s, {workers}"


class GhostNet:
    """The namespace and its device; they go with the world."""

    def __init__(self, world):
        self.world = world
        self.ns = world.netns("ghost")
        self.ns.shell(f"""
            ip tuntap add dev ghost mode tun
            ip link set ghost txqueuelen 100000 up
            ip addr add {SERVER}/32 dev ghost
            ip route add 10.64.0.0/10 dev ghost
            echo 65535 > /proc/sys/net/core/somaxconn
            echo 65535 > /proc/sys/net/ipv4/tcp_max_syn_backlog""")

    def start_floor(self, load, *options):
        """Returns its process id."""
        table = min(TABLE_MAX, load.n // load.workers * 5 // 4 + 256)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # floor has it from here
        log = self.world.dir / "floor.log"
        floor = self.world.spawn([*ON_SERVER_CORE, w.BUILD / "perf" / "floor", PORT, load.workers,
                                  table, load.period_ms, *options], ns=self.ns, log=log)
        w.wait_for("floor to listen", lambda: "ready" in log.read_text(), 10)
        return floor.pid

    def start_mired(self, load, **settings):
        """Returns the process id of its engine. firewall = no: nothing redirects here."""
        topology = types.SimpleNamespace(gw=self.ns, rules="none", mx=None)
        mired = Mired(self.world, topology, firewall=False, workers=load.workers, verbose=False,
                      max_connections=load.n, max_listed=load.n, banner=BANNER,
                      listen=["0.0.0.0"], program=ON_SERVER_CORE, stutter=f"{load.period_ms}ms",
                      grey_stutter="90s", mx_addresses=None, **settings)
        mired.start()
        self.mired = mired
        return mired.pids()["engine"]

    def hold(self, pid, load):
        """Opens the connections, and measures what the process spends in the window, and holds."""
        before = harness.slab_bytes()
        options = {"server": f"{SERVER}:{PORT}", "sources": f"{SOURCES}/{N_SOURCES}",
                   "connections": load.n, "rate": load.rate, "period": load.period_ms,
                   "settle": load.settle_secs, "window": load.window_secs}
        argv = [*self.ns.prefix(), *ON_GHOST_CORE, str(w.BUILD / "perf" / "ghost"),
                *(str(word) for key, value in options.items() for word in (f"--{key}", value))]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True) as ghost:
            self._expect(ghost, "open")
            self._expect(ghost, "begin")
            seconds = [cpu_of_second(pid) for _ in range(load.window_secs - 1)]
            result = self._expect(ghost, "end")
            cores = statistics.median(seconds or [0])
            memory = harness.memory_bytes(pid)
            slabs = grown(before, harness.slab_bytes())
            with contextlib.suppress(BrokenPipeError):
                ghost.communicate("\n", timeout=60)
        us_per_byte = cores * 1e6 * result["seconds"] / max(1, result["bytes"])
        return {**result, "cores": cores, "us_per_byte": us_per_byte,
                "memory": memory, "kernel_bytes": sum(slabs.values()) / load.n,
                **{name: slabs.get(name, 0) / load.n for name in SLABS}}

    @staticmethod
    def _expect(ghost, phase):
        line = ghost.stdout.readline()
        result = json.loads(line) if line else {}
        w.check(result.get("phase") == phase, f"ghost comes to its phase {phase}, not", line)
        return result


def cpu_of_second(pid):
    """Cores a process uses; the median of several forgives what others do to a second of it."""
    began, cpu_secs = time.monotonic(), harness.cpu_secs(pid)
    time.sleep(1)
    return (harness.cpu_secs(pid) - cpu_secs) / (time.monotonic() - began)


def grown(before, after):
    return {name: size - before.get(name, 0) for name, size in after.items()}


def floor_run(load, *options):
    """One run of floor alone."""
    with contextlib.closing(w.World()) as world:
        net = GhostNet(world)
        return net.hold(net.start_floor(load, *options), load)


def mired_run(load):
    with contextlib.closing(w.World()) as world:
        net = GhostNet(world)
        return net.hold(net.start_mired(load), load)


def user_bytes():
    """Memory of mired's own per connection: by how much more a worker has for many than for few
    when queues and caches of fixed size have been filled by connections that came and went. The
    spare places of its table count, too: new connections get its places in turn."""
    few, many = (warm_memory(n) for n in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def warm_memory(n):
    load = Load(n, 1000, 1, window_secs=0, rate=10000)
    with contextlib.closing(w.World()) as world:
        net = GhostNet(world)
        pid = net.start_mired(load, host_cache=64, tuple_cache=64)
        for _ in range(0, REQUESTS, n):
            net.hold(pid, load)
            w.wait_for("the connections to end",
                       lambda: not net.mired.status()["connections"]["now"], 60)
        return harness.memory_bytes(pid)


def run_beside(load):
    """Both at the same time, so that a noisy machine does the same to both; what the kernel holds
    is not known apart then."""
    with contextlib.closing(w.World()) as world:
        nets = GhostNet(world), GhostNet(world)
        pids = nets[0].start_floor(load), nets[1].start_mired(load)
        with concurrent.futures.ThreadPoolExecutor(len(nets)) as pool:
            return list(pool.map(GhostNet.hold, nets, pids, [load] * len(nets)))


def median(runs, key):
    return statistics.median(run[key] for run in runs)
