"""A reload: what it puts in force under open connections, what it leaves, and what it says."""
import json
import os
import signal
import socket
import threading
import time

import topology
import world as w
from client import Client, try_mail
from control import ask
from daemon import Mired
from load import Load
from sink import GREETING, Sink
from world import BUILD, check, marked, run, wait_for

N_HELD, N_RELOADS, N_WARM = 10_000, 100, 20
GROWTH_BYTES_MAX = 2 << 20  # of a process between the 20th and the 100th reload


def reload(mired, *options, code=0, path=f"{BUILD}:{os.environ['PATH']}"):
    """miredctl reload; what it printed."""
    done = run(["env", f"PATH={path}", BUILD / "miredctl", "-f", mired.conf, *options, "reload"],
               check_code=False)
    check(done.returncode == code, f"reload ends with {code}:", done.returncode, done.stderr)
    return done.stdout if code == 0 else done.stderr


def change(mired, **keys):
    mired.write_conf(**keys)
    return reload(mired)


def banner(net, n):
    """The greeting of a client of its own, and how long it took."""
    with Client(net.out, net.target(False), source=topology.client4(n)) as client:
        return client.line(), time.monotonic() - client.connected_at


@marked(timeout_secs=90, tags=("path", "sanitize"))
def test_times_and_texts_hold_for_held_and_for_new_connections(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="300ms", grey_stutter="90s", banner="%h one",
                  hostname="a.example").start()
    with Client(net.out, net.target(False), source=topology.client4(1)) as held:
        first = held.sock.recv(100)
        said = change(mired, stutter="20ms", banner="%h two", hostname="b.example")
        check(said == "hostname: 'a.example' -> 'b.example'\n"
              "banner: '%h one' -> '%h two'\nstutter: 300ms -> 20ms\n", "it says so:", said)
        began = time.monotonic()
        rest = held.line()
        took = time.monotonic() - began
        check(first.decode() + rest == "220 a.example one", "the old text to its end:", first, rest)
        check(took < 3 * w.PATIENCE, "at the new pace:", took)
        check(banner(net, 2)[0] == "220 b.example two", "a new one is greeted by the new text")
        held.command("HELO x", "250 b.example")
        change(mired, read_timeout="2s", look_interval="200ms", stutter="600ms")
        wait_for("figures of the new pace", lambda: stretches(mired) == (1, 1), 5)
        began = time.monotonic()
        check(held.line() is None, "the held one is closed")
        took = time.monotonic() - began
        check(took < 5 * w.PATIENCE, "by the new timeout:", took)
    wait_for("the count", lambda: mired.status()["drops"]["read_timeouts"] == 1, 5)


