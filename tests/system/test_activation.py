"""Listening sockets that systemd holds: clients of a mired that is down wait for the next one, and
what stays in the packet filter meanwhile."""
import collections
import contextlib
import itertools
import pathlib
import re
import shutil
import socket
import threading
import time

import topology
from client import Client, attempt
from daemon import Mired
from sink import GREETING, Sink
from world import BUILD, PATIENCE, TOP, Skip, check, marked, run, wait_for

ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
N_RESTARTS, N_STREAMS = 10, 8
FRIEND = "198.18.0.10"  # the host itself, apart from the clients it plays
STORE_EXIT = 20


def held_socket(ns, family=socket.AF_INET, port=8025, backlog=512, **other):
    """As mired.socket says it; `other` changes an option."""
    options = {"SO_REUSEPORT": 1, "IPV6_V6ONLY": 1, **other}
    sock = ns.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, options["SO_REUSEPORT"])
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, options["IPV6_V6ONLY"])
    sock.bind((ANY[family], port))
    if "listen" not in other:
        sock.listen(backlog)
    return sock


def activated(world, net, **settings):
    """A mired whose sockets of both families somebody else holds."""
    mired = Mired(world, net, grey_stutter="0s", passtime="1s", **settings)
    mired.handed = [held_socket(net.gw, family) for family in ANY]
    mired.ns.shell("echo 1 > /proc/sys/net/ipv4/tcp_migrate_req")
    return mired


def has_table(mired):
    done = run(["nft", "list", "table", "inet", mired.table], ns=mired.ns, check_code=False)
    return done.returncode == 0


def remove_rules(mired):
    return run([BUILD / "mired", "-f", mired.conf, "--remove-rules"], ns=mired.ns,
               check_code=False)


def capabilities_of_the_unit():
    """Those of mired.service, as setpriv(1) wants them."""
    text = (TOP / "systemd" / "mired.service").read_text()
    names = re.search(r"^AmbientCapabilities=(.*)$", text, re.M).group(1).split()
    return ",".join("+" + name.removeprefix("CAP_").lower() for name in names)


def greeting(net, source):
    with Client(net.out, net.target(":" in source), source=source) as client:
        return client.line()


@marked(timeout_secs=60, tags=("path", "sanitize"))
def test_who_connects_while_mired_is_down_is_served_by_the_next_start(world):
    net = topology.gateway(world)
    mired = activated(world, net)
    Sink(world, net.mta, net.mta_listen)
    mired.start()
    check("2 of 2 listening sockets were handed over" in mired.log_text(), "it says so")
    mired.make_white(net.out, net.target(False), topology.client4(1))
    check(mired.stop()[0] == 0, "a clean stop")
    check(has_table(mired), "the rules stay")
    check(greeting(net, topology.client4(1)) == GREETING, "white hosts reach the mail server")
    waiting = [Client(net.out, net.target(":" in source), source=source)
               for source in (topology.client4(2), topology.client6(3))]
    mired.launch()
    for client in waiting:
        check(attempt(client).startswith("451"), "greeted and deferred")
    mired.wait_ready()
    check(greeting(net, topology.client4(1)) == GREETING, "and the white ones still do")
    check(mired.has_white(topology.client4(1)), "its element is there")


class Stream(threading.Thread):
    """Client after client, each of an address of its own; what became of them is counted."""

    def __init__(self, net, index, seen):
        super().__init__(daemon=True)
        self.net, self.index, self.seen = net, index, seen
        self.stopping = threading.Event()

    def run(self):
        for n in itertools.count():
            if self.stopping.is_set():
                return
            number = n * N_STREAMS + self.index
            is_v6 = number % 2
            source = topology.client6(number) if is_v6 else topology.client4(number)
            self.seen[self.one(source)] += 1
            time.sleep(0.002)

    def one(self, source):
        try:
            with Client(self.net.out, self.net.target(":" in source), source=source,
                        timeout_secs=20) as client:
                return "greeted" if client.sock.recv(1) == b"2" else "closed before the banner"
        except OSError as error:
            return type(error).__name__

    def end(self):
        self.stopping.set()
        self.join(timeout=60 * PATIENCE)


class Friend(Stream):
    """A whitelisted host, again and again."""

    def one(self, source):
        return greeting(self.net, FRIEND)


