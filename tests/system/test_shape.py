"""The class of traffic: what mired sends to held clients is in it, whichever rules, mail of white
hosts is not; and the tree of htb that gives it its bandwidth (mired-shape)."""
import os
import re
import shutil
import signal
import socket
import threading
import time

import topology
from client import Client, try_mail
from daemon import Mired
from sink import Sink
from world import BUILD, TOP, check, marked, run, wait_for

SHAPE = TOP / "nft" / "shape.sh"
WIRE_BYTES = 66  # Ethernet, IPv4, TCP with timestamps; a byte of text more
RST_BYTES = 54  # without options
SO_PRIORITY = 12
RATE = ("--rate", "100mbit")


def shape(net, mired, *words, check_code=True):
    options = ("-f", mired.conf) if words[0] == "up" else ()
    return run(["env", f"MIRED={BUILD / 'mired'}", SHAPE, *words, *options], ns=net.gw,
               check_code=check_code)


def shape_with(net, mired, programs, *words):
    """With programs of this directory instead of the system's own."""
    return run(["env", f"PATH={programs}", f"MIRED={BUILD / 'mired'}", SHAPE, *words, "-f",
                mired.conf], ns=net.gw, check_code=False)


def tc(net, *words):
    return run(["tc", *words], ns=net.gw).stdout


def counted(net, classid):
    """Bytes, packets and drops of a class on the outer interface."""
    text = tc(net, "-s", "class", "show", "dev", "ext", "classid", classid)
    found = re.search(r"Sent (\d+) bytes (\d+) pkt \(dropped (\d+)", text)
    check(found, f"there is a class {classid}:", text)
    return [int(figure) for figure in found.groups()]


def shaped(world, arrange, rules=None, **settings):
    """A mail server, mired, the class, and who is white already."""
    net = arrange(world)
    net.rules = rules or net.rules
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, **{"stutter": "50ms", "grey_stutter": "60s", "banner": "held",
                                 **settings}).start()
    shape(net, mired, "up", *RATE)
    return net, mired


def check_held(net, source, is_v6):
    """All that a held client is sent is in the class: SYN-ACK, each byte, the end."""
    before = counted(net, "1:25")
    with Client(net.out, net.target(is_v6), source=source) as client:
        n_texts = len(client.bytes_until_eof(0.7))
        check(n_texts >= 5, "the client is stuttered, arrivals:", n_texts)
        client.sock.shutdown(socket.SHUT_WR)
        n_texts += len(client.bytes_until_eof(10))
    n_bytes, n_packets, _ = [now - then for now, then in zip(counted(net, "1:25"), before)]
    check(n_packets >= n_texts + 2, "SYN-ACK, texts and FIN are counted:", n_packets, n_texts)
    wire = WIRE_BYTES + (20 if is_v6 else 0)
    check(n_packets * wire <= n_bytes <= n_packets * (wire + 16),
          "each with what carries it:", n_bytes, n_packets, n_texts)


def check_white(net, mired, source, is_v6):
    """A white host's mail goes through, and nothing of it is in the class."""
    run([BUILD / "miredb", "-f", mired.conf, "-a", source])
    wait_for("it is white", lambda: mired.has_white(source), 5)
    wait_for("mired's last packets", lambda: mired.status()["connections"]["now"] == 0, 10)
    before, rest = counted(net, "1:25"), counted(net, "1:e001")
    reply = try_mail(net.out, net.target(is_v6), source=source)
    check(reply.startswith("250"), "a white host's mail is taken, got", reply)
    check(counted(net, "1:25") == before, "nothing of it is in the class:", before,
          counted(net, "1:25"))
    check(counted(net, "1:e001")[1] >= rest[1] + 5, "but in the default one")


