"""How synchronisation begins: its key, its options, its socket, and what becomes of them when the
engine dies."""
import hashlib
import os
import pathlib
import re
import socket
import time

import gateways
import syncpeer
from client import Client, attempt
from gateways import KEY, LAN4, MX4, gateway, pair, sync
from topology import client4
from world import BUILD, check, marked, run, wait_for

KEY_TEXT = syncpeer.key_text(KEY)


def udp_sockets(ns, port=gateways.PORT):
    """{inode: local address} of the sockets at this port."""
    rows = [line.split() for line in ns.shell("cat /proc/net/udp").splitlines()[1:]]
    found = {}
    for row in rows:
        address, _, number = row[1].partition(":")
        if port is None or int(number, 16) == port:
            found[int(row[9])] = socket.inet_ntoa(bytes.fromhex(address)[::-1])
    return found


def inodes_of(pid):
    """Of all sockets a process holds."""
    found = set()
    for path in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(path))
        except OSError:
            continue
        if match:
            found.add(int(match.group(1)))
    return found


def offer(sites, target, n, source=None):
    """One attempt from a bot; its words differ by n."""
    with Client(sites.bots, target, source=source or client4(n)) as client:
        reply = attempt(client, sender=f"<s{n}@bots.example>", recipient=f"<r{n}@mx.example>")
    check(reply.startswith("451"), "an attempt is deferred:", reply)


def miredctl(mired, *words, code=0):
    done = run([BUILD / "miredctl", "-f", mired.conf, *words], check_code=False)
    check(done.returncode == code, f"{words} ends with {code}:", done.returncode, done.stderr)
    return done


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_without_a_key_it_runs_says_so_and_opens_nothing(world):
    sites = gateways.make(world)
    mired = gateway(sites, 0, key=None, stutter="0s", grey_stutter="0s", sync_listen="lan",
                    sync_peer=[LAN4[1]]).start()
    path = str(mired.dir / "sync.key")
    errors = [line for line in mired.log_text().splitlines() if "miredctl sync-key" in line]
    check(len(errors) == 1 and path in errors[0], "one line names command and file:", errors)
    wait_for("the start line to say it", lambda: "not synchronised: no key" in mired.log_text(), 5)
    check(sync(mired)["active"] is False and sync(mired)["reason"] == "no key", "the status, too:",
          sync(mired))
    check(not udp_sockets(sites.nets[0].gw), "there is no socket at the port")
    peer = syncpeer.Peer(sites.nets[1].gw, "", b"")
    offer(sites, MX4[0], 1)
    wait_for("the tuple in the store", lambda: len(mired.rows()) == 1, 5)
    peer.send(LAN4[0], syncpeer.grey(int(time.time()), "192.0.2.1", "<a@b.example>",
                                     "<c@d.example>", "h"))
    time.sleep(1)
    check(peer.look() == [], "nothing is sent:", peer.seen)
    check(len(mired.rows()) == 1, "and nothing taken")
    made = miredctl(mired, "sync-key")
    check(f"scp -p {path} HOST:{path}" in made.stdout and "restart mired" in made.stdout,
          "it says what comes next:", made.stdout)
    mired.stop()
    mired.start()
    check(sync(mired)["active"] is True and sync(mired)["reason"] == "", "then it is in step:",
          sync(mired))


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_the_key_is_made_once_and_shown_in_part(world):
    sites = gateways.make(world)
    mired = gateway(sites, 0, key=None)
    path = mired.dir / "sync.key"
    none = miredctl(mired, "sync-key", "--check", code=1)
    check(str(path) in none.stderr and "miredctl sync-key" in none.stderr, none.stderr)
    made = miredctl(mired, "sync-key").stdout
    facts = path.stat()
    check((facts.st_mode & 0o7777, facts.st_uid) == (0o600, 0), "only root may read it")
    key = path.read_bytes()
    check(len(key) >= 32, "it is long enough:", len(key))
    digest = hashlib.sha1(key).hexdigest()
    shown = miredctl(mired, "sync-key", "--check").stdout
    check(shown == f"{path}: digest begins with {digest[:8]}\n", "so much is shown:", shown)
    check(shown in made, "also when it is made")
    check(digest[:9] not in made and key.decode().strip() not in made, "and no more")
    again = miredctl(mired, "sync-key", code=1)
    check(str(path) in again.stderr and "already" in again.stderr, "once only:", again.stderr)
    check(path.read_bytes() == key, "it is as it was")
    check([entry.name for entry in mired.dir.glob("sync.key*")] == ["sync.key"], "nothing else")
    path.chmod(0o644)
    check("0644" in miredctl(mired, "sync-key", "--check", code=1).stderr, "others may not read it")
    miredctl(mired, "status", "--check", code=2)


