"""What is special about rules = gateway-tproxy: nothing that mired holds is tracked, nothing changes
hands, and the routes it needs. That mail passes as with the other rules: `run --rules`."""
import contextlib
import pathlib
import time

import topology
from client import Client, attempt, try_mail
from control import ask
from daemon import Mired
from sink import GREETING, Sink
from test_blacklist import load_list, wait_listed
from world import BUILD, check, marked, run, wait_for

RULES = "gateway-tproxy"
N_HELD, N_COOKIES = 40, 6  # of each family
CFG_PORT = 8026
ACCEPT = "/proc/sys/net/ipv4/tcp_fwmark_accept"


def arranged(arrange, world):
    net = arrange(world)
    net.rules = RULES
    return net


def clients(is_v6, first, n):
    make = topology.client6 if is_v6 else topology.client4
    return [make(first + i) for i in range(n)]


def n_tracked(net):
    """Living entries of connection tracking on the gateway; the count of the kernel has also those
    that are over and not yet collected."""
    return len(net.gw.shell("cat /proc/net/nf_conntrack").splitlines())


def miredb(mired, *words):
    run([BUILD / "miredb", "-f", mired.conf, *words])


def greeting(net, target, source):
    with Client(net.out, target, source=source) as client:
        return client.line()


def is_held(net, mired, source, is_v6):
    """Whether it is mired whom a new connection meets."""
    before = mired.status()["connections"]["total"]
    line = greeting(net, net.target(is_v6), source)
    return line != GREETING and mired.status()["connections"]["total"] == before + 1


def hold_many(world, arrange, **settings):
    """Connections of both families, talked to and held: none is tracked, now or at the end."""
    net = arranged(arrange, world)
    mired = Mired(world, net, grey_stutter="0s", stutter="0s", spamd_cfg_port=CFG_PORT,
                  **settings).start()
    if settings:
        load_list(mired, "all", ["198.19.0.0/16", "2001:db8:c::/48"])
        wait_listed(mired, topology.client6(1))
    before = n_tracked(net)
    with contextlib.ExitStack() as stack:
        held = []
        for is_v6 in (False, True):
            for source in clients(is_v6, 1, N_HELD):
                held.append(stack.enter_context(
                    Client(net.out, net.target(is_v6), source=source)))
        for client in held:
            client.expect("220")
            client.send("HELO mail.example\r\n")
        for client in held:
            client.expect("250", "HELO")
        check(mired.status()["connections"]["now"] == 2 * N_HELD, "all are held")
        check(n_tracked(net) == before, "none is tracked:", before, n_tracked(net))
        for client in held[::2]:
            client.reset()
    wait_for("the end of all", lambda: mired.status()["connections"]["now"] == 0, 10)
    check(n_tracked(net) == before, "nor is an end:", before, n_tracked(net))
    return net, mired


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_who_is_greylisted_is_not_tracked(world):
    net, mired = hold_many(world, topology.gateway)
    for is_v6 in (False, True):
        reply = try_mail(net.out, net.target(is_v6), clients(is_v6, 900, 1)[0])
        check(reply.startswith("451"), "a stranger is deferred, got", reply)
    check(n_tracked(net) == 0, "a whole dialogue leaves no entry:", n_tracked(net))
    check("routes" not in mired.log_text(), "nothing is missing")


@marked(timeout_secs=90, tags=("once",))
def test_who_is_greylisted_is_not_tracked_in_front_of_the_gateways_own_dnat(world):
    hold_many(world, topology.dnat)


@marked(timeout_secs=90, tags=("once",))
def test_who_is_listed_is_not_tracked(world):
    hold_many(world, topology.gateway, blacklist_only="yes")


