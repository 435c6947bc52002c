"""miredctl held and top: what the running daemon holds, as text and live on a terminal."""
import contextlib
import fcntl
import importlib.util
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import topology
import world as w
from client import Client
from control import ask
from daemon import Mired
from world import check, marked, wait_for

N_GREY, N_LISTED, N_TRAPPED, N_V6 = 300, 120, 40, 60
LIST_NAME = "a-list-of-ours"
LINE_BYTES_MAX = 2500  # over the line for a refresh where little has changed, at 80x24


def emulator():
    """pyte, found when it is needed: not every machine that runs other tests has it."""
    if importlib.util.find_spec("pyte") is None:  # packages are for the system's python3 only
        sys.path.append("/usr/lib/python3/dist-packages")
    return importlib.import_module("pyte")


class Terminal:
    """A program on a pseudo terminal, and what a person would see there."""

    def __init__(self, argv, columns, lines, ns=None, term="screen-256color"):
        pyte = emulator()
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        self.resize(columns, lines)
        self.modes = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [*(ns.prefix() if ns else []), *map(str, argv)], stdin=slave, stdout=slave,
            stderr=slave, env={**os.environ, "TERM": term}, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.slave = slave
        self.n_bytes = 0
        self.raw = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, columns, lines):
        self.screen.resize(lines, columns)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def watch(self, seconds=0.1):
        """Reads what comes for so long; returns how many bytes that were."""
        before, end = self.n_bytes, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                break
            with contextlib.suppress(OSError):
                data = os.read(self.master, 65536)
                self.n_bytes += len(data)
                self.raw += data
                self._stream.feed(data)
        return self.n_bytes - before

    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, pattern, timeout_secs=15):
        """Waits until the screen shows it; returns the match."""
        def look():
            found = re.search(pattern, self.text(), re.M)
            if not found:
                self.watch()
            return found
        try:
            return wait_for(f"{pattern!r} on the screen", look, timeout_secs, 0)
        except w.Failure as failure:
            raise w.Failure(f"{failure}; it shows:\n{self.text()}") from None

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self, timeout_secs=5):
        """The exit status of a program that is to end."""
        def is_over():
            self.watch()
            return self.process.poll() is not None
        wait_for("the program's end", is_over, timeout_secs)
        return self.process.returncode


def miredctl(mired, *words):
    return w.run([w.BUILD / "miredctl", "-f", mired.conf, *words], check_code=False)


def start(world):
    """A daemon on a gateway that stutters long enough for everybody to be held."""
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="5s", grey_stutter="90s", verbose=False).start()
    # the last addresses of the /16 are on a list, those before them trapped
    answer = ask(mired, "list-put", f'{LIST_NAME};"listed";inet;1;198.19.255.0/24;\n')
    check(answer.get("lists") == 1, "the list is in force:", answer)
    lines = [f"trapped {topology.client4(0xfe00 + i)}\n" for i in range(N_TRAPPED)]
    check(ask(mired, "change", "".join(lines))["done"] == N_TRAPPED, "hosts are trapped")
    return net, mired


def crowd(net):
    """Clients of all classes, held."""
    hosts = [topology.client4(i) for i in range(N_GREY)]
    hosts += [topology.client4(0xff00 + i) for i in range(N_LISTED)]
    hosts += [topology.client4(0xfe00 + i) for i in range(N_TRAPPED)]
    hosts += [topology.client6(i) for i in range(N_V6)]
    return [Client(net.out, net.target(":" in host), source=host) for host in hosts]


def wait_held(mired, n):
    wait_for(f"{n} connections", lambda: mired.status()["connections"]["now"] >= n and
             mired.status()["connections"]["unknown"] == 0, 20)


