"""mired-logd: what passes the gateway keeps the whitelist alive and teaches it."""
import os
import pathlib
import pwd
import re
import signal
import socket
import time

import postfix
import topology
from client import try_mail
from daemon import Mired
from sink import Sink
from world import BUILD, check, marked, run, wait_for

STRANGER4 = "198.18.0.77"  # a mail server somewhere in the internet
STRANGER6 = "2001:db8:1::77"
ASK = """import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(sys.argv[2].encode() + b"\\n")
    print(sock.recv(4096).decode())"""


class Logd:
    """A mired-logd beside a daemon."""

    def __init__(self, world, mired, *options):
        self.log = mired.dir / "logd.log"
        self.process = world.spawn([BUILD / "mired-logd", "-D", "-f", mired.conf, *options],
                                   ns=mired.ns, log=self.log, env=world.sanitizer_env())
        wait_for("mired-logd to listen", lambda: "listening on" in self.text(), 10)

    def text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def figures(self):
        """Asked for by signal."""
        before = self.text().count("messages ")
        os.kill(self.process.pid, signal.SIGUSR1)
        wait_for("figures", lambda: self.text().count("messages ") > before, 5)
        line = [text for text in self.text().splitlines() if "messages " in text][-1]
        return {name: int(value) for name, value in re.findall(r"(\w+) (\d+)", line)}


def records(mired, address):
    """miredb's record of one address as {EXPIRE, PCOUNT}, or None."""
    for row in mired.rows():
        if row[0] == "WHITE" and row[1] == address:
            return {"expire": int(row[6]), "pcount": int(row[8])}
    return None


def stranger(net):
    """A mail server of the internet that takes everything."""
    net.out.shell(f"ip addr add {STRANGER4}/24 dev ext; ip addr add {STRANGER6}/64 dev ext nodad")


def connect(ns, source, target, port=25):
    """One TCP connection to its greeting and back."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with ns.socket(family) as sock:
        sock.settimeout(10)
        sock.bind((source, 0))
        sock.connect((target, port))
        return sock.recv(100)


def outbound_teaches(world, is_v6):
    net = topology.gateway(world)
    stranger(net)
    target = STRANGER6 if is_v6 else STRANGER4
    Sink(world, net.out, [target])
    mx, lan = (topology.MX6, "2001:db8:2::99") if is_v6 else (topology.MX4, "192.0.2.99")
    net.mta.shell(f"ip addr add {lan}/{64 if is_v6 else 24} dev int {'nodad' if is_v6 else ''}")
    mired = Mired(world, net, stutter="0s").start()
    Logd(world, mired)
    check(connect(net.mta, lan, target).startswith(b"220"), "another LAN host reaches the server")
    time.sleep(1)
    check(not mired.has_white(target), "its mail teaches nothing")
    began = time.monotonic()
    check(connect(net.mta, mx, target).startswith(b"220"), "the MX reaches the server")
    wait_for("the destination in the kernel's white set", lambda: mired.has_white(target), 5, 0.005)
    took = time.monotonic() - began
    print(f"destination whitelisted {took:.3f} s after the connection began")
    check(took < 1, "within a second:", took)
    group = "2001:db8:1::" if is_v6 else target
    check(mired.whites() == [group], "the store holds the destination alone:", mired.whites())


@marked(timeout_secs=60, tags=("once", "path", "sanitize"))
def test_outbound_mail_of_the_mx_whitelists_its_destination(world):
    outbound_teaches(world, False)


@marked(timeout_secs=60, tags=("once", "path"))
def test_outbound_mail_of_the_mx_whitelists_its_destination_ipv6(world):
    outbound_teaches(world, True)


@marked(timeout_secs=60, tags=("once", "path"))
def test_real_outbound_mail_and_its_answer(world):
    """The MX's Postfix writes to a server that it never met; the answer is not greylisted."""
    net = topology.gateway(world)
    stranger(net)
    far = Sink(world, net.out, [STRANGER4])
    near = postfix.receiver(world, net.mta, net.mta_listen)
    mired = Mired(world, net, stutter="0s").start()
    Logd(world, mired)
    postfix.sender(world, net.mta, STRANGER4).submit("question")
    wait_for("the mail out there", lambda: len(far.mails) == 1, 30)
    wait_for("the destination on the whitelist", lambda: mired.has_white(STRANGER4), 5)
    reply = try_mail(net.out, topology.MX4, STRANGER4)
    check(reply.startswith("250"), "the answer passes at once:", reply)
    wait_for("the answer", lambda: len(near.inbox()) == 1, 10)


@marked(timeout_secs=90, tags=("once", "path", "sanitize"))
def test_regular_mail_keeps_a_host_alive_past_its_first_life(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, stutter="0s", passtime="1s", greyexp="4s", whiteexp="10s",
                  seen_interval="500ms").start()
    Logd(world, mired)
    regular, once = topology.client4(1), topology.client4(2)
    for source in (once, regular):
        mired.make_white(net.out, net.target(False), source)
    first = records(mired, regular)
    until = time.monotonic() + 15
    while time.monotonic() < until:
        check(connect(net.out, regular, net.target(False)).startswith(b"220"), "it passes")
        time.sleep(1)
    now = records(mired, regular)
    check(now["expire"] > first["expire"] + 10, "its life was extended:", first, now)
    check(now["pcount"] >= first["pcount"] + 8, "its connections were counted:", first, now)
    check(records(mired, once) is None, "who did not write again is gone")
    check(not mired.has_white(once) or try_mail(net.out, net.target(False), once)
          .startswith("451"), "and meets mired again")


