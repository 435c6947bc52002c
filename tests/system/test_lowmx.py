"""Where connections to the low-priority MX go: a port of its own, which nobody reaches directly. What
becomes of the hosts is test_traps.py's."""
import topology
from client import Client, try_mail
from daemon import Mired
from sink import GREETING, Sink
from world import check, marked

LOW4, LOW6 = "192.0.2.26", "2001:db8:2::26"


def first_line(net, target, source):
    with Client(net.out, target, source=source) as client:
        return client.line()


@marked(timeout_secs=90, tags=("path", "sanitize"))
def test_strangers_meet_mired_there_and_white_hosts_the_mail_server(world):
    net = topology.gateway(world)
    net.mta.shell(f"ip addr add {LOW4}/24 dev int; ip addr add {LOW6}/64 dev int nodad")
    Sink(world, net.mta, [*net.mta_listen, LOW4, LOW6])
    mired = Mired(world, net, low_priority_mx=[LOW4, LOW6], stutter="0s").start()
    for is_v6, low in ((False, LOW4), (True, LOW6)):
        stranger = topology.client6(91) if is_v6 else topology.client4(91)
        white = topology.client6(51) if is_v6 else topology.client4(51)
        check(try_mail(net.out, low, stranger).startswith("451"), "a stranger meets mired")
        mired.make_white(net.out, net.target(is_v6), white)
        check(first_line(net, low, white) == GREETING, "a white host reaches the MTA")


@marked(timeout_secs=60, tags=("path",))
def test_the_port_is_not_reachable_directly(world):
    net = topology.gateway(world)
    Mired(world, net, low_priority_mx=[LOW4, LOW6]).start()
    for gateway in (topology.GW4, topology.GW6):
        with net.out.socket(10 if ":" in gateway else 2) as sock:
            sock.settimeout(2)
            try:
                sock.connect((gateway, 8027))
                raise AssertionError(f"port 8027 is reachable at {gateway}")
            except TimeoutError:
                pass