def check_held(mired):
    """What the verb says of the crowd."""
    n = N_GREY + N_LISTED + N_TRAPPED + N_V6
    held = ask(mired, "held 100")
    classes = {name: count for name, count in held["classes"].items() if count}
    check(classes == {"grey": N_GREY + N_V6, "listed": N_LISTED, "trapped": N_TRAPPED},
          "by class:", classes)
    check(held["connections"] == n and sum(held["states"].values()) == n, "in all:", held)
    check(held["lists"] == [{"name": LIST_NAME, "connections": N_LISTED}], "by list:", held)
    networks = {row["network"]: row["connections"] for row in held["networks"]}
    check(networks == {"198.19.0.0/24": 256, "198.19.1.0/24": N_GREY - 256,
                       "198.19.255.0/24": N_LISTED, "198.19.254.0/24": N_TRAPPED,
                       "2001:db8:c::/48": N_V6}, "by network:", networks)
    check(held["networks"][0]["network"] == "198.19.0.0/24" and held["networks_exact"], held)
    secs = [row["held_secs"] for row in held["longest"]]
    check(len(secs) == 100 and secs == sorted(secs, reverse=True), "longest first:", secs)
    one = ask(mired, f"held {topology.client4(0xff07)}")
    check(one["connections"] == 1 and one["longest"][0]["list"] == LIST_NAME and
          one["longest"][0]["class"] == "listed", "of one address:", one)
    none = ask(mired, "held 192.0.2.200")
    check(none["connections"] == 0 and none["longest"] == [], "of a stranger:", none)
    check("error" in ask(mired, "held 101") and "error" in ask(mired, "held x"), "refused")


def check_held_text(mired):
    """miredctl held: as text, and as the daemon's answer."""
    text = miredctl(mired, "held", "-n", "3").stdout
    for part in (f"grey {N_GREY + N_V6}, listed {N_LISTED}, trapped {N_TRAPPED}",
                 "198.19.0.0/24", LIST_NAME):
        check(part in text, f"held says {part!r}:", text)
    check(len(json.loads(miredctl(mired, "held", "--json", "-n", "3").stdout)["longest"]) == 3,
          "-n bounds the rows")
    done = miredctl(mired, "held", topology.client6(3))
    check(done.returncode == 0 and "connections 1," in done.stdout, "an address:", done)
    for words in (("nonsense",), ("-n", "101"), ("-n", "x"), ("-n", "192.0.2.1")):
        check(miredctl(mired, "held", *words).returncode == 2, "a wrong call:", words)


@marked(tags=("sanitize", "once"))
def test_held_tells_of_every_connection(world):
    net, mired = start(world)
    clients = crowd(net)
    wait_held(mired, len(clients))
    check_held(mired)
    check_held_text(mired)
    for client in clients[:N_GREY]:
        client.reset()
    wait_for("the grey ones to be gone",
             lambda: ask(mired, "held")["connections"] == len(clients) - N_GREY, 20)


def check_screen(terminal, columns, lines, parts):
    """These parts are to be seen; and a picture for who wants to look at it."""
    for part in parts:
        terminal.wait_for(part)
    check(all(len(line) <= columns for line in terminal.screen.display), "no line is too long")
    save_dir = os.environ.get("MIRED_TEST_SCREENS")
    if save_dir:
        with open(f"{save_dir}/top-{columns}x{lines}.txt", "w", encoding="utf-8") as file:
            file.write(terminal.text() + "\n")


ESSENTIALS = [
    r"^mired \d+\.\d+\.\d+  up \d+s .*\d\d:\d\d:\d\d$",
    r"^listening 0\.0\.0\.0:8025 \[::\]:8025 +every 1 s$",
    rf"^held +{N_GREY + N_LISTED + N_TRAPPED + N_V6}  of \d+  grey {N_GREY + N_V6}  white 0  "
    rf"listed {N_LISTED}  trapped {N_TRAPPED}",
    r"^a second accepted [\d.]+  closed [\d.]+  deferred [\d.]+  passed [\d.]+  trapped [\d.]+",
    r"^pace +stuttered \d+B/s  of \d+kB/s",
    r"^store +tuples \d+  hosts \d+  spamtraps 0  commit p50 [\d.]+ms  p99 [\d.]+ms",
    r"^firewall complete yes  behind 0  delay p50 [\d.]+ms  p99 [\d.]+ms",
    r"^lists +in force 1  networks 1",
    r"^sync +active no",
    r"^drops +",
    r"^daemon +memory \d+MB  cpu [\d.]+%  workers 2",
    r"^ +HELD ADDRESS",
    r"^ +\d+s 198\.19\.\d+\.\d+ +(grey|listed|trapped) +banner +\d+B",
    r"198\.19\.0\.0/24 +256",
    rf"{LIST_NAME} +{N_LISTED}",
]
MORE = [r"^dialogue banner \d+", r"^workers +0: \d+  1: \d+", r"commits/s [\d.]+",
        r"^ +\d+s 198\.19\.\S+ .* 198\.19\.0\.0/24 +256 +" + LIST_NAME]