@marked(timeout_secs=60, tags=("once", "path"))
def test_a_syn_alone_refreshes_nothing_and_a_trapped_host_stays_trapped(world):
    net = topology.gateway(world)
    stranger(net)
    Sink(world, net.out, [STRANGER4])
    mired = Mired(world, net, stutter="0s").start()
    logd = Logd(world, mired)
    host = topology.client4(1)
    mired.make_white(net.out, net.target(False), host)
    before = records(mired, host)
    net.mta.nft("""
        table inet silent {
            chain c {
                type filter hook input priority 0; policy accept;
                tcp dport 25 drop
            }
        }""")
    with net.out.socket(socket.AF_INET) as sock:
        sock.bind((host, 0))
        sock.settimeout(1.5)
        try:
            sock.connect((net.target(False), 25))
            check(False, "the handshake cannot have been completed")
        except TimeoutError:
            pass
    check(records(mired, host) == before, "three SYNs changed nothing")
    check(logd.figures()["messages"] == 0, "and were not logged")
    run([BUILD / "miredb", "-f", mired.conf, "-t", "-a", STRANGER4])
    connect(net.mta, topology.MX4, STRANGER4)
    wait_for("the report", lambda: logd.figures()["reported"] == 1, 5)
    time.sleep(0.3)
    check(mired.in_set("spamd-greytrap", [STRANGER4]) and not mired.has_white(STRANGER4),
          "mail to a trapped host does not free it")


@marked(timeout_secs=60, tags=("once",))
def test_it_runs_without_rights_and_may_only_report(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s").start()
    logd = Logd(world, mired)
    status = pathlib.Path(f"/proc/{logd.process.pid}/status").read_text()
    check(int(re.search(r"^Uid:\s+(\d+)", status, re.M).group(1))
          == pwd.getpwnam("mired-log").pw_uid, "it runs as its user")
    for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        check(int(re.search(rf"^{kind}:\s+(\w+)", status, re.M).group(1), 16) == 0,
              "it holds no capability", kind)
    check("NoNewPrivs:\t1" in status, "and can get none")
    for request in ("status", "reload", "clock-ok"):
        asked = run(["setpriv", "--reuid=mired-log", "--regid=mired-log", "--clear-groups",
                     "python3", "-c", ASK, mired.socket_path, request])
        check("permission denied" in asked.stdout, "its user may not", request, asked.stdout)
    second = run([BUILD / "mired-logd", "-D", "-f", mired.conf], ns=net.gw, check_code=False)
    check(second.returncode == 1 and "NFLOG group 25" in second.stderr,
          "a second one is refused with the reason:", second.stderr)


@marked(timeout_secs=60, tags=("once",))
def test_the_daemon_may_go_and_come_back(world):
    net = topology.gateway(world)
    stranger(net)
    Sink(world, net.out, [STRANGER4])
    mired = Mired(world, net, stutter="0s").start()
    logd = Logd(world, mired)
    mired.kill9()
    mired.wait_gone()
    # the rules stay when it is killed, so connections are still logged
    connect(net.mta, topology.MX4, STRANGER4)
    wait_for("the failed report in the log", lambda: "trying again" in logd.text(), 10)
    mired.start()
    wait_for("the report after all", lambda: mired.has_white(STRANGER4), 20)
    check("answers again" in logd.text(), "and the log says so")
    os.kill(logd.process.pid, signal.SIGHUP)
    wait_for("what SIGHUP does", lambda: "restart mired-logd" in logd.text(), 5)
    os.kill(logd.process.pid, signal.SIGTERM)
    code = logd.process.wait(timeout=10)
    check(code == 0, "a stop is a clean end:", code, logd.text()[-300:])


@marked(timeout_secs=90, tags=("once",), alone=True)
def test_each_message_lost_in_a_flood_is_counted(world):
    """100,000 packets that a rule logs, while the reader is stopped for a part of the time."""
    n_packets = 100_000
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s").start()
    logd = Logd(world, mired)
    net.gw.nft("""
        table inet flood {
            chain c {
                type filter hook input priority -200; policy accept;
                udp dport 9 counter log group 25 snaplen 64 queue-threshold 32 drop
            }
        }""")
    sock = net.out.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((topology.GW4, 9))
    for n in range(n_packets):
        if n == 10_000:
            os.kill(logd.process.pid, signal.SIGSTOP)
        if n == 90_000:
            os.kill(logd.process.pid, signal.SIGCONT)
        sock.send(b"x")
    # the gap before the last received message is known when that one comes
    time.sleep(1)
    for _ in range(64):
        sock.send(b"x")
    counter = net.gw.shell("nft list chain inet flood c")
    n_logged = int(re.search(r"counter packets (\d+)", counter).group(1))

    def is_balanced():
        now = logd.figures()
        return now if now["messages"] + now["lost"] == n_logged else None
    figures = wait_for("each message read or counted as lost", is_balanced, 10, 0.3)
    print(f"{n_logged} messages: {figures['messages']} read, {figures['lost']} lost and counted")
    check(figures["lost"] > 1000, "the flood was too much, as meant:", figures)
    check("the kernel dropped" in logd.text(), "and the log says so")
    check(logd.process.poll() is None, "it goes on")