def stretches(mired):
    pace = mired.status()["pace"]
    return pace["stretch_listed"], pace["stretch_grey"]


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_limits_listed_hosts_and_the_log_follow(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0", max_connections=100, listed_code=450,
                  verbose="no").start()
    answer = ask(mired, "list-put", 'one;"Go away";inet;1;198.19.5.0/24;\n')
    check("error" not in answer, "a list:", answer)
    words = {"source": topology.client4(0x0501)}
    change(mired, stutter="0")
    check(try_mail(net.out, net.target(False), **words).startswith("450"), "450 before")
    change(mired, listed_code=550, verbose="yes", trap_text="No %A")
    check(try_mail(net.out, net.target(False), **words).startswith("550"), "550 after")
    try_mail(net.out, net.target(False), source=topology.client4(7), recipient="<seen@mx.example>")
    wait_for("a line of verbose", lambda: "seen@mx.example" in mired.log_text(), 5)
    held = [Client(net.out, net.target(False), source=topology.client4(n)) for n in range(3)]
    wait_for("three", lambda: mired.status()["connections"]["now"] == 3, 5)
    change(mired, max_connections=2)
    check(mired.status()["connections"]["max"] == 2, "status has the new bound")
    check(mired.status()["connections"]["now"] == 3, "none of the three is closed")
    with Client(net.out, net.target(False), source=topology.client4(9)) as client:
        check(not client.bytes_until_eof(2), "a fourth is refused")
    said = change(mired, max_connections=100)
    check(said == "max-connections: 2 -> 100\n", "back to the start's:", said)
    said = change(mired, max_connections=101)
    check("100 -> 101 needs a restart: systemctl restart mired" in said, "beyond it:", said)
    for client in held:
        client.close()


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_passtime_holds_for_tuples_that_wait(world):
    net = topology.gateway(world)
    mired = Mired(world, net, passtime="1h", greyexp="4h", grey_stutter="0").start()
    source = topology.client4(1)
    words = {"sender": "<s@sender.example>", "source": source}
    try_mail(net.out, net.target(False), **words)
    time.sleep(2.2)
    try_mail(net.out, net.target(False), **words)
    time.sleep(0.5)
    check(not mired.has_white(source), "too early for an hour")
    change(mired, passtime="1s")
    try_mail(net.out, net.target(False), **words)
    wait_for("the host in the kernel's set", lambda: mired.has_white(source), 5)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_a_bad_file_changes_nothing(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0", banner="good").start()
    good = mired.conf.read_text()
    before = mired.status()["conf"]
    cases = {
        "banner = bad\nstuter = 1s\n": ":2: unknown key 'stuter'",
        "banner = bad\nstutter = 1h\n": ":2: stutter: ",
        "banner = bad\ngreyexp = 1s\n": "greyexp: must be longer",
        "banner = bad\nrules = none\nuser = nobody-of-that-name\n": "does not exist",
    }
    for text, wanted in cases.items():
        mired.conf.write_text(text)
        said = ask(mired, "reload")
        check(wanted in said.get("error", ""), "the fault is answered:", said)
        done = run([BUILD / "miredctl", "-f", mired.conf, "--socket", mired.socket_path, "reload"],
                   check_code=False)
        check(done.returncode == 1 and wanted in done.stderr, "exit status 1:", done)
    mired.conf.write_text(good + f"allowed-domains-file = {world.dir}/missing\n")
    said = ask(mired, "reload")
    check("missing: No such file" in said.get("error", ""), "a file that is named and not there:",
          said)
    mired.conf.write_text("nonsense\n")
    os.kill(mired.supervisor_pid(), signal.SIGHUP)
    wait_for("the fault in the log", lambda: mired.log_text().count("nothing has changed") >= 10, 5)
    check(mired.status()["conf"] == before, "the same configuration:", mired.status()["conf"])
    check(banner(net, 1)[0] == "220 good", "the old greeting")
    mired.conf.write_text(good)
    check(reload(mired).startswith("no key has changed"), "and the good file is the same")


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_what_needs_a_restart_is_said_and_stays_so(world):
    net = topology.gateway(world)
    mired = Mired(world, net, workers=2).start()
    said = change(mired, workers=4, port=9025, seen_interval="20s", list_size="1g")
    check(said == "port: 8025 -> 9025 needs a restart: systemctl restart mired\n"
          "workers: 2 -> 4 needs a restart: systemctl restart mired\n"
          "list-size: 256m -> 1g counts from the next run on: systemctl start mired-setup\n"
          "seen-interval: 10s -> 20s needs a restart: systemctl restart mired-logd\n", "lines:",
          said)
    state = mired.status()["conf"]
    check(state["pending_restart"] == ["port", "workers"], "the status knows:", state)
    check(state["path"] == str(mired.conf) and len(state["digest"]) == 16, "and from where:", state)
    check(abs(state["loaded"] - time.time()) < 10, "and since when:", state)
    said = reload(mired)
    check("workers: 2 -> 4 needs" in said and "seen-interval" not in said, "as long as it is so:",
          said)
    mired.write_conf(workers=2, port=8025)
    check(reload(mired).startswith("no key has changed"), "unless it is taken back")
    check(mired.status()["conf"]["pending_restart"] == [], "then nothing waits")
    answer = json.loads(run([BUILD / "miredctl", "-f", mired.conf, "--json", "reload"]).stdout)
    check(answer == {"ok": True, "changes": [], "warnings": []}, "as JSON:", answer)


@marked(timeout_secs=60, tags=("once",))
def test_lines_left_out_are_told_and_lists_that_are_old_are_brought(world):
    net = topology.gateway(world)
    lists_file = world.dir / "spamd.conf"
    addresses = world.dir / "mine.txt"
    addresses.write_text("198.19.6.0/24\n198.19.9.0/24\n")
    lists_file.write_text("all:\\\n\t:mine:\n\nmine:\\\n\t:black:\\\n\t:msg=\"Go away\":\\\n"
                          f"\t:method=file:\\\n\t:file={addresses}:\n")
    mired = Mired(world, net, lists_file=lists_file).start()
    ask(mired, "list-put", 'one;"Go away";inet;1;198.19.5.0/24;\n')
    os.utime(lists_file, (time.time() - 3600,) * 2)
    check("newer" not in reload(mired), "lists that are newer than their file are fine")
    os.utime(lists_file, (time.time() + 3600,) * 2)
    said = reload(mired)
    check(f"{lists_file} is newer than the lists in force: mired-setup brings them" in said,
          "older ones are not:", said)
    lists = {row["name"]: row["networks"] for row in ask(mired, "lists")["lists"]}
    check(lists.get("mine") == 2, "the list is in force:", lists)
    lists_file.write_text("all:\\\n\t:lost:\n")
    os.utime(lists_file, (time.time() + 7200,) * 2)
    reload(mired, code=1)
    check({"one", "mine"} <= {row["name"] for row in ask(mired, "lists")["lists"]},
          "a fault takes none away")
    check("mired-setup: is not found" in reload(mired, code=1, path="/nonexistent"),
          "a mired-setup that is away is told")
    socket = mired.socket_path
    mired.write_conf(control_socket=world.dir / "another.sock")
    check("newer" not in reload(mired, "--socket", socket),
          "lists of another daemon than the configuration's are left alone")
    mired.write_conf(control_socket=socket)
    lists_file.unlink()
    mired.write_nospamd("198.19.8.0/24\nnot.an.address\n")
    done = run([BUILD / "miredctl", "-f", mired.conf, "reload"])
    check("warning: " in done.stderr and "nospamd:2: " in done.stderr, "the bad line:", done.stderr)
    wait_for("the good one", lambda: mired.in_set("nospamd", ["198.19.8.1"]), 5)


@marked(timeout_secs=60, tags=("once",))
def test_the_service_manager_is_told(world):
    net = topology.gateway(world)
    path = str(world.dir / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(path)
        sock.settimeout(10 * w.PATIENCE)
        mired = Mired(world, net, program=["env", f"NOTIFY_SOCKET={path}"]).start()
        check(sock.recv(4096).startswith(b"READY=1\n"), "it serves")
        os.kill(mired.supervisor_pid(), signal.SIGHUP)
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        first, usec = sock.recv(4096).decode().splitlines()
        check(first == "RELOADING=1", "it reloads:", first)
        check(abs(int(usec.removeprefix("MONOTONIC_USEC=")) - began) < 10_000_000, "when:", usec)
        check(sock.recv(4096) == b"READY=1", "and has done so")
        mired.stop()


@marked(timeout_secs=60, tags=("once",))
def test_options_win_and_a_role_that_comes_back_has_the_new_values(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0", banner="%h %n").start("-n", "option")
    said = change(mired, banner_name="file", hostname="b.example")
    check("banner-name" not in said, "the option wins over the file again:", said)
    extra = [*net.mx, "192.0.2.77"]
    change(mired, mx_addresses=extra)
    before = mired.kill9("engine", "firewall")
    wait_for("both roles again", lambda: all(
        mired.pids().get(role, pid) != pid for role, pid in before.items() if role != "supervisor"),
        15)
    wait_for("it to serve", mired.is_ready, 20)
    check(banner(net, 1)[0] == "220 b.example option", "the engine has what the reload brought")
    check(mired.status()["conf"]["path"] == str(mired.conf), "and the state of it")
    check("192.0.2.77" in net.gw.shell("nft list table inet mired"), "the firewall role, too")


class Stream(threading.Thread):
    """Connections of one host, one after the other, until it is told to end."""

    def __init__(self, net, source):
        super().__init__(daemon=True)
        self.net, self.source = net, source
        self.is_over = threading.Event()
        self.greetings, self.errors = [], []

    def run(self):
        while not self.is_over.is_set():
            try:
                with Client(self.net.out, self.net.target(False), source=self.source,
                            timeout_secs=5) as client:
                    self.greetings.append(client.line())
            except OSError as error:
                self.errors.append(repr(error))


@marked(timeout_secs=90, tags=("path",))
def test_rules_are_exchanged_without_a_gap(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, grey_stutter="0").start()
    source = topology.client4(0x0777)
    run([BUILD / "miredb", "-f", mired.conf, "-a", source])
    wait_for("the host in the kernel's set", lambda: mired.has_white(source), 5)
    streams = [Stream(net, source) for _ in range(2)]
    for stream in streams:
        stream.start()
    table = net.gw.shell("nft -a list tables")
    for n in range(20):
        more = [] if n % 2 else ["192.0.2.77"]
        change(mired, mx_addresses=[*net.mx, *more], interface=["ext", *(["int"] if more else [])])
        wait_for("the other rules", lambda: ("192.0.2.77" in net.gw.shell(
            "nft list table inet mired")) == bool(more), 5)
    for stream in streams:
        stream.is_over.set()
        stream.join(30)
    greetings = [line for stream in streams for line in stream.greetings]
    errors = [line for stream in streams for line in stream.errors]
    print(f"{len(greetings)} connections through 20 exchanges of rules")
    check(len(greetings) > 50, "there was a stream:", len(greetings))
    check(not errors and set(greetings) == {GREETING}, "none was lost or met mired:", errors,
          set(greetings))
    check(net.gw.shell("nft -a list tables") == table, "the table, and so its sets, stayed")
    check(mired.has_white(source), "and their elements")
    change(mired, smtp_port=2525)
    wait_for("the other port", lambda: "dport 2525" in net.gw.shell("nft list table inet mired"), 5)


def hold(world, net, mired, n):
    load = Load(world, net.out, net.target(False), "--idle", n, "--source-range",
                "198.19.0.1-198.19.99.255", seconds=90)
    wait_for(f"{n} connections", lambda: mired.status()["connections"]["now"] >= n, 60, 0.2)
    return load


@marked(timeout_secs=150, alone=True, tags=("once",))
def test_a_hundred_reloads_lose_none_of_ten_thousand_connections_and_no_memory(world):
    net = topology.gateway(world)
    mired = Mired(world, net, host_cache=4096, tuple_cache=4096, verbose="no",
                  grey_stutter="90s").start()
    load = hold(world, net, mired, N_HELD)
    values = [{"stutter": "1s", "banner": "%h one", "read_timeout": "400s", "passtime": "3s",
               "mx_addresses": net.mx},
              {"stutter": "2s", "banner": "%h the other", "read_timeout": "500s",
               "passtime": "4s", "mx_addresses": [*net.mx, "192.0.2.77"]}]
    closed, rss, slowest = mired.status()["connections"]["closed"], {}, 0.0
    pids = mired.pids()
    for n in range(1, N_RELOADS + 1):
        mired.write_conf(**values[n % 2])
        began = time.monotonic()
        answer = ask(mired, "reload")
        slowest = max(slowest, time.monotonic() - began)
        check(len(answer.get("changes", [])) == (5 if n > 1 else len(answer["changes"])),
              "each of them changes something:", n, answer)
        if n in (N_WARM, N_RELOADS):
            time.sleep(0.5)
            rss[n] = {role: w.rss_bytes(pid) for role, pid in pids.items()}
    status = mired.status()
    growth = {role: rss[N_RELOADS][role] - rss[N_WARM][role] for role in pids}
    print(f"{N_RELOADS} reloads with {N_HELD} connections open: slowest {slowest * 1000:.0f} ms, "
          f"RSS after {N_WARM} and after {N_RELOADS}: {rss}")
    check(mired.pids() == pids, "no process died")
    check(status["connections"]["now"] == N_HELD, "all are held:", status["connections"])
    check(status["connections"]["closed"] == closed, "none was closed")
    check(status["connections"]["total"] >= N_HELD, "they are the same ones")
    check(max(growth.values()) <= GROWTH_BYTES_MAX, "no memory grew:", growth)
    change(mired, grey_stutter="0")
    check(try_mail(net.out, net.target(False), source="198.19.200.1").startswith("451"), "it serves")
    load.end()
