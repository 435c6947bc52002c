"""The three arrangements of sender, gateway and mail server that the tests run on.

    out  ── ext ── gw ── int ── mx          (local: the MTA is in gw, there is no mx)

`out` is the internet: it owns a /16 and an IPv6 /48 of client addresses by AnyIP, so a test can
have as many distinct hosts as it wants without configuring each (IPv6 needs leave to bind them).
"""
import dataclasses
import os

from world import Netns, World

OUT4, GW4 = "198.18.0.10", "198.18.0.1"
OUT6, GW6 = "2001:db8:1::10", "2001:db8:1::1"
CLIENTS4 = "198.19.0.0/16"
CLIENTS6 = "2001:db8:c::/48"
INNER4_GW, INNER6_GW = "192.0.2.1", "2001:db8:2::1"
MX4, MX6 = "192.0.2.25", "2001:db8:2::25"
# The DNAT gateway: clients know only these; the server behind has private addresses.
PUBLIC4, PUBLIC6 = "198.18.0.25", "2001:db8:1::25"
# Which rules a gateway has in this run.
GATEWAY_RULES = os.environ.get("MIRED_TEST_RULES", "gateway")
PRIVATE4, PRIVATE6 = "10.9.8.25", "fd00:9:8::25"


def client4(n):
    """The n-th IPv4 client address of `out`."""
    return f"198.19.{n >> 8 & 255}.{n & 255}"


def client6(n, host=1):
    """A client in the n-th IPv6 /64 of `out`."""
    return f"2001:db8:c:{n & 0xffff:x}::{host:x}"


@dataclasses.dataclass
class Topology:
    """A world's network: who sends, who guards, who receives."""
    out: Netns
    gw: Netns
    mta: Netns  # where the mail server runs
    rules: str
    mx: list  # as clients address them
    mta_listen: list  # as the mail server binds them

    def target(self, is_v6):
        return self.mx[1] if is_v6 else self.mx[0]


def _outside(world: World):
    out, gw = world.netns("out"), world.netns("gw")
    world.link(out, "ext", gw, "ext")
    out.shell(f"""
        ip addr add {OUT4}/24 dev ext; ip addr add {OUT6}/64 dev ext nodad
        ip route add default via {GW4}; ip -6 route add default via {GW6}
        ip route add local {CLIENTS4} dev lo; ip -6 route add local {CLIENTS6} dev lo
        echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range
        echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind""")
    gw.shell(f"""
        ip addr add {GW4}/24 dev ext; ip addr add {GW6}/64 dev ext nodad
        ip route add {CLIENTS4} via {OUT4}; ip -6 route add {CLIENTS6} via {OUT6}
        echo 1 > /proc/sys/net/ipv4/ip_forward
        echo 1 > /proc/sys/net/ipv6/conf/all/forwarding""")
    return out, gw


def _inside(world, gw, addresses):
    mx = world.netns("mx")
    world.link(gw, "int", mx, "int")
    (gw4, mx4), (gw6, mx6) = addresses
    gw.shell(f"ip addr add {gw4}/24 dev int; ip addr add {gw6}/64 dev int nodad")
    mx.shell(f"""
        ip addr add {mx4}/24 dev int; ip addr add {mx6}/64 dev int nodad
        ip route add default via {gw4}; ip -6 route add default via {gw6}""")
    return mx


def gateway(world):
    """The MX is behind the gateway, which routes to it."""
    out, gw = _outside(world)
    mx = _inside(world, gw, [(INNER4_GW, MX4), (INNER6_GW, MX6)])
    return Topology(out, gw, mx, GATEWAY_RULES, [MX4, MX6], [MX4, MX6])


def dnat(world):
    """The MX has private addresses; the gateway's own DNAT rule leads to it."""
    out, gw = _outside(world)
    mx = _inside(world, gw, [("10.9.8.1", PRIVATE4), ("fd00:9:8::1", PRIVATE6)])
    gw.shell(f"ip addr add {PUBLIC4}/24 dev ext; ip addr add {PUBLIC6}/64 dev ext nodad")
    gw.nft(f"""
        table inet admin {{
            chain pre {{
                type nat hook prerouting priority dstnat; policy accept;
                iifname "ext" ip daddr {PUBLIC4} tcp dport 25 dnat ip to {PRIVATE4}
                iifname "ext" ip6 daddr {PUBLIC6} tcp dport 25 dnat ip6 to {PRIVATE6}
            }}
        }}""")
    return Topology(out, gw, mx, GATEWAY_RULES, [PUBLIC4, PUBLIC6], [PRIVATE4, PRIVATE6])


def local(world):
    """The MTA runs on the gateway itself."""
    out, gw = _outside(world)
    return Topology(out, gw, gw, "local-mta", [GW4, GW6], [GW4, GW6, "127.0.0.1"])