@marked(timeout_secs=90, tags=("once",))
def test_syn_cookies_work_and_leave_no_entry(world):
    net = arranged(topology.gateway, world)
    Sink(world, net.mta, net.mta_listen)
    net.gw.shell("echo 2 > /proc/sys/net/ipv4/tcp_syncookies")
    mired = Mired(world, net, grey_stutter="0s", stutter="0s").start()
    with contextlib.ExitStack() as stack:
        for is_v6 in (False, True):
            for source in clients(is_v6, 1, N_COOKIES):
                client = stack.enter_context(Client(net.out, net.target(is_v6), source=source))
                reply = attempt(client)
                check(reply.startswith("451"), "each is deferred, got", reply)
        check(mired.status()["connections"]["total"] == 2 * N_COOKIES, "by mired")
        wait_for("tracking to forget them", lambda: n_tracked(net) == 0, 10)
    cookies = net.gw.shell("grep -h ^TcpExt /proc/net/netstat").splitlines()
    figures = dict(zip(cookies[0].split(), cookies[1].split()))
    check(int(figures["SyncookiesRecv"]) >= 2 * N_COOKIES, "by cookies:", figures["SyncookiesRecv"])
    for is_v6 in (False, True):
        white = clients(is_v6, 800, 1)[0]
        miredb(mired, "-a", white)
        wait_for("it is white", lambda: mired.has_white(white), 5)
        check(greeting(net, net.target(is_v6), white) == GREETING, "a white host meets the server")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_a_connection_stays_with_who_has_it(world):
    net = arranged(topology.gateway, world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, grey_stutter="0s", stutter="0s").start()
    for is_v6 in (False, True):
        target, source = net.target(is_v6), clients(is_v6, 1, 1)[0]
        with Client(net.out, target, source=source) as held:
            check("gw.example" in held.expect("220"), "a stranger meets mired")
            miredb(mired, "-a", source)
            wait_for("it is white", lambda: mired.has_white(source), 5)
            check("gw.example" in held.command("HELO mail.example", "250"), "it stays with mired")
            held.command("MAIL FROM:<a@example.com>", "250")
            with Client(net.out, target, source=source) as passing:
                check(passing.line() == GREETING, "the next one meets the mail server")
                miredb(mired, "-d", source)
                wait_for("it is not white", lambda: not mired.has_white(source), 5)
                check(passing.command("HELO mail.example", "250") == "250 hello",
                      "it stays with the mail server")
                check(is_held(net, mired, source, is_v6), "the next one meets mired")
                passing.command("QUIT", "221")


@marked(timeout_secs=60, tags=("once",))
def test_a_port_is_used_again_while_its_last_connection_waits_to_be_forgotten(world):
    net = arranged(topology.gateway, world)
    mired = Mired(world, net, grey_stutter="0s", stutter="0s").start()
    for is_v6 in (False, True):
        for _ in range(2):
            with Client(net.out, net.target(is_v6), source=clients(is_v6, 1, 1)[0],
                        source_port=40000) as client:
                reply = attempt(client)
                check(reply.startswith("451"), "it is deferred, got", reply)
                check(client.line() is None, "mired ends it")
    waiting = net.gw.shell("ss -Htan state time-wait")
    check(waiting.count(":40000") == 2, "both ended on our side:", waiting)
    check(mired.status()["connections"]["total"] == 4 and n_tracked(net) == 0, "untracked")


@marked(timeout_secs=60, tags=("once",))
def test_the_port_is_not_reachable_directly(world):
    net = arranged(topology.gateway, world)
    mired = Mired(world, net).start()
    for target in (topology.GW4, topology.GW6, topology.INNER4_GW, topology.INNER6_GW):
        with net.out.socket(10 if ":" in target else 2) as sock:
            sock.settimeout(2)
            try:
                sock.connect((target, 8025))
                raise AssertionError(f"port 8025 is reachable at {target}")
            except TimeoutError:
                pass
    check(mired.status()["connections"]["total"] == 0, "nobody was accepted")


@marked(timeout_secs=60, tags=("once",))
def test_a_gateway_that_drops_by_default_lets_them_in_by_their_mark(world):
    net = arranged(topology.dnat, world)
    Sink(world, net.mta, net.mta_listen)
    net.gw.nft("""
        table inet guard {
            chain input {
                type filter hook input priority filter; policy drop;
                icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                meta mark & 0x02000000 != 0 accept
                ct state established,related accept
            }
            chain forward {
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname "ext" tcp dport 25 ct state new accept
            }
        }""")
    mired = Mired(world, net, grey_stutter="0s", stutter="0s").start()
    for is_v6 in (False, True):
        stranger, white = clients(is_v6, 1, 2)
        reply = try_mail(net.out, net.target(is_v6), stranger)
        check(reply.startswith("451"), "a stranger is deferred, got", reply)
        miredb(mired, "-a", white)
        wait_for("it is white", lambda: mired.has_white(white), 5)
        check(greeting(net, net.target(is_v6), white) == GREETING, "a white host passes")


