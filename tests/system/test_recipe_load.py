"""What the recipe is for: the load of a content filter behind the MX, with and without mired in
front of it, under the same mixture of bots, which never come back, and of MTAs, which do."""
import pathlib
import re
import sys
import time

import contentfilter
import postfix
import topology
from client import try_many
from daemon import Mired
from world import check, marked, wait_for

N_BOTS, N_MTAS, MAILS_A_MTA = 120, 8, 3
FILTER_PORT, BACK_PORT = 10025, 10026
ROUNDS = 60000  # of a hash for each mail: some 20 ms and more
CF = f"content_filter = filter:[127.0.0.1]:{FILTER_PORT}\nfilter_destination_concurrency_limit = 1"
SERVICES = f"""
filter unix - - n - 1 smtp -o smtp_connection_cache_on_demand=no
127.0.0.1:{BACK_PORT} inet n - n - - smtpd -o content_filter= -o mynetworks=127.0.0.0/8
"""


class Filter:
    """The filter's process, and what it costs."""

    def __init__(self, world, ns):
        program = pathlib.Path(contentfilter.__file__)
        self.process = world.spawn([sys.executable, program, FILTER_PORT, BACK_PORT, ROUNDS],
                                   ns=ns, log=world.dir / "filter.log")

    def cpu_secs(self):
        check(self.process.poll() is None, "the filter runs")
        return contentfilter.cpu_secs(self.process.pid)


def subjects(mx, phase):
    """How many mails of bots and of MTAs the MX took in this phase."""
    found = re.findall(rf"^Subject: {phase} (bot|mta)", "\n".join(mx.inbox()), re.M)
    return found.count("bot"), found.count("mta")


def offer(net, sender, phase, bots):
    """The load: the same in both phases; returns the replies to the bots."""
    for n in range(N_MTAS):
        for m in range(MAILS_A_MTA):
            sender.submit(f"{phase} mta {n} {m}", sender=f"u{m}@s{n}.example")
    return try_many(net.out, net.target(False), bots, sender="<win@prize.example>",
                    subject=f"{phase} bot")


def measure(net, mx, sender, burner, phase):
    """Offers the load and waits until all mail of the MTAs, and all mail that was accepted of the
    bots, is through; returns (mails, CPU seconds of the filter, bots' mails)."""
    bots = [topology.client4(0x0400 + n) for n in range(N_BOTS)]
    before, began = burner.cpu_secs(), time.monotonic()
    replies = offer(net, sender, phase, bots)
    n_taken = sum(reply.startswith("250") for reply in replies)
    wanted = (n_taken, N_MTAS * MAILS_A_MTA)
    wait_for(f"all accepted mail {phase}", lambda: subjects(mx, phase) == wanted, 60, 0.2)
    spent = burner.cpu_secs() - before
    n_mails = sum(wanted)
    print(f"{phase}: {N_BOTS} bots, {N_MTAS} MTAs of {MAILS_A_MTA} mails each: {n_mails} mails "
          f"({n_taken} of bots) took {spent:.2f} CPU s of the filter, "
          f"{spent / n_mails * 1000:.0f} ms a mail; all through after "
          f"{time.monotonic() - began:.1f} s")
    return n_mails, spent, n_taken


@marked(timeout_secs=120, tags=("once",))
def test_the_content_filter_sees_the_mail_of_mtas_alone(world):
    net = topology.gateway(world)
    mx = postfix.receiver(world, net.mta, [*net.mta_listen, "127.0.0.1"], more=CF,
                          services=SERVICES)
    burner = Filter(world, net.mta)
    sources = [topology.client4(0x0300 + n) for n in range(N_MTAS)]
    sender = postfix.sender_of_many(world, net.out, net.target(False), sources)
    n_without, spent_without, bots_without = measure(net, mx, sender, burner, "without")
    check(bots_without == N_BOTS, "without mired the MX takes every bot's mail:", bots_without)

    mired = Mired(world, net, grey_stutter="1s").start()
    n_with, spent_with, bots_with = measure(net, mx, sender, burner, "with mired")
    check(bots_with == 0, "with mired no bot's mail arrives:", bots_with)
    check(sorted(mired.whites()) == sorted(sources), "the MTAs are known by then:", mired.whites())
    ratio = (spent_with / n_with) / (spent_without / n_without)
    check(1 / 3 < ratio < 3, "a mail costs what it cost:", ratio)
    check(spent_with < spent_without, "and all of them less:", spent_with, spent_without)
