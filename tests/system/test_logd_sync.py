"""mired-logd -Y: the peers are told whose mail passed, as spamlogd tells them."""
import ipaddress
import struct
import time

import gateways
import syncpeer
import topology
from client import try_mail
from daemon import Mired, prefix64
from gateways import KEY, write_key
from sink import Sink
from test_logd import STRANGER4, STRANGER6, Logd, connect, records, stranger
from world import BUILD, check, marked, run, wait_for

KEY_TEXT = syncpeer.key_text(KEY)
LIFE_SECS = 36 * 24 * 3600
NET6 = str(ipaddress.ip_network(f"{STRANGER6}/64", strict=False).network_address)
MX = {STRANGER4: topology.MX4, STRANGER6: topology.MX6}


class Site:
    """A gateway whose mail server is the peer, too, and a mail server in the internet."""

    def __init__(self, world, key=KEY, **settings):
        self.world, self.net = world, topology.gateway(world)
        stranger(self.net)
        Sink(world, self.net.out, [STRANGER4, STRANGER6])
        self.mired = Mired(world, self.net, stutter="0s", **settings)
        write_key(self.mired, key)
        self.mired.start()
        self.peer = syncpeer.Peer(self.net.mta, topology.MX4, KEY_TEXT)

    def logd(self, *options):
        return Logd(self.world, self.mired, *options)

    def write_to(self, *targets):
        """The mail server writes to these, which whitelists them."""
        for target in targets:
            check(connect(self.net.mta, MX[target], target).startswith(b"220"), "it is reached")

    def told(self, n):
        """The datagrams after the n-th has come; no more may follow."""
        wait_for(f"{n} datagrams", lambda: len(self.peer.look()) >= n, 5, 0.01)
        time.sleep(0.5)
        seen = self.peer.look()
        check(len(seen) == n, f"{n} datagrams and no more:", [one.raw.hex() for one in seen])
        return seen


def check_white(seen, counter, address, life_secs=LIFE_SECS):
    """The datagram byte for byte, its MAC computed by another implementation."""
    at = struct.unpack_from("!I", seen.raw, syncpeer.HEADER_BYTES + 4)[0]
    block = (syncpeer.host6(syncpeer.WHITE6, at, at + life_secs, address) if ":" in address
             else syncpeer.host(syncpeer.WHITE, at, at + life_secs, address))
    wanted = syncpeer.packet(KEY_TEXT, block, counter=counter)
    check(seen.raw == wanted, "the datagram of", address, seen.raw.hex(), wanted.hex())
    check(abs(at - seen.at) <= 2, "its time is now:", at, seen.at)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_a_host_whose_mail_passed_is_told_to_the_peers(world):
    site = Site(world)
    logd = site.logd("-Y", topology.MX4)
    site.write_to(STRANGER4)
    check_white(site.told(1)[0], 0, STRANGER4)
    site.write_to(STRANGER6)
    check_white(site.told(2)[1], 1, NET6)
    check(site.mired.has_white(STRANGER4) and site.mired.has_white(STRANGER6),
          "the daemon has them, too")
    figures = logd.figures()
    check(figures["told"] == 2 and figures["untold"] == 0, "counted:", figures)


@marked(timeout_secs=60, tags=("once",))
def test_each_target_is_told_and_the_life_is_that_of_w(world):
    site = Site(world)
    other = syncpeer.Peer(site.net.out, topology.OUT4, KEY_TEXT)
    site.logd("-W", "24", "-Y", topology.MX4, "--sync-peer", topology.OUT4)
    site.write_to(STRANGER4)
    seen = site.told(1)[0]
    check_white(seen, 0, STRANGER4, life_secs=24 * 3600)
    wait_for("the other target", other.look, 5, 0.01)
    check(other.look()[0].raw == seen.raw, "the same datagram, with the same counter")


@marked(timeout_secs=60, tags=("once",))
def test_the_group_is_told_at_the_interface_with_its_ttl(world):
    site = Site(world)
    member = syncpeer.Peer(site.net.mta, syncpeer.GROUP, KEY_TEXT, group_at=topology.MX4)
    outside = syncpeer.Peer(site.net.out, syncpeer.GROUP, KEY_TEXT, group_at=topology.OUT4)
    site.logd("-Y", "int:4")
    site.write_to(STRANGER4)
    seen = wait_for("the group", member.look, 5, 0.01)[0]
    check_white(seen, 0, STRANGER4)
    check((seen.source, seen.ttl) == (topology.INNER4_GW, 4), "from there, so far:", seen)
    site.told(0)
    check(outside.look() == [], "and at no other interface")


