"""Shows from outside that a deferral's last byte leaves only after its tuple is durable.

strace records each write-out of the store (pwrite64, writev, fdatasync and the write of a meta
page, which goes through a descriptor opened with O_DSYNC) and each io_uring_enter of the workers,
by which all sends are submitted. The data pages show in which commit a tuple was written: each
recipient is unique. The client's kernel stamps the arrival of the last byte of the 451. Sends are
made inline by the submitting call (MSG_DONTWAIT), so the last io_uring_enter begun before the
arrival carried the byte: it must have begun after the write of the meta page returned.

Commits are slowed down by strace, so that a reply that did not wait would be early by much more
than any error of measurement.
"""
import bisect
import re
import socket
import statistics
import struct
import threading
import time

import topology
from client import Client
from daemon import Mired
from world import check, marked, wait_for

N_CLIENTS, N_EACH = 25, 44  # 1,100 tuples
SO_TIMESTAMPNS = 35
META_BYTES = 2 * 4096
CALL = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*)\) = (-?\d+).*<(\d+\.\d+)>(?: \(DELAYED\))?$")
UNFINISHED = re.compile(r"^(\d+) +(\d+\.\d+) (\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(r"^(\d+) +(\d+\.\d+) <\.\.\. (\w+) resumed>(.*)\) += (-?\d+).*$")
RECIPIENT = re.compile(r"durable-(\d+-\d+)@")


class Sender(threading.Thread):
    """Delivers mails one after the other and notes when each 451 was complete."""

    def __init__(self, net, number):
        super().__init__(daemon=True)
        self.net, self.number, self.arrivals, self.trouble = net, number, {}, None

    def run(self):
        try:
            for n in range(N_EACH):
                self.deliver(f"{self.number}-{n}")
        except Exception as error:  # shown by the test's main thread
            self.trouble = error

    def deliver(self, name):
        source = topology.client4(self.number)
        with Client(self.net.out, self.net.target(False), source=source) as client:
            client.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            client.send(f"HELO h\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<durable-{name}@mx.example>"
                        "\r\nDATA\r\n")
            text, stamp = b"", None
            while not re.search(rb"^451 .*\r\n", text, re.M):
                data, notes, _, _ = client.sock.recvmsg(4096, 256)
                check(data, "the 451 comes before EOF:", text)
                text += data
                stamp = [note[2] for note in notes if note[1] == SO_TIMESTAMPNS][0]
            secs, nanos = struct.unpack("qq", stamp[:16])
            self.arrivals[name] = secs + nanos / 1e9


def calls_of(trace):
    """(thread, name, arguments, begun, returned) of each finished call, split lines joined."""
    open_calls, out = {}, []
    for line in trace.read_text(errors="replace").splitlines():
        if found := CALL.match(line):
            thread, at, name, args, _, took = found.groups()
            out.append((thread, name, args, float(at), float(at) + float(took)))
        elif found := UNFINISHED.match(line):
            thread, at, name, args = found.groups()
            open_calls[thread] = (name, args, float(at))
        elif found := RESUMED.match(line):
            thread, at, name, args, _ = found.groups()
            begun_name, begun_args, begun_at = open_calls.pop(thread, (name, "", float(at)))
            out.append((thread, name, begun_args + args, begun_at, float(at)))
    for thread, (name, args, at) in open_calls.items():
        out.append((thread, name, args, at, float("inf")))
    return sorted(out, key=lambda call: call[3])


def commits_of(calls):
    """By tuple: when its data was synced and when the meta page that names it had been written."""
    waiting, synced_at, durable = set(), None, {}
    for _, name, args, _, returned in calls:
        if "data.mdb" not in args:
            continue
        offset = re.search(r", (\d+)$", args)
        if name == "pwrite64" and offset and int(offset.group(1)) < META_BYTES:
            for tuple_name in waiting:
                durable[tuple_name] = (synced_at, returned)
            waiting, synced_at = set(), None
        elif name in ("pwrite64", "writev"):
            waiting |= set(RECIPIENT.findall(args)) - durable.keys()
        elif name == "fdatasync":
            synced_at = returned
    return durable


def follow(world, delay_ms, **settings):
    """Runs the load under strace; by tuple the seconds from meta page written to submission."""
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s", verbose="no", **settings).start()
    trace = world.dir / "trace"
    tracer = world.spawn([
        "strace", "-f", "-y", "-ttt", "-T", "-s", "2000000", "-o", trace,
        "-p", mired.pids()["engine"], "-e", "signal=none",
        "-e", "trace=pwrite64,writev,fdatasync,io_uring_enter",
        "-e", f"inject=fdatasync:delay_enter={delay_ms * 1000}"], log=world.dir / "strace.out")
    wait_for("strace", lambda: trace.exists() and trace.stat().st_size > 0, 10)
    time.sleep(0.5)
    senders = [Sender(net, n) for n in range(N_CLIENTS)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(timeout=150)
        check(not sender.is_alive() and sender.trouble is None, "a client ended well:",
              sender.trouble)
    time.sleep(2)  # for commits that nobody waited for
    tracer.terminate()
    tracer.wait(timeout=20)
    arrivals = {name: at for sender in senders for name, at in sender.arrivals.items()}
    return slack_of(arrivals, calls_of(trace))


def slack_of(arrivals, calls):
    durable = commits_of(calls)
    submits = sorted(begun for _, name, _, begun, _ in calls if name == "io_uring_enter")
    slack = {}
    for name, arrived in arrivals.items():
        check(name in durable, "the commit of this tuple was seen:", name)
        synced, returned = durable[name]
        check(synced is not None and synced <= returned, "its data was synced before:", name)
        slack[name] = last_before(submits, arrived) - returned
    print(f"{len(slack)} tuples in {len({at for _, at in durable.values()})} commits: submission "
          f"of the last byte follows the meta page by {min(slack.values()) * 1e3:.2f} ms at least, "
          f"median {statistics.median(slack.values()) * 1e3:.1f} ms")
    return slack


@marked(timeout_secs=200, alone=True, tags=("once",))
def test_the_last_byte_of_a_deferral_is_submitted_after_its_commit(world):
    slack = follow(world, 20)
    check(len(slack) >= 1000, "a thousand tuples were followed:", len(slack))
    early = [name for name, secs in slack.items() if secs <= 0]
    check(not early, "none was submitted before its commit:", early[:5])


@marked(timeout_secs=200, alone=True, tags=("once",))
def test_the_same_measurement_sees_replies_that_do_not_wait(world):
    slack = follow(world, 200, store_wait="1ms")
    n_early = sum(secs <= 0 for secs in slack.values())
    print(f"{n_early} replies went out before their commit, as they should here")
    check(n_early > len(slack) / 2, "early replies are seen as early:", n_early)


def last_before(times, moment):
    """The latest of the sorted times that is not after the moment."""
    return times[bisect.bisect_right(times, moment) - 1]
