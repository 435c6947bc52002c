"""Blacklist-only mode: the kernel holds the lists and sends only listed hosts to mired."""
import contextlib
import socket
import time

import postfix
import topology
from client import Client, try_mail
from daemon import Mired
from world import check, marked, run, wait_for

CFG_PORT = 8026
TEXT = "Your address %A is listed"
NETWORKS = 100_000


def load_list(mired, tag, networks):
    """Delivers one list as spamd-setup does; an empty one clears it."""
    families = {"inet": [n for n in networks if ":" not in n],
                "inet6": [n for n in networks if ":" in n]}
    line = f'{tag};"{TEXT}";' + "".join(
        f"{family};{len(items)};{';'.join(items)};" for family, items in families.items() if items)
    with mired.ns.socket(socket.AF_INET) as sock:
        bind_low(sock)
        sock.connect(("127.0.0.1", CFG_PORT))
        sock.sendall((line if networks else f"{tag};").encode() + b"\n")


def bind_low(sock):
    """To a port that only root may have: others are not heard."""
    for port in range(1023, 600, -1):
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return


def start(world, net, **settings):
    return Mired(world, net, blacklist_only="yes", spamd_cfg_port=CFG_PORT, stutter="0s",
                 **settings).start()


def wait_listed(mired, address, is_listed=True, timeout_secs=15):
    name = "spamd6" if ":" in address else "spamd"
    began = time.monotonic()
    wait_for(f"{address} {'in' if is_listed else 'out of'} {name}",
             lambda: bool(mired.in_set(name, [address])) == is_listed, timeout_secs,
             step_secs=0.02)
    return time.monotonic() - began


def listed_hosts_only(world, arrange, disaster="flush ruleset"):
    net = arrange(world)
    mx = postfix.receiver(world, net.mta, net.mta_listen)
    mired = start(world, net)
    bad4, good4 = topology.client4(0x0701), topology.client4(0x0801)
    bad6, good6 = topology.client6(7), topology.client6(8)
    check(try_mail(net.out, net.target(False), bad4).startswith("250"), "before: everybody passes")
    load_list(mired, "test", ["198.19.7.0/24", "2001:db8:c:7::/64"])
    wait_listed(mired, bad4)
    wait_listed(mired, bad6)
    for bad, good, is_v6 in ((bad4, good4, False), (bad6, good6, True)):
        reply = listed_reply(net, is_v6, bad)
        check(reply.startswith("450") and f"Your address {bad} is listed" in reply,
              "a listed host is told so:", reply)
        check(try_mail(net.out, net.target(is_v6), good).startswith("250"),
              "another one reaches the MTA", good)
    wait_for("the mails", lambda: len(mx.inbox()) == 3, 10)
    check(mired.status()["connections"]["total"] == 2, "mired saw the listed hosts only")

    run(["nft", disaster], ns=net.gw)
    wait_for("the restoration", lambda: mired.status()["firewall"]["restores"] >= 1, 10)
    wait_listed(mired, bad4)
    wait_listed(mired, bad6)
    wait_for("the rules", mired.is_ready, 10)
    check(listed_reply(net, False, bad4).startswith("450"), "after the flush as before")
    check(try_mail(net.out, net.target(True), good6).startswith("250"), "also for the others")

    load_list(mired, "test", [])
    wait_listed(mired, bad4, is_listed=False)
    check(try_mail(net.out, net.target(False), bad4).startswith("250"), "who is off the list passes")


def listed_reply(net, is_v6, source):
    """The reply to the whole mail of a listed host, after it was let talk."""
    with Client(net.out, net.target(is_v6), source=source) as client:
        client.expect("220")
        client.command("HELO mail.example", "250")
        client.command("MAIL FROM:<a@sender.example>", "250")
        client.command("RCPT TO:<b@mx.example>", "250")
        client.command("DATA", "354")
        client.send("Subject: test\r\n\r\nhello\r\n.\r\n")
        return client.reply()


@marked(timeout_secs=120, tags=("path", "sanitize"))
def test_gateway(world):
    listed_hosts_only(world, topology.gateway)


@marked(timeout_secs=120)
def test_mta_on_the_gateway(world):
    listed_hosts_only(world, topology.local)


@marked(timeout_secs=120, tags=("path",))
def test_gateway_with_its_own_dnat(world):
    # a flush of everything would take the administrator's own DNAT with it
    listed_hosts_only(world, topology.dnat, "delete table inet mired")


@marked(timeout_secs=180, alone=True)
def test_a_hundred_thousand_networks(world):
    net = topology.gateway(world)
    mired = start(world, net)
    networks = [f"10.{n >> 12 & 255}.{n >> 4 & 255}.{(n & 15) * 16}/29" for n in range(NETWORKS)]
    load_list(mired, "large", networks)
    took = wait_listed(mired, networks[-1].split("/")[0], timeout_secs=60)
    check(len(mired.in_set("spamd", [n.split("/")[0] for n in networks])) == NETWORKS,
          "all networks are in the kernel")
    print(f"{NETWORKS} networks were in the kernel {took:.2f} s after they were delivered")
    load_list(mired, "large", networks[:10])
    took = wait_listed(mired, networks[-1].split("/")[0], is_listed=False, timeout_secs=60)
    print(f"and replaced by 10 after {took:.2f} s")
    check(mired.in_set("spamd", [networks[0].split("/")[0]]), "the ten are there")
    code, stop_secs = mired.stop()
    check(code == 0 and stop_secs < 2, "a clean stop:", code, stop_secs)