def check_reset(net, mired, source, is_v6):
    """The RST for what a client sends to a mired that died is in the class, too."""
    with Client(net.out, net.target(is_v6), source=source) as client:
        client.sock.recv(1)
        os.kill(mired.pids()["engine"], signal.SIGKILL)
        client.bytes_until_eof(10)
        before = counted(net, "1:25")
        client.sock.sendall(b"HELO mail.example\r\n")
        wait_for("the RST", lambda: counted(net, "1:25") != before, 5)
        n_bytes, n_packets, _ = [now - then for now, then in zip(counted(net, "1:25"), before)]
        check((n_bytes, n_packets) == (RST_BYTES + (20 if is_v6 else 0), 1), "a bare segment:",
              n_bytes, n_packets)
    mired.wait_ready()


def check_class(world, arrange, rules=None):
    net, mired = shaped(world, arrange, rules)
    for is_v6 in (False, True):
        make = topology.client6 if is_v6 else topology.client4
        check_held(net, make(1), is_v6)
        check_white(net, mired, make(2), is_v6)
    net.gw.shell("echo 2 > /proc/sys/net/ipv4/tcp_syncookies")
    check_held(net, topology.client4(3), False)
    for is_v6 in (False, True):
        check_reset(net, mired, (topology.client6 if is_v6 else topology.client4)(4), is_v6)


@marked(tags=("once",))
def test_with_gateway_rules_the_class_has_what_held_clients_are_sent(world):
    check_class(world, topology.gateway, "gateway")


@marked(tags=("once",))
def test_with_tproxy_rules_the_class_has_what_held_clients_are_sent(world):
    check_class(world, topology.gateway, "gateway-tproxy")


@marked(tags=("once",))
def test_before_a_local_mta_the_class_has_what_held_clients_are_sent(world):
    check_class(world, topology.local)


@marked(tags=("once",))
def test_with_the_class_off_nothing_is_in_it_until_a_reload(world):
    net, mired = shaped(world, topology.gateway, traffic_class="off", stutter="500ms")
    check("htb" not in tc(net, "qdisc", "show", "dev", "ext"), "nothing is set up")
    mired.write_conf(traffic_class="1:25")
    shape(net, mired, "up", *RATE)  # mired itself still has the old configuration
    with Client(net.out, net.target(False), source=topology.client4(1)) as client:
        check(client.bytes_until_eof(1), "a held client is answered")
        check(counted(net, "1:25")[1] == 0, "outside the class:", counted(net, "1:25"))
        run([BUILD / "miredctl", "-f", mired.conf, "reload"])
        wait_for("the same connection in the class", lambda: counted(net, "1:25")[1] > 0, 5)


class Flood:
    """Fills the class from the gateway itself, until the with block ends."""

    def __init__(self, net):
        self.sock = net.gw.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_PRIORITY, 1 << 16 | 0x25)
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._send)

    def _send(self):
        end = time.monotonic() + 30  # whatever becomes of the test
        while not self.is_over.is_set() and time.monotonic() < end:
            self.sock.sendto(bytes(1400), (topology.OUT4, 9))
            self.is_over.wait(0.002)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.is_over.set()
        self.thread.join()
        self.sock.close()


@marked(tags=("once",))
def test_syn_acks_pass_when_the_class_is_full(world):
    net, mired = shaped(world, topology.gateway, stutter="1s")
    shape(net, mired, "up", *RATE, "--connections", "10")
    check("rate 1Mbit ceil 1Mbit" in tc(net, "class", "show", "dev", "ext", "classid", "1:25"),
          "the class has the least it can have")
    with Flood(net):
        wait_for("the class to drop", lambda: counted(net, "1:e003")[2] > 20, 10)
        took = []
        for n in range(20):
            for is_v6 in (False, True):
                make = topology.client6 if is_v6 else topology.client4
                began = time.monotonic()
                Client(net.out, net.target(is_v6), source=make(n)).close()
                took.append(time.monotonic() - began)
        # a lost one comes again after a second; the machine may stand still for some
        check(sorted(took)[-5] < 0.5, "clients connect at once, they took", sorted(took))
        n_syn_acks = counted(net, "1:e002")[1]
        check(n_syn_acks >= 40, "its SYN-ACKs have a class of their own:", n_syn_acks)
        check(counted(net, "1:e003")[2] > 20, "beside one that was full all the time")


