"""One host that is server and crowd of clients: a namespace with nothing but its loopback device, a
mired that greylists or tarpits without rules of its own, and the program crowd (crowd.c)."""
import contextlib
import json
import math
import os
import pathlib
import resource
import signal
import time
import types

import world as w
from daemon import Mired

SERVER, PORT = "198.18.0.1", 8025
SOURCES = "198.19.0.0/16"
FIRST_SOURCE, N_SOURCES = "198.19.0.1", 65000
# As src/engine/capacity.c has them: no ring gets more than its share and so many standard deviations
SPREAD_SIGMAS = 6
HEADROOM = 256


def file_limit():
    """The hard limit, which bounds one ring and one client process."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def rings_for(connections):
    """How many workers hold so many: the kernel deals them out by a hash, so none may be planned
    full."""
    limit = file_limit()
    share = limit - SPREAD_SIGMAS * math.sqrt(limit) - HEADROOM
    return max(2, math.ceil(connections / share))


def host(world):
    """The namespace. No rules, so nothing is tracked; its sysctls go with it."""
    ns = world.netns("one")
    ns.shell(f"""
        ip addr add {SERVER}/32 dev lo; ip route add local {SOURCES} dev lo
        echo 65535 > /proc/sys/net/core/somaxconn
        echo 65535 > /proc/sys/net/ipv4/tcp_max_syn_backlog
        echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range""")
    return ns


def mired_on(world, ns, **settings):
    """A started daemon without firewall; its store is new."""
    topology = types.SimpleNamespace(gw=ns, rules="none", mx=[])
    name = f"mired{len(world._processes)}"
    mired = Mired(world, topology, name=name, **{
        "firewall": False, "listen": [SERVER], "port": PORT, "verbose": "no", "backlog": 65535,
        **settings})
    return mired.launch().wait_ready(60)


def tracked(ns):
    """Connections that conntrack knows of in the namespace."""
    with contextlib.suppress(OSError):
        return int(ns.shell("cat /proc/sys/net/netfilter/nf_conntrack_count"))
    return 0


class Crowd:
    """A run of crowd; see its head for the options."""

    def __init__(self, world, ns, build, **options):
        self.path = pathlib.Path(world.dir) / f"crowd{time.monotonic_ns()}"
        argv = [build / "perf" / "crowd", "--connect", f"{SERVER}:{PORT}",
                "--source", f"{FIRST_SOURCE}:0", "--sources", N_SOURCES]
        for name, value in options.items():
            argv += [f"--{name.replace('_', '-')}", value]
        self.process = world.spawn(argv, ns=ns, log=self.path)
        self._n_read = 0

    def is_running(self):
        return self.process.poll() is None

    def news(self):
        """The reports since the last call."""
        lines = self.path.read_text().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        new = whole[self._n_read:]
        self._n_read = len(whole)
        return [json.loads(line) for line in new]

    def result(self, timeout_secs):
        """Waits for its end; its last report."""
        self.process.wait(timeout=timeout_secs)
        w.check(self.process.returncode == 0, "crowd ended with", self.process.returncode,
                self.path.read_text()[-500:])
        return json.loads(self.path.read_text().splitlines()[-1])

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGTERM)
