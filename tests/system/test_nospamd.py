"""The nospamd file changes while mired runs: the kernel's sets follow, both families."""
import os
import signal
import time

import topology
from client import Client, try_mail
from daemon import Mired
from sink import GREETING, Sink
from world import BUILD, PATIENCE, check, marked, run, wait_for

BUDGET_SECS = 2.0


def greeting(net, is_v6, source):
    with Client(net.out, net.target(is_v6), source=source) as client:
        return client.line()


def wait_in_set(mired, name, address, is_in=True):
    """Waits until the set has (or has not) the address; returns how long that took."""
    began = time.monotonic()
    wait_for(f"{address} {'in' if is_in else 'out of'} {name}",
             lambda: bool(mired.in_set(name, [address])) == is_in, 10, step_secs=0.02)
    return time.monotonic() - began


@marked(timeout_secs=90, tags=("path", "sanitize"))
def test_a_change_of_the_file_is_in_the_kernel_within_two_seconds(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net)
    mired.write_nospamd("198.19.7.0/24\n")
    mired.start()
    check(greeting(net, False, topology.client4(0x0701)) == GREETING, "the first file is in force")
    check(try_mail(net.out, net.target(True), topology.client6(7)).startswith("451"),
          "an IPv6 host is greylisted before")

    mired.write_nospamd("# changed\n198.19.8.0/24\nnot.an.address\n300.1.1.1/8\n"
                        "2001:db8:c:7::/64\n198.19.9.1\n")
    took = [wait_in_set(mired, "nospamd", "198.19.8.77"),
            wait_in_set(mired, "nospamd6", "2001:db8:c:7::9")]
    print(f"a changed nospamd was in the kernel after {max(took):.2f} s")
    check(max(took) <= BUDGET_SECS, "within 2 s:", took)
    check(not mired.in_set("nospamd", ["198.19.7.1"]), "what was taken out is gone")
    check(mired.in_set("nospamd", ["198.19.9.1"]), "what follows a bad line is loaded")
    for line, word in ((3, "not.an.address"), (4, "300.1.1.1/8")):  # written a moment later
        wait_for(f"the log to name line {line}", lambda: any(
            f"nospamd:{line}: " in text and word in text
            for text in mired.log_text().splitlines()), 2)
    check(greeting(net, False, topology.client4(0x0801)) == GREETING, "IPv4 reaches the MTA")
    check(greeting(net, True, topology.client6(7)) == GREETING, "IPv6 reaches the MTA")
    check(try_mail(net.out, net.target(False), topology.client4(0x0701)).startswith("451"),
          "whoever is off the list is greylisted")


@marked(timeout_secs=90)
def test_sighup_reads_it_at_once_and_a_missing_file_changes_nothing(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    mired.write_nospamd("198.19.7.0/24\n")
    mired.start()
    nospamd = mired.settings["nospamd-file"]
    mired.write_nospamd("198.19.8.0/24\n")
    os.kill(mired.supervisor_pid(), signal.SIGHUP)
    took = wait_in_set(mired, "nospamd", "198.19.8.1")
    print(f"after SIGHUP: {took * 1000:.0f} ms")
    check(took < 0.7, "SIGHUP does not wait for the next look:", took)

    os.rename(nospamd, f"{nospamd}.away")
    wait_for("the complaint", lambda: "what it said before stays in force" in mired.log_text(), 5)
    time.sleep(1.5)
    check(mired.log_text().count("what it said before stays in force") == 1, "it is said once")
    check(mired.in_set("nospamd", ["198.19.8.1"]), "the old entries stay")
    os.rename(f"{nospamd}.away", nospamd)
    wait_for("the file to be read again", lambda: mired.log_text().count("is read again") >= 3, 5)
    mired.write_nospamd("")
    wait_in_set(mired, "nospamd", "198.19.8.1", is_in=False)


@marked(timeout_secs=60)
def test_miredctl_reload_reads_it_at_once(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    mired.write_nospamd("198.19.8.0/24\n2001:db8:c:8::/64\n")
    began = time.monotonic()
    run([BUILD / "miredctl", "-f", mired.conf, "reload"])
    wait_in_set(mired, "nospamd", "198.19.8.1")
    wait_in_set(mired, "nospamd6", "2001:db8:c:8::1")
    took = time.monotonic() - began
    print(f"after miredctl reload: {took * 1000:.0f} ms")
    check(took < 0.9 * PATIENCE, "it does not wait for the next look:", took)


@marked(timeout_secs=90, tags=("path",))
def test_a_role_that_was_killed_has_the_newest_file(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    mired.write_nospamd("198.19.8.0/24\n")
    wait_in_set(mired, "nospamd", "198.19.8.1")
    before = mired.kill9("firewall")["firewall"]
    wait_for("another firewall role", lambda: mired.pids().get("firewall", before) != before, 10)
    wait_for("the role to have made its table", mired.is_ready, 10)
    net.gw.shell("nft flush ruleset")
    wait_for("the restoration", lambda: mired.status()["firewall"]["restores"] >= 1, 10)
    check(mired.in_set("nospamd", ["198.19.8.1"]), "the newest file is in the kernel again")
