"""A gateway whose sync port is open to a bad network and to bad people: repeated, cut, exchanged,
doubled, damaged, forged, stale and malformed datagrams in their hundred thousands among sound ones.
In the end it knows what a gateway knows that got the sound ones alone."""
import json
import re
import time

import gateways
import world as w
from client import try_mail
from gateways import LAN4, MX4, PORT
from topology import client4
from world import BUILD, check, marked, wait_for

HOST4, CLIENT = "10.77.0.9", client4(1)
SERVED_SECS = 3
N_HOSTS = 4000  # sound datagrams, one a host
N_PACKETS, N_LONG = 1_000_000, 10_000_000
RATE = 60_000  # a second; what the gateway cannot take, its kernel drops
BAD_NETWORK = ("--lose", 50, "--double", 50, "--swap", 200, "--cut", 20, "--flip", 20,
               "--repeat", 100)
RSS_GROWTH_BYTES = 16 << 20
LOG_LINES = 40
BEFORE_MAC = ("short", "version", "family", "length", "mac")
FIRST_OF = {"GREY": 5, "WHITE": 4}  # place of the time when a record was first seen


def program(name):
    found = sorted(BUILD.rglob(name))
    check(found, f"the build has {name}:", str(BUILD))
    return found[0]


def json_of(path):
    text = path.read_text()
    return json.loads(text[text.index("{"):])


class Noise:
    """One run of syncload through syncrelay at the first gateway."""

    def __init__(self, world, sites, key, at, n_packets):
        ns = sites.host(HOST4)
        self.sound = ("--key", key, "--at", at, "--hosts", N_HOSTS)
        self.world, self.ns = world, ns
        secs = int(n_packets / RATE * 5 * w.PATIENCE) + 30
        self.relay_out, place = world.dir / "relay.out", world.dir / "relay.sock"
        ns.shell("echo 1000 > /proc/sys/net/unix/max_dgram_qlen")
        self.relay = world.spawn(
            [program("syncrelay"), "--listen", place, "--to", f"{LAN4[0]}:{PORT}", "--seed", at,
             "--rate", 2 * RATE, "--seconds", secs, *BAD_NETWORK], ns=ns, log=self.relay_out)
        wait_for("the relay", place.exists, 5)
        self.load_out = world.dir / "load.out"
        self.load = world.spawn(
            [program("syncload"), "--to", place, *self.sound, "--packets", n_packets,
             "--rate", RATE, "--seed", at, "--mix", "noise"], ns=ns, log=self.load_out)
        self.limit_secs = secs

    def sound_once(self, target):
        """Each sound datagram once, at a pace at which none is lost."""
        w.run([program("syncload"), "--to", f"{target}:{PORT}", *self.sound, "--rate", 2000,
               "--mix", "sound"], ns=self.ns)

    def results(self):
        for process, out in ((self.load, self.load_out), (self.relay, self.relay_out)):
            code = process.wait(timeout=self.limit_secs)
            check(code == 0, "it ends in order:", code, out.read_text())
        return json_of(self.load_out), json_of(self.relay_out)


def udp_taken(ns):
    """Datagrams that programs of this namespace have read."""
    lines = re.findall(r"^Udp: (.*)$", ns.shell("cat /proc/net/snmp"), re.M)
    return dict(zip(lines[0].split(), map(int, lines[1].split())))["InDatagrams"]


def check_counted(mired, n_taken):
    """Every datagram the kernel handed over is in one of the counters; returns the drops."""
    sync = mired.status()["sync"]
    peer = next(row for row in sync["peers"] if row["address"] == HOST4)
    before_mac = sum(peer["dropped"].get(reason, 0) for reason in BEFORE_MAC)
    behind_mac = sum(peer["dropped"].values()) - before_mac
    check(sync["datagrams_received"] + before_mac == n_taken, "each datagram is counted:", sync,
          n_taken)
    check(sum(peer["in"].values()) + sum(peer["refused"].values()) + behind_mac ==
          sync["datagrams_received"], "and each block of those with the right key:", sync)
    return peer