@marked(timeout_secs=60, tags=("once",))
def test_while_a_killed_mired_is_not_back_strangers_reach_no_mail_server(world):
    """Neither the one behind the gateway nor one that listens on all addresses of the gateway
    itself, with and without the routes: whoever restarts mired may take them away meanwhile."""
    net = arranged(topology.gateway, world)
    net.gw.shell("echo 1 > /proc/sys/net/ipv6/bindv6only")
    sinks = [Sink(world, net.gw, ["0.0.0.0", "::"]), Sink(world, net.mta, net.mta_listen)]
    mired = Mired(world, net, grey_stutter="0s", stutter="0s").start()
    mired.kill9()
    mired.wait_gone()
    with contextlib.ExitStack() as stack:
        waiting = []
        for command in ("up", "down"):
            mired.route(command)
            for is_v6 in (False, True):
                sock = stack.enter_context(net.out.socket(10 if is_v6 else 2))
                sock.setblocking(False)
                sock.connect_ex((net.target(is_v6), 25))
                waiting.append(sock)
        time.sleep(0.5)
        check([sink.n_accepted for sink in sinks] == [0, 0], "nobody got through")
        mired.start()
        for sock in waiting:
            sock.settimeout(20)
            check(b"gw.example" in sock.recv(100), "who waited meets mired")
        check([sink.n_accepted for sink in sinks] == [0, 0], "and nobody else")


@marked(timeout_secs=60, tags=("once",))
def test_without_the_right_to_transparent_sockets_it_does_not_start(world):
    net = arranged(topology.gateway, world)
    mired = Mired(world, net, program=["setpriv", "--bounding-set=-net_admin,-net_raw"])
    done = mired.run_to_end()
    check(done.returncode == 1, "it ends:", done.returncode)
    check("TRANSPARENT: Operation not permitted" in done.stderr and
          "gateway-tproxy needs CAP_NET_ADMIN" in done.stderr, "it says why:", done.stderr)


def routing(net):
    """Rules and all routes of the gateway, and whether replies carry marks."""
    return net.gw.shell(f"ip rule; ip -6 rule; ip route show table 825 2>/dev/null || true; "
                        f"ip -6 route show table 825 2>/dev/null || true; cat {ACCEPT}")


@marked(timeout_secs=60, tags=("once",))
def test_routes_are_set_up_once_and_taken_back(world):
    net = arranged(topology.gateway, world)
    mired = Mired(world, net, interface=["ext", "ppp0"])
    net.gw.shell("ip rule add fwmark 0x7 lookup 100")
    untouched = routing(net)
    check(mired.route("status", check_code=False).returncode == 1, "there is nothing at first")
    mired.route("up")
    there = routing(net)
    for name in ("ext", "ppp0"):
        check(there.count(f"iif {name} ") == 2, f"a rule for {name} in each family:", there)
    check(there.count("local default dev lo") == 2 and there.endswith("1\n"), "routes:", there)
    check("ext ppp0" in mired.route("status").stdout, "the status names the interfaces")
    mired.route("up")
    check(routing(net) == there, "repeating it changes nothing:", there, routing(net))
    mired.route("down")
    check(routing(net) == untouched, "all is as before:", untouched, routing(net))
    mired.route("down")
    net.gw.shell(f"echo 1 > {ACCEPT}")
    mired.route("up")
    mired.route("down")
    check(net.gw.shell(f"cat {ACCEPT}") == "1\n", "what was on before stays on")


@marked(timeout_secs=60, tags=("once",))
def test_routing_rules_of_the_gateway_itself_are_no_obstacle(world):
    net = arranged(topology.gateway, world)
    Sink(world, net.mta, net.mta_listen)
    net.gw.shell(f"""
        ip rule add pref 10 iif ext lookup 100; ip -6 rule add pref 10 iif ext lookup 100
        ip route add default via {topology.MX4} table 100
        ip -6 route add default via {topology.MX6} table 100""")
    mired = Mired(world, net, stutter="0s", grey_stutter="0s").start()
    for is_v6 in (False, True):
        check(is_held(net, mired, clients(is_v6, 1, 1)[0], is_v6), "strangers are held")