@marked(timeout_secs=60, tags=("once",))
def test_a_busy_host_is_told_once_an_interval(world):
    site = Site(world, seen_interval="2s")
    site.logd("-Y", topology.MX4)
    site.write_to(STRANGER4)
    check_white(site.told(1)[0], 0, STRANGER4)
    for _ in range(4):
        site.write_to(STRANGER4)
    wait_for("the rest in one report", lambda: len(site.peer.look()) == 2, 6)
    check_white(site.peer.look()[1], 1, STRANGER4)
    time.sleep(2.5)
    check(len(site.peer.look()) == 2, "and nothing for a host that is silent")


@marked(timeout_secs=90, tags=("once",))
def test_configured_peers_are_told_only_when_logd_sync_says_so(world):
    site = Site(world)
    site.mired.write_conf(sync_peer=[topology.MX4])
    logd = site.logd()
    site.write_to(STRANGER4)
    wait_for("the report", lambda: site.mired.has_white(STRANGER4), 5)
    check(site.told(0) == [], "spamlogd sends only where -Y points")
    logd.process.terminate()
    check(logd.process.wait(timeout=10) == 0, "it ends")
    logd.log.unlink()
    site.mired.write_conf(logd_sync=True)
    site.logd()
    site.write_to(STRANGER6)
    check_white(site.told(1)[0], 0, NET6)


@marked(timeout_secs=60, tags=("once",))
def test_without_a_key_nothing_is_told_and_the_rest_goes_on(world):
    site = Site(world, key=None)
    Sink(world, site.net.mta, site.net.mta_listen)
    logd = site.logd("-Y", topology.MX4)
    site.write_to(STRANGER4)
    wait_for("the report to the daemon", lambda: site.mired.has_white(STRANGER4), 5)
    site.told(0)
    path = str(site.mired.dir / "sync.key")
    check(logd.text().count("miredctl sync-key") == 1 and path in logd.text(),
          "one line names the command and the file:", logd.text())
    reply = try_mail(site.net.out, topology.MX4, STRANGER4)
    check(reply.startswith("250"), "mail of that host passes:", reply)


@marked(timeout_secs=60, tags=("once",))
def test_peers_are_told_after_the_daemon_has_taken_the_report(world):
    site = Site(world)
    logd = site.logd("-Y", topology.MX4)
    site.mired.kill9()
    site.mired.wait_gone()
    site.write_to(STRANGER4)  # the rules stay, so it is logged
    wait_for("the failed report", lambda: "trying again" in logd.text(), 10)
    site.told(0)
    site.mired.start()
    wait_for("the report after all", lambda: site.mired.has_white(STRANGER4), 20)
    check_white(site.told(1)[0], 0, STRANGER4)


@marked(timeout_secs=60, tags=("once",))
def test_it_does_not_start_with_a_target_or_key_it_cannot_use(world):
    site = Site(world)
    key = site.mired.dir / "sync.key"
    command = [BUILD / "mired-logd", "-D", "-f", site.mired.conf]
    for options, mode, reason in ((["-Y", "nowhere.invalid"], 0o600, "nowhere.invalid"),
                                  (["-Y", "ext:0"], 0o600, "ext:0"),
                                  (["-Y", ""], 0o600, "-Y needs a host"),
                                  (["-Y", topology.MX4], 0o604, "sync.key")):
        key.chmod(mode)
        done = run([*command, *options], ns=site.net.gw, check_code=False, timeout_secs=20)
        check(done.returncode == 1 and reason in done.stderr, "refused with its reason:", options,
              done.returncode, done.stderr)


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_mail_at_one_gateway_keeps_its_host_alive_at_the_other(world):
    sites = gateways.make(world)
    one, two = gateways.pair(sites, stutter="0s")
    Sink(world, sites.nets[0].mta, [gateways.MX4[0], gateways.MX6[0]])
    Logd(world, one, "-Y", gateways.LAN4[1])
    hosts = {topology.client4(1): gateways.MX4[0], topology.client6(1): gateways.MX6[0]}
    for host in hosts:
        run([BUILD / "miredb", "-f", one.conf, "-a", host])
    before = {}
    for host in hosts:
        key = prefix64(host) if ":" in host else host
        before[key] = wait_for(f"{host} at the other", lambda k=key: records(two, k), 5)
    time.sleep(2)  # lives are counted in seconds
    for host, target in hosts.items():
        check(connect(sites.bots, host, target).startswith(b"220"), "its mail passes:", host)
    for key, was in before.items():
        now = wait_for(f"{key} seen at the other", lambda k=key, w=was: records(two, k) if
                       records(two, k)["pcount"] > w["pcount"] else None, 5)
        check(now["pcount"] == was["pcount"] + 1, "one more connection:", was, now)
        check(now["expire"] >= was["expire"] + 2, "a longer life:", was, now)
        check(two.has_white(key), "in the kernel, too")
    peer = [peer for peer in gateways.sync(two)["peers"] if peer["address"] == gateways.LAN4[0]][0]
    check(peer["in"]["white"] == 1 and peer["in"]["white6"] == 1, "one of each came:", peer)
