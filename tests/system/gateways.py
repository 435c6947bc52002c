"""Two gateways, each with mired and a mail server of its own, on the internet and on a LAN.

    out (a sending site) ──┐            ┌── gw1 ──┐
                           ├─ internet ─┤         ├─ lan ── others, as a test plugs them in
    bots ──────────────────┘            └── gw2 ──┘

`bots` owns a /16 and an IPv6 /48 of client addresses, as `out` does in topology.py.
"""
import dataclasses

import postfix
from daemon import Mired
from topology import CLIENTS4, CLIENTS6, Topology
from world import Netns

OUT4 = "198.18.0.10"
BOTS4, BOTS6 = "198.18.0.66", "2001:db8:1::66"
MX4 = ("198.18.0.1", "198.18.0.2")
MX6 = ("2001:db8:1::1", "2001:db8:1::2")
LAN4 = ("10.77.0.1", "10.77.0.2")
PORT = 8025
KEY = b"what the gateways share\n"


class Switch:
    """A bridge in a namespace of its own."""

    def __init__(self, world, label):
        self.world, self.ns, self.n_ports = world, world.netns(label), 0
        self.ns.shell("ip link add name br type bridge mcast_snooping 0; ip link set dev br up")

    def plug(self, ns, name, *addresses):
        """Connects a namespace by an interface of this name with these addresses."""
        self.n_ports += 1
        port = f"p{self.n_ports}"
        self.world.link(ns, name, self.ns, port)
        self.ns.shell(f"ip link set {port} master br")
        for address in addresses:
            ns.shell(f"ip addr add {address} dev {name} {'nodad' if ':' in address else ''}")


@dataclasses.dataclass
class Gateways:
    """The hosts; `nets` are what Mired() takes, one a gateway."""
    world: object
    out: Netns
    bots: Netns
    lan: Switch
    nets: list

    def mx(self, n):
        """A real mail server on the n-th gateway."""
        return postfix.receiver(self.world, self.nets[n].mta, [MX4[n], "127.0.0.1"],
                                name=f"mx{n + 1}.example")

    def host(self, address):
        """One more host on the LAN."""
        ns = self.world.netns("host")
        self.lan.plug(ns, "lan", f"{address}/24")
        return ns


def make(world):
    internet, lan = Switch(world, "internet"), Switch(world, "lan")
    out, bots = world.netns("out"), world.netns("bots")
    internet.plug(out, "ext", f"{OUT4}/24")
    internet.plug(bots, "ext", f"{BOTS4}/24", f"{BOTS6}/64")
    bots.shell(f"""
        ip route add local {CLIENTS4} dev lo; ip -6 route add local {CLIENTS6} dev lo
        echo 1 > /proc/sys/net/ipv6/ip_nonlocal_bind""")
    nets = []
    for n in range(2):
        gw = world.netns(f"gw{n + 1}")
        internet.plug(gw, "ext", f"{MX4[n]}/24", f"{MX6[n]}/64")
        lan.plug(gw, "lan", f"{LAN4[n]}/24")
        gw.shell(f"ip route add {CLIENTS4} via {BOTS4}; ip -6 route add {CLIENTS6} via {BOTS6}")
        nets.append(Topology(bots, gw, gw, "local-mta", [MX4[n], MX6[n]], [MX4[n]]))
    return Gateways(world, out, bots, lan, nets)


def gateway(sites, n, key=KEY, **settings):
    """The n-th gateway's mired, not started, with this key (None: no key file)."""
    mired = Mired(sites.world, sites.nets[n], name=f"mired{n + 1}", **settings)
    write_key(mired, key)
    return mired


def write_key(mired, key):
    """Gives a daemon its key file, in a place of its own."""
    path = mired.dir / "sync.key"
    mired.write_conf(sync_key=path)
    if key is not None:
        path.write_bytes(key)
        path.chmod(0o600)


def pair(sites, of_each=({}, {}), **settings):
    """Both gateways' mired in step by unicast on the LAN, started; of_each: what they have for
    themselves."""
    return [gateway(sites, n, sync_listen="lan", sync_peer=[LAN4[1 - n]], **settings,
                    **of_each[n]).start() for n in range(2)]


def sync(mired):
    """What `status` says of synchronisation."""
    return mired.status()["sync"]
