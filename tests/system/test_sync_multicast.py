"""Three gateways that know of each other by the multicast group alone."""
import gateways
from client import try_mail
from daemon import Mired
from syncpeer import GREY, Peer, key_text
from topology import Topology
from world import check, marked, wait_for

HOSTS = ("10.77.0.1", "10.77.0.2", "10.77.0.3")
BOT, LISTENER = "10.77.0.100", "10.77.0.9"
TTL = 3


def start_three(world, lan):
    out = []
    for n, address in enumerate(HOSTS):
        gw = world.netns(f"gw{n + 1}")
        lan.plug(gw, "lan", f"{address}/24")
        net = Topology(gw, gw, gw, "local-mta", [address], [address])
        mired = Mired(world, net, name=f"mired{n + 1}", interface=["lan"], grey_stutter="0s")
        gateways.write_key(mired, gateways.KEY)
        out.append(mired.start("-y", f"lan:{TTL}", "-Y", f"lan:{TTL}"))
    return out


@marked(timeout_secs=60, tags=("once",))
def test_a_tuple_of_one_gateway_is_known_to_the_whole_group(world):
    lan = gateways.Switch(world, "lan")
    bot, listener = world.netns("bot"), world.netns("listener")
    lan.plug(bot, "lan", f"{BOT}/24")
    lan.plug(listener, "lan", f"{LISTENER}/24")
    peer = Peer(listener, "", key_text(gateways.KEY), group_at=LISTENER)
    mireds = start_three(world, lan)
    for n, mired in enumerate(mireds):
        reply = try_mail(bot, HOSTS[n], sender=f"<s{n}@sender.example>")
        check(reply.startswith("451"), "deferred:", reply)
        for other in mireds:
            wait_for(f"tuple {n + 1} at all three", lambda o=other, n=n: len(o.rows()) == n + 1, 3)
    for n, mired in enumerate(mireds):
        rows = mired.rows()
        check({row[8] for row in rows} == {"1"}, "each counted once:", rows)
        figures = {row["address"]: row for row in mired.status()["sync"]["peers"]}
        check(HOSTS[n] not in figures, "its own datagrams are no peer's:", figures)
        for other in HOSTS[:n] + HOSTS[n + 1:]:
            check(figures[other]["in"] == {"grey": 1}, "one tuple of each other:", figures)
    seen = peer.look()
    check([(s.source, s.ttl, s.types()[0]) for s in seen] == [(h, TTL, GREY) for h in HOSTS],
          "on the wire, with the TTL that was set:", seen)
    print(f"three tuples at three gateways, TTL on the wire {seen[0].ttl}")