@marked(tags=("once",))
def test_the_class_is_set_up_changed_and_taken_back(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    untouched = tc(net, "qdisc", "show")
    done = shape(net, mired, "status", check_code=False)
    check(done.returncode == 1 and done.stdout == "not set up\n", "it says so:", done.stdout)
    done = shape(net, mired, "up", *RATE, "--connections", "10000")
    check(done.stdout == "ext: class 1:25 of 7680 kbit on a link of 100000 kbit\n",
          "66 bytes each second and room for new ones:", done.stdout)
    with net.gw.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(3):
            sock.sendto(b"x", (topology.OUT4, 9))
    before, tree = counted(net, "1:e001"), tc(net, "class", "show", "dev", "ext")
    shape(net, mired, "up", *RATE, "--connections", "10000")
    check(counted(net, "1:e001")[1] >= before[1] >= 3, "counters go on:", before)
    check(tc(net, "class", "show", "dev", "ext") == tree, "nothing has changed")
    net.gw.shell("tc qdisc del dev ext parent 1:e001; tc qdisc add dev ext parent 1:e001 "
                 "handle 827: bfifo")  # as one that default_qdisc named at that time
    shape(net, mired, "up", *RATE, "--connections", "10000")
    check("qdisc bfifo 827: parent 1:e001 " in tc(net, "qdisc", "show", "dev", "ext"), "it stays")
    mired.write_conf(max_connections=20000, stutter="2s")
    done = shape(net, mired, "up", *RATE)
    check("class 1:25 of 10080 kbit" in done.stdout, "the configuration's size:", done.stdout)
    mired.write_conf(byte_budget=5000)
    done = shape(net, mired, "up", *RATE)
    check("class 1:25 of 7440 kbit" in done.stdout, "within the budget:", done.stdout)
    done = shape(net, mired, "status")
    check(done.stdout.startswith("ext:\nclass htb 1:25 parent 1:e000 "), "status:", done.stdout)
    for number in ("1:e000", "1:e001", "1:d000", "1:25"):  # of classes beside it, before or after
        mired.write_conf(traffic_class=number)
        shape(net, mired, "up", *RATE)
        done = shape(net, mired, "status")
        check(done.stdout.startswith(f"ext:\nclass htb {number} "), f"{number}:", done.stdout)
    mired.write_conf(traffic_class="2:e001", interface=["ext", "int"])
    shape(net, mired, "up", *RATE)
    for link in ("ext", "int"):
        check("class htb 2:e001 " in tc(net, "class", "show", "dev", link), f"another on {link}")
    check("1:25" not in tc(net, "class", "show", "dev", "ext"), "instead of the old one")
    mired.write_conf(interface=["ext"])
    shape(net, mired, "up", *RATE)
    check("htb" not in tc(net, "qdisc", "show", "dev", "int"), "what is not named is released")
    shape(net, mired, "down")
    check(tc(net, "qdisc", "show") == untouched, "all is as before:", untouched,
          tc(net, "qdisc", "show"))


@marked(tags=("once",))
def test_queueing_of_the_administrators_own_is_left_alone(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    net.gw.shell("tc qdisc add dev ext root handle 7: pfifo")
    own = tc(net, "qdisc", "show")
    done = shape(net, mired, "up", *RATE, check_code=False)
    check(done.returncode == 1 and "somebody else" in done.stderr, "refused:", done.stderr)
    shape(net, mired, "down")
    check(tc(net, "qdisc", "show") == own, "and untouched")
    shape(net, mired, "up", *RATE, "--force")
    check(counted(net, "1:25"), "until that is wanted")


@marked(tags=("once",))
def test_what_cannot_be_shaped_is_refused_with_the_reason(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    untouched = tc(net, "qdisc", "show")
    for words, code, reason in (
            (("up",), 1, "--rate is needed"),  # /sys is another namespace's
            (("up", "--rate", "fast"), 2, "a number and kbit, mbit or gbit"),
            (("up", "--rate", "1mbit"), 1, "too few to share"),
            (("up", *RATE, "--interface", "nope"), 1, "nope: no such interface"),
            (("up", "--connections", "many"), 2, "a number is needed"),
            (("sideways",), 2, "up, down or status is needed")):
        done = shape(net, mired, *words, check_code=False)
        check(done.returncode == code and reason in done.stderr, f"{words}:", done.stderr)
    mired.write_conf(traffic_class="125")
    done = shape(net, mired, "up", *RATE, check_code=False)
    check(done.returncode == 1 and "traffic-class: must be off" in done.stderr, done.stderr)
    shape(net, mired, "up", *RATE, "--interface", "ext", "--interface", "nope", check_code=False)
    check(tc(net, "qdisc", "show") == untouched, "nothing was touched")
    done = shape(net, mired, "--help")
    check(done.returncode == 0 and "--force" in done.stdout, "help:", done.stdout)


def programs_with(world, name, text):
    """A directory with all that mired-shape runs, and `text` in the place of one of it."""
    place = world.dir / "bin"
    place.mkdir(exist_ok=True)
    for program in ("tc", "ip", "sed", "grep", "cat", "dirname", "tr", "head", "flock", "sh"):
        if not (place / program).exists():
            (place / program).symlink_to(shutil.which(program))
    (place / name).unlink()
    if text:
        (place / name).write_text(text)
        (place / name).chmod(0o755)
    return place


@marked(tags=("once",))
def test_one_that_was_killed_half_way_is_mended_or_taken_back_by_the_next(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    untouched = tc(net, "qdisc", "show")
    for n_steps in range(1, 20):
        steps = world.dir / f"steps{n_steps}"
        programs = programs_with(world, "tc", f"""#!/bin/sh
            {shutil.which("tc")} "$@" || exit
            case "$*" in *" add "*|*" replace "*) echo step >> {steps} ;; esac
            [ ! -e {steps} ] || [ $(grep -c step {steps}) -lt {n_steps} ] || kill -9 $PPID""")
        done = shape_with(net, mired, programs, "up", *RATE)
        if done.returncode == 0:
            break
        check(done.returncode == -signal.SIGKILL, "it was killed:", done)
        is_whole = shape(net, mired, "status", check_code=False).returncode == 0
        said = shape(net, mired, "status", check_code=False).stdout
        check(is_whole or said.startswith("ext: set up in part"), f"at step {n_steps}:", said)
        shape(net, mired, "up" if n_steps % 2 else "down", *(RATE if n_steps % 2 else ()))
        if n_steps % 2:
            shape(net, mired, "status")
            shape(net, mired, "down")
        check(tc(net, "qdisc", "show") == untouched, f"killed at step {n_steps}:",
              tc(net, "qdisc", "show"))
    check(n_steps >= 10, "each step had its turn:", n_steps)


@marked(tags=("once",))
def test_two_that_set_it_up_at_once_take_turns(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    both = "\n".join(f"env MIRED={BUILD / 'mired'} {SHAPE} up --rate 100mbit -f {mired.conf} & "
                     f"pid{n}=$!" for n in range(4))
    net.gw.shell(f"{both}\nwait $pid0; wait $pid1; wait $pid2; wait $pid3")
    shape(net, mired, "status")


@marked(tags=("once",))
def test_without_its_tools_it_says_which_is_missing(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    programs = programs_with(world, "tc", None)
    for command in ("up", "down", "status"):
        done = shape_with(net, mired, programs, command, *RATE[:2 if command == "up" else 0])
        check(done.returncode == 1 and "there is no tc(8) here: install iproute2" in done.stderr,
              f"{command}:", done)