# options of a start, and what it says before it ends
REFUSED = [
    (["-y", "nosuch0"], "nosuch0"),
    (["-y", "lan:0"], "lan:0"),
    (["-y", "lan:256"], "lan:256"),
    (["-y", "lan:x"], "lan:x"),
    (["-y", "192.0.2.99"], "192.0.2.99"),
    (["-Y", "nosuch.invalid"], "nosuch.invalid"),
    (["-Y", "nosuch0:1"], "nosuch0:1"),
    (["-Y", "bare"], "bare"),  # an interface without an IPv4 address
    (["-y", "lan", "-Y", "lan:2"], "multicast interface does not match"),
    (["-y", "lan", "-Y", "ext"], "multicast interface does not match"),
]


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_forms_that_cannot_be_meant_are_refused_with_the_reason(world):
    sites = gateways.make(world)
    sites.nets[0].gw.shell("ip link add name bare type bridge; ip link set dev bare up")
    mired = gateway(sites, 0)
    for options, reason in REFUSED:
        for check_only in ([], ["--check-config"]):
            done = mired.run_to_end(*check_only, *options)
            check(done.returncode == 1, "exit status:", options, done.returncode, done.stderr)
            check(reason in done.stderr, "the reason:", options, done.stderr)
            print(" ".join(options), "->", done.stderr.strip().splitlines()[-1])
    mired.start("-y", "lan", "-Y", "lan")


@marked(timeout_secs=60, tags=("once",))
def test_the_check_tells_key_and_targets_and_leaves_the_port_alone(world):
    sites = gateways.make(world)
    mired = gateway(sites, 0, sync_listen="lan", sync_peer=[LAN4[1], "lan"]).start()
    before = udp_sockets(sites.nets[0].gw, None)
    good = mired.run_to_end("--check-config")
    check(good.returncode == 0 and "sync" not in good.stderr, "nothing to say:", good.stderr)
    check(udp_sockets(sites.nets[0].gw, None) == before, "nothing stays open")
    (mired.dir / "sync.key").unlink()
    noted = mired.run_to_end("--check-config")
    check(noted.returncode == 0 and "note: " in noted.stderr
          and "miredctl sync-key" in noted.stderr, "a missing key is noted:", noted.stderr)
    both = mired.run_to_end("--check-config", "-Y", "nosuch.invalid")
    check(both.returncode == 1 and "miredctl sync-key" in both.stderr
          and "nosuch.invalid" in both.stderr, "beside other faults:", both.stderr)
    useless = mired.run_to_end("--check-config", "-b")
    check(useless.returncode == 0 and "no greylist" in useless.stderr, useless.stderr)


# options; whether it receives and sends; where the socket is bound; TTL of what the group gets
FORMS = [
    (["-y", "lan"], True, False, "0.0.0.0", None),
    (["-y", "lo"], True, False, "0.0.0.0", None),  # unicast is taken from anywhere
    (["-y", LAN4[0]], True, False, LAN4[0], None),
    (["-Y", LAN4[1]], False, True, None, None),
    (["-y", LAN4[0], "-Y", LAN4[1]], True, True, LAN4[0], None),
    (["-y", "lan:3", "-Y", "lan:3"], True, True, "0.0.0.0", 3),
    (["-y", "lan", "-Y", "lan"], True, True, "0.0.0.0", 1),
    (["-Y", "lan:2"], False, True, None, 2),
]