@marked(timeout_secs=120, tags=("once", "path"))
def test_ten_restarts_refuse_none_of_a_stream_of_clients(world):
    net = topology.gateway(world)
    mired = activated(world, net, workers=4, verbose="no")
    Sink(world, net.mta, net.mta_listen)
    mired.start()
    run([BUILD / "miredb", "-f", mired.conf, "-a", FRIEND])
    wait_for("its element", lambda: mired.has_white(FRIEND), 10)
    seen, met = collections.Counter(), collections.Counter()
    streams = [Friend(net, 0, met), *(Stream(net, n, seen) for n in range(N_STREAMS))]
    for stream in streams:
        stream.start()
    for _ in range(N_RESTARTS):
        before = seen["greeted"]
        wait_for("clients", lambda before=before: seen["greeted"] > before + 20, 10)
        check(mired.stop()[0] == 0, "a clean stop")
        check(has_table(mired), "the rules stay")
        mired.start()
    for stream in streams:
        stream.end()
    n_closed = seen.pop("closed before the banner", 0)
    print(f"{N_RESTARTS} restarts: {dict(seen)}; {n_closed} were taken by a mired that was ending")
    check(set(met) == {GREETING}, "the white host always met the mail server:", dict(met))
    check(set(seen) == {"greeted"}, "nobody was refused, reset or left waiting:", dict(seen))
    # a stream has one client at a time: what an ending mired has taken it closes in order
    check(n_closed <= N_RESTARTS * N_STREAMS, "no more than those just taken", n_closed)


@marked(timeout_secs=60, tags=("once",))
def test_workers_beside_the_socket_that_is_held_have_their_share(world):
    net = topology.gateway(world)
    mired = activated(world, net, workers=3)
    mired.start()
    with contextlib.ExitStack() as clients:
        for n in range(300):
            clients.enter_context(Client(net.out, net.target(False), source=topology.client4(n)))
        wait_for("all of them", lambda: mired.status()["connections"]["total"] == 300, 10)
        shares = mired.status()["connections"]["per_worker_accepted"]
    check(min(shares) > 60, "each worker has its share of 300:", shares)