def check_quiet_line(terminal):
    """Only what has changed goes over the line."""
    terminal.watch(0.5)
    sizes = [terminal.watch(1.0) for _ in range(3)]
    check(0 < max(sizes) <= LINE_BYTES_MAX, "bytes a refresh:", sizes)
    terminal.press("p")
    terminal.wait_for("PAUSED")
    check(terminal.watch(1.5) <= 200, "a pause is a pause")
    terminal.press("p")
    terminal.wait_for("every 1 s")


def check_keys(terminal):
    terminal.watch()
    terminal.press("h")
    terminal.wait_for(r"^q +leave$")
    terminal.press("x")
    terminal.wait_for(r"^held ")
    terminal.press("n")
    terminal.wait_for(r"^NETWORK +HELD$")
    check("ADDRESS" not in terminal.text(), "only the networks:", terminal.text())
    terminal.press("l")
    terminal.wait_for(r"^ +HELD ADDRESS")
    check("NETWORK" not in terminal.text(), "only the longest held:", terminal.text())
    terminal.press("a+")
    terminal.wait_for("NETWORK")
    terminal.wait_for("every 2 s")
    terminal.press("-")
    terminal.wait_for("every 1 s")


@marked(tags=("once",), timeout_secs=120)
def test_top_shows_the_daemon_live(world):
    net, mired = start(world)
    clients = crowd(net)
    wait_held(mired, len(clients))
    argv = [w.BUILD / "miredctl", "-f", mired.conf, "top", "-d", "1"]
    with Terminal(argv, 80, 24) as terminal:
        check_screen(terminal, 80, 24, ESSENTIALS)
        check_quiet_line(terminal)
        check_keys(terminal)
        for columns, lines in ((20, 5), (1, 1), (250, 100), (200, 60)):
            terminal.resize(columns, lines)
            terminal.watch(0.4)
            check(terminal.process.poll() is None, "it goes on at", columns, lines)
        check_screen(terminal, 200, 60, ESSENTIALS[2:] + MORE)
        terminal.resize(80, 24)
        terminal.wait_for(r"^listening .* every 1 s$")
        terminal.press("q")
        check(terminal.end() == 0, "q leaves")
        check(b"\x1b[?1049l" in terminal.raw[-200:], "the old screen is back")
        check(termios.tcgetattr(terminal.slave) == terminal.modes, "so are the line's modes")
    for client in clients:
        client.close()


