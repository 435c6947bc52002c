"""What the kernel counts, for each rule and, with set-counters, for each address; and what
`miredctl counters` says of it."""
import json
import os
import signal
import time

import topology
from client import Client, try_mail
from daemon import Mired
from sink import Sink
from world import BUILD, check, marked, run, wait_for

N_HOSTS = 20000


def ask(net, mired, *words, prefix=(), check_code=True):
    return run([*prefix, BUILD / "miredctl", "-f", mired.conf, "counters", *words], ns=net.gw,
               check_code=check_code)


def counters(net, mired, *addresses):
    """Packets of each rule, and of each address what the sets say of it."""
    answer = json.loads(ask(net, mired, "--json", *addresses).stdout)
    return ({name: row["packets"] for name, row in answer["counters"].items()},
            [{row["set"]: row for row in address["sets"]} for address in answer["addresses"]])


def whiten(mired, *hosts):
    run([BUILD / "miredb", "-f", mired.conf, "-a", *hosts])
    wait_for("them to be white", lambda: all(mired.has_white(host) for host in hosts), 5)


@marked(tags=("sanitize",))
def test_rules_and_addresses_are_counted(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, set_counters="yes", stutter="0s", grey_stutter="0s")
    exempt = topology.client4(77)
    mired.write_nospamd("198.19.0.64/26\n")
    mired.start()
    white4, white6 = topology.client4(1), topology.client6(1)
    stranger = topology.client4(3)
    whiten(mired, white4, white6)
    rules, _ = counters(net, mired)
    check(rules == {"c_nospamd": 0, "c_white": 0, "c_passed": 0, "c_tarpit": 0}, rules)
    for source, is_v6 in ((white4, False), (white4, False), (white6, True), (exempt, False)):
        reply = try_mail(net.out, net.target(is_v6), source=source)
        check(reply.startswith("250"), f"{source} passes, got", reply)
    with Client(net.out, net.target(False), source=stranger) as client:
        check("gw.example" in client.expect("220"), "a stranger meets mired")
    rules, sets = counters(net, mired, white4, white6, exempt, stranger)
    check(rules == {"c_nospamd": 1, "c_white": 3, "c_passed": 0, "c_tarpit": 1}, rules)
    check([list(each) for each in sets] == [["spamd-white"], ["spamd-white6"], ["nospamd"], []],
          "each is where it belongs:", sets)
    four, six, network = (list(each.values())[0] for each in sets[:3])
    check(four["packets"] == 2 and four["bytes"] >= 80, "a packet a connection:", four)
    check(six["packets"] == 1 and network["packets"] == 1, "of each:", six, network)
    check(six["first"] == "2001:db8:c:1::" and six["last"].endswith(":ffff"), "a group:", six)
    check((network["first"], network["last"]) == ("198.19.0.64", "198.19.0.127"), network)
    check("left_ms" not in network and four["left_ms"] > 35 * 86400000, "it expires:", four)
    text = ask(net, mired, white4, stranger).stdout
    check(f"\n{stranger}: in no set\n" in text and "\n  spamd-white      36d0" in text, text)


@marked(tags=())
def test_counters_survive_reload_and_crash(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, set_counters="yes", stutter="0s", grey_stutter="0s").start()
    white = topology.client4(1)
    whiten(mired, white)
    try_mail(net.out, net.target(False), source=white)
    mired.write_nospamd("203.0.113.0/24\n")
    os.kill(mired.supervisor_pid(), signal.SIGHUP)
    wait_for("the reload", lambda: "nospamd" in counters(net, mired, "203.0.113.9")[1][0], 10)
    rules, (after,) = counters(net, mired, white)
    check(rules["c_white"] == 1, "the rule's counter goes on:", rules)
    check(after["spamd-white"]["packets"] == 1, "and the address's:", after)
    mired.kill9()
    mired.wait_gone()
    mired.start()
    rules, (after,) = counters(net, mired, white)
    check(rules["c_white"] == 1, "rules exchanged over a crash count on:", rules)
    if mired.status()["firewall"]["has_refresh"]:  # else all hosts are put in anew
        check(after["spamd-white"]["packets"] == 1, "and so do addresses:", after)


@marked(tags=("once",))
def test_the_setting_can_be_changed_over_a_table_that_is_left(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, stutter="0s", grey_stutter="0s").start()
    white = topology.client4(1)
    whiten(mired, white)
    for setting in ("yes", "no"):
        mired.kill9()
        mired.wait_gone()
        mired.write_conf(set_counters=setting)
        mired.start()
        _, (sets,) = counters(net, mired, white)
        check(("packets" in sets["spamd-white"]) == (setting == "yes"), f"{setting}:", sets)
        reply = try_mail(net.out, net.target(False), source=white)
        check(reply.startswith("250"), "a white host passes, got", reply)
        with Client(net.out, net.target(False), source=topology.client4(2)) as client:
            check("gw.example" in client.expect("220"), "a stranger meets mired")


def time_answer(net, mired):
    """What it says of two addresses, and the least of some times that it took."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        text = ask(net, mired, "10.0.1.1", "10.9.9.9").stdout
        times.append(time.monotonic() - began)
    return text, min(times)


@marked(tags=("once",))
def test_an_answer_takes_no_longer_with_many_hosts(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    _, took_before = time_answer(net, mired)
    elements = ", ".join(f"10.0.{n >> 8}.{n & 255} timeout 1h" for n in range(N_HOSTS))
    net.gw.nft(f"add element inet mired spamd-white {{ {elements} }}")
    text, took = time_answer(net, mired)
    check("spamd-white" in text and "10.9.9.9: in no set" in text, text)
    check(took < 3 * took_before + 0.2, "as long as before:", took, took_before)


@marked(tags=("once",))
def test_what_cannot_be_asked_is_said(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s", grey_stutter="0s")
    mired.conf.chmod(0o644)
    nobody = ("setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all",
              "--inh-caps=-all")
    for words, prefix, code, reason in (
            ((), (), 1, "there is no table inet mired"),
            (("192.0.2.1", "192.0.2"), (), 2, "192.0.2: no IP address"),
            (("192.0.2.0/24",), (), 2, "192.0.2.0/24: no IP address"),
            ((), nobody, 1, "only root may ask the packet filter")):
        done = ask(net, mired, *words, prefix=prefix, check_code=False)
        check(done.returncode == code and reason in done.stderr, f"{words}:", done.stderr)
        check(done.stdout == "", "and nothing else:", done.stdout)


@marked(tags=("once",))
def test_an_administrators_counters_are_shown_until_they_are_too_many(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    for n, is_shown in ((60, True), (61, False)):
        net.gw.nft("\n".join(f"add counter inet mired own{i}" for i in range(n)))
        done = ask(net, mired, "192.0.2.1", check_code=False)
        check((done.returncode == 0) == is_shown, f"{n}:", done)
        check(f"\nown{n - 1} " in done.stdout if is_shown else
              "table inet mired has more than 64 counters, yours included" in done.stderr, done)