@marked(timeout_secs=120, tags=("once",))
def test_each_form_binds_sends_and_receives_as_spamd_does(world):
    sites = gateways.make(world)
    peer = syncpeer.Peer(sites.nets[1].gw, "", KEY_TEXT, group_at=LAN4[1])
    mired = gateway(sites, 0, stutter="0s", grey_stutter="0s")
    for n, (options, receives, sends, bound, ttl) in enumerate(FORMS):
        mired.start(*options)
        state = sync(mired)
        check((state["receiving"], state["sending"]) == (receives, sends), "it", options, state)
        check(list(udp_sockets(sites.nets[0].gw).values()) == ([bound] if bound else []),
              "bound where it says:", options, udp_sockets(sites.nets[0].gw))
        peer.seen.clear()
        offer(sites, MX4[0], n + 1)
        if sends:
            seen = wait_for("the tuple at the peer", peer.look, 5)
            check(seen[0].is_authentic and seen[0].types() == [syncpeer.GREY, syncpeer.END],
                  "a GREY:", seen)
            check(seen[0].source == LAN4[0] and (ttl is None or seen[0].ttl == ttl),
                  "from the interface, with its TTL:", seen)
        if receives:
            peer.send(LAN4[0], syncpeer.grey(int(time.time()), f"192.0.2.{n + 1}", "<a@b.example>",
                                             "<c@d.example>", "h"))
            wait_for("the peer's tuple", lambda n=n: any(
                f"192.0.2.{n + 1}" in row for row in mired.rows()), 5)
        mired.stop()


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_a_new_engine_is_in_step_on_the_same_socket(world):
    sites = gateways.make(world)
    peer = syncpeer.Peer(sites.nets[1].gw, "", KEY_TEXT)
    mired = gateway(sites, 0, stutter="0s", grey_stutter="0s", sync_listen="lan",
                    sync_peer=[LAN4[1]]).start()
    (inode,) = udp_sockets(sites.nets[0].gw)
    old = mired.pids()["engine"]
    check(inode in inodes_of(old), "the engine holds the socket")
    offer(sites, MX4[0], 1)
    wait_for("the first tuple at the peer", peer.look, 5)
    mired.kill9("engine")
    # sent while no engine runs: it waits in the socket, which the supervisor holds
    peer.send(LAN4[0], syncpeer.grey(int(time.time()), "192.0.2.1", "<a@b.example>",
                                     "<c@d.example>", "h"))
    wait_for("a new engine", lambda: mired.pids().get("engine", old) != old, 10)
    mired.wait_ready()
    check(list(udp_sockets(sites.nets[0].gw)) == [inode], "the same socket is there")
    check(inode in inodes_of(mired.pids()["engine"]), "and the new engine holds it")
    wait_for("what came meanwhile", lambda: any("192.0.2.1" in row for row in mired.rows()), 5)
    n_before = len(peer.look())
    offer(sites, MX4[0], 2)
    wait_for("the next tuple at the peer", lambda: len(peer.look()) > n_before, 5)
    check(all(seen.is_authentic for seen in peer.look()), "signed with the key")
    sockets = [kind for kind in ("supervisor", "firewall")
               if inode in inodes_of(mired.pids()[kind])]
    check(sockets == ["supervisor"], "who needs it not does not have it:", sockets)


@marked(timeout_secs=60, tags=("once",))
def test_the_next_supervisor_waits_for_the_port_of_the_one_before(world):
    sites = gateways.make(world)
    mired = gateway(sites, 0, sync_listen="lan", sync_peer=[LAN4[1]]).start()
    (inode,) = udp_sockets(sites.nets[0].gw)
    with sites.nets[0].gw.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            thief.bind((LAN4[0], gateways.PORT))
            check(False, "nobody can take the port, or datagrams from it")
        except OSError:
            pass
    mired.kill9("supervisor")  # the engine leaves by itself, a moment later
    mired.start()
    wait_for("a socket of its own", lambda: list(udp_sockets(sites.nets[0].gw)) not in
             ([], [inode]), 10)
    mired.wait_ready()  # the old engine may have answered before
    check(sync(mired)["active"] is True, "it is in step:", sync(mired))
    mired.stop()
    with sites.nets[0].gw.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("", gateways.PORT))
        began = time.monotonic()
        done = mired.run_to_end()
        check(done.returncode == 1 and f"port {gateways.PORT}/udp" in done.stderr,
              "somebody else's port ends the start:", done.returncode, done.stderr)
        check(time.monotonic() - began < 4, "at once")


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_two_gateways_see_each_other(world):
    sites = gateways.make(world)
    one, two = pair(sites, stutter="0s", grey_stutter="0s")
    offer(sites, MX4[0], 1)
    offer(sites, MX4[1], 2)
    for mired, other in ((one, LAN4[1]), (two, LAN4[0])):
        peers = wait_for("contact with the other", lambda m=mired, o=other: [
            peer for peer in sync(m)["peers"]
            if peer["address"] == o and peer["last_contact_at"]], 5)
        check(len(peers) == 1 and abs(peers[0]["last_contact_at"] - time.time()) < 10,
              "just now:", peers)
        check(peers[0]["in"] == {"grey": 1} and peers[0]["out"] == {"grey": 1},
              "a tuple each way:", peers)
        wait_for("both tuples", lambda m=mired: len(m.rows()) == 2, 5)


@marked(timeout_secs=60, tags=("once",))
def test_a_tarpit_without_greylist_says_that_it_has_nothing_to_keep_in_step(world):
    sites = gateways.make(world)
    mired = gateway(sites, 0, sync_listen="lan", sync_peer=[LAN4[1]]).start("-b")
    check("no greylist to keep in step" in mired.log_text(), "it is said:", mired.log_text())
    check(sync(mired)["active"] is False and sync(mired)["reason"] == "no greylist", sync(mired))
    check(not udp_sockets(sites.nets[0].gw), "and nothing is open")