def comparable(row):
    """A row without the times that are the receiver's; those are compared apart."""
    if row[0] == "GREY":
        return tuple(row[:5] + row[8:])
    return tuple(row[:4] + row[5:]) if row[0] == "WHITE" else tuple(row)


def check_equal(noisy, quiet, since):
    """Both stores hold the same, first seen within this run."""
    check(len(quiet) == N_HOSTS, "the quiet gateway has all hosts:", len(quiet))
    lost = set(map(comparable, quiet)) ^ set(map(comparable, noisy))
    check(not lost, f"{len(lost)} records differ:", sorted(lost)[:4])
    check(len(noisy) == len(quiet), "no record twice:", len(noisy))
    for row in noisy:
        if row[0] != "TRAPPED":
            first = int(row[FIRST_OF[row[0]]])
            check(since <= first <= time.time(), "first seen in this run:", row)


def serve_beside(sites, mired):
    """Mail and a question while the noise goes on; how long both took together."""
    began = time.monotonic()
    reply = try_mail(sites.bots, MX4[0], CLIENT)
    check(reply.startswith("451"), "greylisting goes on:", reply)
    check(mired.status()["connections"]["total"] == 1, "it is counted")
    took_secs = time.monotonic() - began
    check(took_secs < SERVED_SECS * w.PATIENCE, "in time:", took_secs)
    return took_secs


def hear_noise(world, n_packets):
    sites = gateways.make(world)
    noisy, quiet = (gateways.gateway(sites, n, passtime="2s", grey_stutter="0s",
                                      sync_listen="lan", verbose=False)
                    .start() for n in range(2))
    at = int(time.time())
    before = udp_taken(noisy.ns)
    noise = Noise(world, sites, noisy.settings["sync-key"], at, n_packets)
    noise.sound_once(LAN4[1])
    engine = noisy.pids()["engine"]
    rss_early = w.rss_bytes(engine)
    served_secs = serve_beside(sites, noisy)
    load, relay = noise.results()
    took_secs = time.time() - at
    wait_for("the gateway to be through", lambda: is_quiet(noisy), 30, 0.5)
    n_taken = udp_taken(noisy.ns) - before
    peer = check_counted(noisy, n_taken)
    rows = [row for row in noisy.rows() if row[1] != CLIENT]
    check(load["packets"] == relay["taken"] == n_packets, "all are sent:", load, relay)
    print(f"{load['packets']} datagrams became {relay['sent']} on a bad network; "
          f"{n_taken} reached the gateway in {took_secs:.0f} s, of {N_HOSTS} sound ones all; taken "
          f"{peer['in']}, dropped {peer['dropped']}, refused {peer['refused']}")
    check_equal(rows, quiet.rows(), at)
    grown = w.rss_bytes(engine) - rss_early
    check(grown < RSS_GROWTH_BYTES * w.PATIENCE, "memory is flat:", grown)
    lines = noisy.log_text().splitlines()
    n_told = sum(bool(re.search(r": new (TRAP|WHITE|entry) ", line)) for line in lines)
    n_lines = len(lines) - n_told
    check(n_told <= N_HOSTS, "a line for a record that is new here:", n_told)
    check(n_lines < LOG_LINES, "the log is not flooded:", n_lines)
    print(f"engine grew by {grown >> 10} KiB; {n_lines} log lines, {n_told} of new records; {len(rows)} records as they "
          f"should be; a client and a question were served in {served_secs * 1000:.0f} ms")


def is_quiet(mired):
    """Whether half a second passes in which nothing is counted."""
    def counted():
        sync = mired.status()["sync"]
        return sync["datagrams_received"], sync["datagrams_dropped"]
    first = counted()
    time.sleep(0.5)
    return counted() == first


@marked(timeout_secs=100, tags=("once",))
def test_a_million_bad_datagrams_change_nothing(world):
    hear_noise(world, N_PACKETS)


@marked(timeout_secs=600, tags=("once", "long"))
def test_ten_million_bad_datagrams_change_nothing(world):
    hear_noise(world, N_LONG)