@marked(timeout_secs=60, tags=("once",))
def test_other_rules_and_bad_configurations_touch_no_routes(world):
    net = arranged(topology.gateway, world)
    mired = Mired(world, net)
    mired.write_conf(rules="gateway")
    untouched = routing(net)
    script = pathlib.Path(__file__).parents[2] / "systemd" / "mired-tproxy"
    command = ["env", f"MIRED={BUILD / 'mired'}", script]
    done = run([*command, "up", "-f", mired.conf], ns=net.gw)
    check("nothing to do" in done.stdout, "it says so:", done.stdout)
    mired.write_conf(rules="nonsense")
    done = run([*command, "up", "-f", mired.conf], ns=net.gw, check_code=False)
    check(done.returncode == 1 and "cannot be read" in done.stderr, "it fails:", done.stderr)
    done = run([*command, "sideways"], ns=net.gw, check_code=False)
    check(done.returncode == 2 and "mired-tproxy up" in done.stderr, "usage:", done.stderr)
    check(routing(net) == untouched, "nothing was touched")


@marked(timeout_secs=60, tags=("once",))
def test_a_host_with_ipv6_turned_off_has_routes_for_ipv4(world):
    net = arranged(topology.gateway, world)
    mired = Mired(world, net, mx_addresses=net.mx[:1], stutter="0s", grey_stutter="0s")
    untouched = routing(net)
    net.gw.shell("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    mired.start()
    check("nobody will be held" not in mired.log_text(), "nothing is missing")
    check(is_held(net, mired, clients(False, 1, 1)[0], False), "strangers are held")
    check(mired.route("status").stdout == "IPv4: ext \nnet.ipv4.tcp_fwmark_accept = 1\n",
          "the status is that of IPv4")
    mired.route("down")
    net.gw.shell("echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    mired.route("up")
    net.gw.shell("echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    mired.route("down")
    check(routing(net) == untouched, "all is as before:", untouched, routing(net))


@marked(timeout_secs=60, tags=("once",))
def test_a_start_without_routes_says_so(world):
    net = arranged(topology.gateway, world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, stutter="0s", grey_stutter="0s")
    mired.wants_routes = False
    mired.start()
    text = mired.log_text()
    check("nobody will be held" in text and "`mired-tproxy up`" in text, "it is said:", text)
    mired.route("up")
    for is_v6 in (False, True):
        check(is_held(net, mired, clients(is_v6, 1, 1)[0], is_v6), "now strangers are held")
    mired.stop()
    mired.log.write_text("")
    mired.start()
    check("nobody will be held" not in mired.log_text(), "with routes nothing is said")


@marked(timeout_secs=60, tags=("once",))
def test_a_reload_with_an_interface_that_has_no_routes_says_so(world):
    mired = Mired(world, arranged(topology.gateway, world)).start()
    words = "no routing rule for marked packets from interface int"
    mired.write_conf(interface=["ext", "int"])
    said = ask(mired, "reload")
    check(any(words in line for line in said["warnings"]), "whoever asked hears it:", said)
    wait_for("the line in the log", lambda: words in mired.log_text(), 5)
    mired.route("up")
    check(ask(mired, "reload")["warnings"] == [], "until they are there")


@marked(timeout_secs=90, tags=("once", "sanitize"))
def test_the_rules_are_changed_by_one_line_even_after_a_kill(world):
    net = topology.gateway(world)
    Sink(world, net.mta, net.mta_listen)
    mired = Mired(world, net, stutter="0s", grey_stutter="0s")
    for rules, does_track, ends in (("gateway", True, mired.kill9), (RULES, False, mired.stop),
                                    ("gateway", True, mired.stop), (RULES, False, mired.kill9),
                                    ("gateway", True, mired.stop)):
        mired.write_conf(rules=rules)
        mired.start()
        before = n_tracked(net)
        for is_v6 in (False, True):
            with Client(net.out, net.target(is_v6), source=clients(is_v6, 1, 1)[0]) as client:
                check("gw.example" in client.expect("220"), f"{rules}: a stranger meets mired")
        check((n_tracked(net) > before) == does_track, f"{rules}: tracked:", before, n_tracked(net))
        ends()
        mired.wait_gone()
