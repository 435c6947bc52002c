"""A host that hits a trap at one gateway is tarpitted at the other."""
import time

import gateways
import world as w
from client import Client
from control import ask
from gateways import MX4, MX6
from topology import client4, client6
from world import check, marked, wait_for

TRAP = "bait@example.com"
N_TRIES = 5
THERE_MS = 100 * w.PATIENCE
BYTE_SECS = 0.1
LOOK_SECS = 1.5


def trap(sites, source, target):
    """Mail to the trap; returns when its RCPT was answered."""
    with Client(sites.bots, target, source=source) as client:
        client.expect("220")
        client.command("HELO mail.example", "250")
        client.command("MAIL FROM:<a@sender.example>", "250")
        client.command(f"RCPT TO:<{TRAP}>", "250")
        return time.monotonic()


def wait_trapped(mired, source, began):
    """Milliseconds until the other gateway's kernel holds the host."""
    name = "spamd-greytrap6" if ":" in source else "spamd-greytrap"
    while not mired.in_set(name, [source]):
        check(time.monotonic() - began < 5, f"{source} gets into the set of the other gateway")
    return (time.monotonic() - began) * 1000


def check_tarpitted(sites, source, target):
    with Client(sites.bots, target, source=source) as client:
        n_bytes = sum(len(data) for _, data in client.bytes_until_eof(LOOK_SECS))
    check(0 < n_bytes <= LOOK_SECS / BYTE_SECS + 2, f"{source} gets one byte at a time:", n_bytes)


@marked(timeout_secs=60, alone=True, tags=("once", "sanitize"))
def test_a_trap_at_one_gateway_tarpits_at_the_other_within_100_ms(world):
    sites = gateways.make(world)
    # here the answer comes when the RCPT is read
    here, there = gateways.pair(sites, grey_stutter="0s", look_interval="100ms",
                                of_each=({"stutter": "0s"}, {"stutter": "100ms"}))
    ask(here, "change", f"spamtrap {TRAP}\n")
    wait_for("the trap at both", lambda: there.status()["traps"]["addresses"] == 1, 3)
    for is_v6 in (False, True):
        times_ms = []
        for n in range(N_TRIES):
            source = client6(n + 1) if is_v6 else client4(n + 1)
            target = (MX6 if is_v6 else MX4)[0]
            times_ms.append(wait_trapped(there, source, trap(sites, source, target)))
        check_tarpitted(sites, source, (MX6 if is_v6 else MX4)[1])
        print(f"{'IPv6' if is_v6 else 'IPv4'}: in the other gateway's kernel after "
              + ", ".join(f"{ms:.0f}" for ms in times_ms) + " ms of the answer to RCPT")
        check(max(times_ms) <= THERE_MS, "within 100 ms, each:", times_ms)
    rows = [row for row in there.rows() if row[0] == "TRAPPED"]
    check(len(rows) == 2 * N_TRIES, "all of them are in its store:", rows)
