"""Somebody runs `nft flush ruleset` on a gateway with 100,000 white hosts."""
import pwd
import shutil
import threading
import time

import nftset
import topology
from client import Client, try_mail
from daemon import Mired
from sink import GREETING, Sink
from world import BUILD, Failure, check, marked, run

N_WHITE, N_NOSPAMD = 100_000, 100
BUDGET_SECS = 2.0


def seed(mired, n_hosts, first="10.0.0.0"):
    """Whitelists n hosts in the store before the first start; returns their addresses."""
    mired.db.mkdir(parents=True)
    run([BUILD / "tests" / "system" / "seedstore", mired.db, n_hosts, first], timeout_secs=120)
    user = pwd.getpwnam("mired")
    for path in (mired.db.parent, mired.db, *mired.db.iterdir()):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    mired.db.chmod(0o700)
    mired.db.parent.chmod(0o750)
    return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(n_hosts)]


def traffic(net, stopping):
    """Unknown hosts keep coming."""
    n = 0
    while not stopping.is_set():
        n += 1
        try:
            try_mail(net.out, net.target(False), topology.client4(n))
        except (OSError, Failure):
            pass  # what is active in the gap may be lost


def watch_until_all(sets, name, addresses, since):
    """Walks the list, asking again for what is missing; (time all were seen, of the last miss)."""
    last_miss = 0.0
    position = 0
    while position < len(addresses):
        batch = addresses[position:position + nftset.BATCH]
        if sets.has_all(name, batch):
            position += len(batch)
            continue
        last_miss = time.monotonic() - since
        check(last_miss < 10, "the elements are back within 10 s; seen of them:", position)
        time.sleep(0.005)
    return time.monotonic() - since, last_miss


@marked(timeout_secs=120, alone=True, tags=("path",))
def test_everything_is_back_in_two_seconds_after_a_flush(world):
    net = topology.gateway(world)
    sink = Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, stutter="0s")
    white = seed(mired, N_WHITE)
    net.out.shell("ip addr add 10.0.0.7/32 dev lo")
    net.gw.shell(f"ip route add 10.0.0.0/8 via {topology.OUT4}")
    nospamd = [f"172.16.{n}.1" for n in range(N_NOSPAMD)]
    mired.write_nospamd("\n".join(nospamd) + "\n")
    mired.start()
    sets = nftset.Sets(net.gw, "mired")
    check(len(sets.found("spamd-white", white)) == N_WHITE, "all are in the kernel at the start")
    stopping = threading.Event()
    visitor = threading.Thread(target=traffic, args=(net, stopping), daemon=True)
    visitor.start()
    time.sleep(0.5)

    run(["nft", "flush", "ruleset"], ns=net.gw)
    began = time.monotonic()
    all_seen, last_miss = watch_until_all(sets, "spamd-white", white, began)
    _, nospamd_miss = watch_until_all(sets, "nospamd", nospamd, began)
    print(f"last get-element without an answer {last_miss:.2f} s after the flush; all "
          f"{N_WHITE} white and {N_NOSPAMD} nospamd entries asked again by {all_seen:.2f} s")
    check(max(last_miss, nospamd_miss) <= BUDGET_SECS, "all answered within 2 s:", last_miss)

    time.sleep(max(0.0, 2.1 - (time.monotonic() - began)))
    with Client(net.out, net.target(False), source="10.0.0.7") as client:
        greeting = client.line()
    at = time.monotonic() - began
    check(greeting == GREETING, "the white host reaches the MTA:", greeting)
    check(at < 3, "in the third second:", at)
    check(sink.n_accepted >= 1, "the MTA saw it")
    stopping.set()
    visitor.join(timeout=20)
    reply = try_mail(net.out, net.target(False), topology.client4(9999))
    check(reply.startswith("451"), "unknown hosts are greylisted again:", reply)
    check(mired.status()["firewall"]["restores"] >= 1, "status counts the restoration")


@marked(timeout_secs=60, tags=("path",))
def test_somebody_elses_rules_are_not_a_reason_to_restore(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    net.gw.nft("table inet other { chain c { type filter hook input priority 0; }\n }\n")
    run(["nft", "delete", "table", "inet", "other"], ns=net.gw)
    time.sleep(1.5)
    check(mired.status()["firewall"]["restores"] == 0, "no restoration:", mired.status())
