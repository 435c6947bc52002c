"""A real sender's mail is deferred, comes back by itself and passes; the next one goes straight to
the mail server. In every arrangement of gateway and mail server, for both families."""
import postfix
import topology
from client import try_mail
from daemon import FALLBACKS, Mired
from world import check, marked, wait_for


def deliver_twice(world, arrange, is_v6, **settings):
    """The whole story with real Postfix on both ends; returns the daemon for further looks."""
    net = arrange(world)
    mx = postfix.receiver(world, net.mta, net.mta_listen)
    mired = Mired(world, net, **settings).start()
    sender = postfix.sender(world, net.out, net.target(is_v6))

    sender.submit("first")
    wait_for("the deferral in the sender's log", lambda: "status=deferred" in sender.log_text(), 30)
    deferred = [line for line in sender.log_text().splitlines() if "status=deferred" in line][0]
    check("451 Temporary failure, please try again later." in deferred, "deferred with 451:",
          deferred)
    check(not mx.inbox(), "nothing is delivered before the retry")
    wait_for("the first mail", lambda: len(mx.inbox()) == 1, 60, step_secs=0.2)
    accepted = mired.status()["connections"]["total"]
    check(accepted >= 2, "mired saw the first attempt and a retry, connections:", accepted)

    sender.submit("second")
    wait_for("the second mail", lambda: len(mx.inbox()) == 2, 20)
    check("Subject: second" in "".join(mx.inbox()), "the second mail arrived whole")
    check(mired.status()["connections"]["total"] == accepted,
          "the second mail did not touch mired")
    host = topology.OUT6 if is_v6 else topology.OUT4
    group = "2001:db8:1::" if is_v6 else host
    check(mired.has_white(host), "the kernel set holds the sender")
    check(mired.whites() == [group], "the store holds the sender:", mired.whites())
    return mired


@marked(timeout_secs=120, tags=("path", "sanitize"))
def test_gateway_ipv4(world):
    deliver_twice(world, topology.gateway, False)


@marked(timeout_secs=120, tags=("path",))
def test_gateway_ipv6(world):
    deliver_twice(world, topology.gateway, True)


@marked(timeout_secs=120, tags=("path",))
def test_gateway_with_its_own_dnat_ipv4(world):
    deliver_twice(world, topology.dnat, False)


@marked(timeout_secs=120, tags=("path",))
def test_gateway_with_its_own_dnat_ipv6(world):
    deliver_twice(world, topology.dnat, True)


@marked(timeout_secs=120)
def test_mta_on_the_gateway_ipv4(world):
    deliver_twice(world, topology.local, False)


@marked(timeout_secs=120, tags=("sanitize",))
def test_mta_on_the_gateway_ipv6(world):
    deliver_twice(world, topology.local, True)


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_all_kernel_fallbacks(world):
    mired = deliver_twice(world, topology.gateway, False, **FALLBACKS)
    mode = mired.status()["engine"]["accept_mode"]
    check("fallback" in mode or "single" in mode, "accept runs by its fallback:", mode)


@marked(timeout_secs=120, tags=("path",))
def test_a_host_on_nospamd_never_meets_mired(world):
    net = topology.gateway(world)
    mx = postfix.receiver(world, net.mta, net.mta_listen)
    mired = Mired(world, net)
    mired.write_nospamd("# our partners\n198.19.7.0/24   # by network\n\n2001:db8:c:7::/64\n")
    mired.start()
    check(try_mail(net.out, net.target(False), topology.client4(0x0701)).startswith("250"),
          "IPv4 network passes")
    check(try_mail(net.out, net.target(True), topology.client6(7)).startswith("250"),
          "IPv6 network passes")
    check(try_mail(net.out, net.target(False), topology.client4(0x0801)).startswith("451"),
          "a neighbour is greylisted")
    wait_for("both mails", lambda: len(mx.inbox()) == 2, 10)


@marked(timeout_secs=60)
def test_local_traffic_and_direct_access_are_left_alone(world):
    net = topology.local(world)
    mx = postfix.receiver(world, net.mta, net.mta_listen)
    mired = Mired(world, net).start()
    mx.submit("from the host itself")
    wait_for("the local mail", lambda: len(mx.inbox()) == 1, 10)
    check(mired.status()["connections"]["total"] == 0, "local submission does not touch mired")
    with net.out.socket(2) as sock:
        sock.settimeout(2)
        try:
            sock.connect((topology.GW4, 8025))
            raise AssertionError("port 8025 is reachable from outside")
        except TimeoutError:
            pass