@marked(tags=("once",), timeout_secs=120)
def test_top_outlives_the_daemon(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    argv = [w.BUILD / "miredctl", "-f", mired.conf, "top", "-d", "1"]
    with Terminal(argv, 80, 24) as terminal:
        terminal.wait_for(r"^held +0  of")
        mired.stop()
        terminal.wait_for(r"^NO ANSWER, trying again: .*sock: ")
        terminal.wait_for(r"^held +0  of")  # what was known last
        mired.start()
        terminal.wait_for(r"^held +0  of")
        wait_for("the trouble to be over",
                 lambda: terminal.watch() >= 0 and "NO ANSWER" not in terminal.text(), 10)
        terminal.process.send_signal(signal.SIGTERM)
        terminal.end()
        check(b"\x1b[?1049l" in terminal.raw[-400:], "a signal leaves no ruins", terminal.raw[-80:])
        check(termios.tcgetattr(terminal.slave) == terminal.modes, "nor other modes of the line")
    for signo in (signal.SIGHUP, signal.SIGQUIT, signal.SIGINT):
        with Terminal(argv, 80, 24) as terminal:
            terminal.wait_for(r"^held +0  of")
            terminal.process.send_signal(signo)
            terminal.end()
            check(b"\x1b[?1049l" in terminal.raw[-400:], "none leaves ruins:", signo)
            check(termios.tcgetattr(terminal.slave) == terminal.modes, "nor modes:", signo)
    for kind in ("no-such-terminal", "dumb"):
        with Terminal(argv, 80, 24, term=kind) as terminal:
            check(terminal.end() == 1, "a terminal of no use ends it:", kind)
            check(f'type "{kind}" (TERM); -1 prints once'.encode() in terminal.raw,
                  "and it says what to do:", terminal.raw)
            check(termios.tcgetattr(terminal.slave) == terminal.modes, "its modes are the old")
    with Terminal([*argv, "-1"], 80, 24) as terminal:
        check(terminal.end() == 0, "-1 on a terminal")
        sizes = [len(line.rstrip(b"\r")) for line in terminal.raw.split(b"\n")]
        check(60 < max(sizes) <= 80, "no line of it is wrapped:", terminal.raw)


EVIL = "e\x1b]0;title\x07vil\x9b31m"


class FakeDaemon:
    """Answers on a control socket whatever it is told to: status always, held once only."""

    def __init__(self, world):
        self.path = str(world.dir / "fake.sock")
        self.n_asked = 0
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.bind(self.path)
        self.sock.listen(4)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            client, _ = self.sock.accept()
            with contextlib.suppress(OSError):
                for line in client.makefile("r"):
                    client.sendall(json.dumps(self._answer(line.split()[0])).encode() + b"\n")

    def _answer(self, verb):
        if verb == "status":
            return {"version": EVIL, "pid": 1, "drops": {EVIL: 7}, "connections": {"now": 5},
                    "engine": {"listen": [EVIL]}, "sync": {"peers": [{"name": EVIL}]}}
        self.n_asked += 1
        return ({"error": "other requests are under way: try again later"} if self.n_asked > 1
                else {"lists": [{"name": EVIL, "connections": 5}]})


@marked(tags=("once",))
def test_top_shows_nothing_raw_and_keeps_what_it_knows(world):
    fake = FakeDaemon(world)
    with Terminal([w.BUILD / "miredctl", "--socket", fake.path, "top", "-d", "1"], 80, 24,
                  term="vt100") as terminal:
        shown = r"e\\x1b\]0;title\\x07vil\\xc2\\x9b31m"
        terminal.wait_for(rf"^drops +{shown} 7")
        wait_for("more questions", lambda: terminal.watch() >= 0 and fake.n_asked > 2, 15)
        terminal.watch(0.3)
        terminal.wait_for(rf" {shown} +5$")
        check(b"\x1b]0;" not in terminal.raw and b"\x9b" not in terminal.raw, "nothing raw")
        terminal.press("q")
        check(terminal.end() == 0, "q leaves")


@marked(tags=("once",))
def test_top_once_is_text_for_scripts(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    with Client(net.out, net.target(False), source=topology.client4(5)):
        wait_for("a connection", lambda: mired.status()["connections"]["now"] == 1, 5)
        for options in (("-1",), ()):  # a pipe is as good as -1
            done = miredctl(mired, "top", *options)
            check(done.returncode == 0, "it is there:", done)
            check("\x1b" not in done.stdout and done.stdout.isascii(), "plain text:", done.stdout)
            for part in ("held     1  of", "accepted 0", "198.19.0.5", "198.19.0.0/24"):
                check(part in done.stdout, f"it says {part!r}:", done.stdout)
    done = w.run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
                  w.BUILD / "miredctl", "--socket", mired.socket_path, "top", "-1"],
                 check_code=False)
    check(done.returncode == 1 and "mired refuses" in done.stderr and
          "permission denied" in done.stderr, "who may not ask is told so:", done)
    check(miredctl(mired, "top", "-d", "0").returncode == 2, "0 seconds is a wrong call")
    check(miredctl(mired, "top", "-n", "0").returncode == 2, "0 rows is a wrong call")
    mired.stop()
    done = miredctl(mired, "top", "-1")
    check(done.returncode == 1 and "no mired answers" in done.stderr, "it is away:", done)