@marked(timeout_secs=60, tags=("once",))
def test_a_mired_that_is_not_root_shares_roots_sockets(world):
    net = topology.gateway(world)
    mired = activated(world, net, workers=3, pid_file=world.dir / "run" / "pid",
                      control_socket=world.dir / "run" / "sock")
    mired.start()
    mired.stop()
    (world.dir / "run").mkdir(exist_ok=True)
    for path in (world.dir / "run", mired.dir / "state" / "lock"):
        shutil.chown(path, "mired")
    caps = capabilities_of_the_unit()
    mired.program = ["setpriv", "--reuid=mired", "--regid=mired", "--init-groups",
                     f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set=-all,{caps}"]
    mired.wants_routes = False
    mired.start()
    check(mired.process.pid == mired.supervisor_pid(), "it is the process that was started")
    status = pathlib.Path(f"/proc/{mired.process.pid}/status").read_text()
    check("Uid:\t0" not in status, "which is not root's", status)
    with contextlib.ExitStack() as clients:
        for n in range(100):
            clients.enter_context(Client(net.out, net.target(False), source=topology.client4(n)))
        wait_for("all of them", lambda: mired.status()["connections"]["total"] == 100, 10)
        shares = mired.status()["connections"]["per_worker_accepted"]
    check(min(shares) > 10, "each worker has its share of 100:", shares)
    check(mired.stop()[0] == 0 and has_table(mired), "an orderly stop")


@marked(timeout_secs=60, tags=("once",))
def test_rules_are_kept_or_removed_as_configured(world):
    net = topology.gateway(world)
    mired = activated(world, net)
    done = remove_rules(mired)
    check(done.returncode == 0 and not done.stderr, "no table is no error", done.stderr)
    mired.write_conf(keep_rules="no")
    mired.start()
    mired.stop()
    check(not has_table(mired), "no: they go, whoever holds the sockets")
    mired.write_conf(keep_rules="auto", low_priority_mx=["198.18.0.99"])
    mired.start()
    check("clients of the other 2 are refused while mired is down" in mired.log_text(), "it warns")
    mired.stop()
    check(not has_table(mired), "auto: they go when not all sockets are held")
    mired.handed = []
    mired.write_conf(keep_rules="yes", low_priority_mx=None, port=8125)
    mired.start()
    mired.make_white(net.out, net.target(False), topology.client4(1))
    done = remove_rules(mired)
    pid = str(mired.supervisor_pid())
    check(done.returncode == 1 and f"another mired (pid {pid}) holds" in done.stderr,
          "refused while it runs", done.returncode, done.stderr)
    check(mired.is_ready() and has_table(mired), "nothing happened to it")
    mired.stop()
    check(has_table(mired) and mired.has_white(topology.client4(1)), "yes: they stay")
    check("stays (keep-rules)" in mired.log_text(), "which is said")
    done = remove_rules(mired)
    check(done.returncode == 0 and not has_table(mired), "and are removed by order", done.stderr)
    mired.ns.nft("table inet mired { }")
    mired.conf.write_text("nonsense = 1\n")
    done = remove_rules(mired)
    check(done.returncode == 1 and "nonsense" in done.stderr and not has_table(mired),
          "also by a configuration that cannot be read", done.returncode, done.stderr)


@marked(timeout_secs=60, tags=("once",))
def test_a_reload_changes_what_becomes_of_the_rules(world):
    net = topology.gateway(world)
    mired = activated(world, net)
    for setting, is_kept in (("no", False), ("yes", True), ("auto", True)):
        mired.write_conf(keep_rules="yes" if setting == "no" else "no")
        mired.start()
        mired.write_conf(keep_rules=setting)
        run([BUILD / "miredctl", "-f", mired.conf, "reload"], ns=mired.ns)
        check(mired.stop()[0] == 0, "a clean stop")
        check(has_table(mired) == is_kept, "what was last said counts:", setting)


@marked(timeout_secs=60, tags=("once",))
def test_a_mired_that_cannot_go_on_leaves_no_rules(world):
    net = topology.gateway(world)
    mired = activated(world, net)
    mired.start()
    mired.stop()
    check(has_table(mired), "an orderly stop keeps them")
    (mired.db / "data.mdb").write_bytes(b"\xa5" * 100_000)
    done = mired.run_to_end(timeout_secs=30)
    check(done.returncode == STORE_EXIT, "the store is broken", done.returncode, done.stderr)
    check(not has_table(mired), "nobody waits for a start that does not come")


@marked(timeout_secs=60, tags=("once",))
def test_sockets_that_do_not_fit_are_refused_naming_both_sides(world):
    net = topology.gateway(world)
    mired = Mired(world, net, workers=2)
    cases = [
        ({"port": 9025}, "0.0.0.0:9025 was handed over (mired.socket), and the configuration "
                         "listens on 0.0.0.0:8025 [::]:8025: make ListenStream="),
        ({"port": 8027}, "0.0.0.0:8027 was handed over"),  # no low-priority-mx
        ({"SO_REUSEPORT": 0}, "0.0.0.0:8025 that was handed over: workers cannot listen beside"),
        ({"family": socket.AF_INET6, "IPV6_V6ONLY": 0},
         "[::]:8025 that was handed over: it takes IPv4, too: BindIPv6Only=ipv6-only"),
        ({"listen": False}, "descriptor 3 (mired.socket) was handed over and is no listening TCP"),
    ]
    for options, text in cases:
        with held_socket(net.gw, **options) as sock:
            mired.handed = [sock]
            done = mired.run_to_end()
        check(done.returncode == 1 and text in done.stderr, "refused:", text, done.returncode,
              done.stderr)
    mired.handed = []
    mired.start()


@marked(timeout_secs=60, tags=("once",))
def test_the_first_client_starts_it(world):
    if not shutil.which("systemd-socket-activate"):
        raise Skip("no systemd-socket-activate")
    net = topology.gateway(world)
    # one worker, since that program cannot open sockets that are shared
    mired = Mired(world, net, workers=1, listen=["0.0.0.0"], grey_stutter="0s",
                  program=["systemd-socket-activate", "-l", "0.0.0.0:8025"])
    mired.launch()
    wait_for("the socket", lambda: "Listening on 0.0.0.0:8025" in mired.log_text(), 10)
    check(mired.status(must_answer=False) is None, "nobody runs")
    with Client(net.out, topology.GW4, port=8025, source=topology.client4(1)) as client:
        client.expect("220")
    mired.wait_ready()
    check("1 of 1 listening sockets were handed over" in mired.log_text(), "it says so")
