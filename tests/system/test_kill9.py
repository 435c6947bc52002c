"""Nothing that was answered is ever lost: all processes killed again and again under load."""
import random
import threading
import time

import topology
from client import try_mail
from daemon import Mired
from load import Load
from world import Failure, check, marked

N_KILLS, N_TUPLES, RATE = 50, 50_000, 700
N_WHITELISTERS = 6
WHITE_SOURCES = 0xd000  # of topology.client4: outside the load's range


class Whitelister(threading.Thread):
    """Makes hosts white by retries and remembers those whose second 451 arrived whole."""

    def __init__(self, net, index):
        super().__init__(daemon=True)
        self.net, self.index, self.stopping = net, index, threading.Event()
        self.first, self.white = {}, []  # source: time of the first answer; answered twice
        self.n_made = 0

    def run(self):
        while not self.stopping.wait(0.05):
            due = [s for s, at in self.first.items() if time.monotonic() - at > 4.2]
            if due:
                self.attempt(due[0], self.promoted)
            else:
                self.n_made += 1
                is_v6 = self.n_made % 2
                number = WHITE_SOURCES + self.n_made * N_WHITELISTERS + self.index
                self.attempt(topology.client6(number) if is_v6 else topology.client4(number),
                             self.seen)

    def attempt(self, source, answered):
        try:
            reply = try_mail(self.net.out, self.net.target(":" in source), source)
        except (OSError, Failure):
            return  # mired is dead just now; the next attempt tells
        if reply and reply.startswith("451"):
            answered(source)

    def seen(self, source):
        self.first[source] = time.monotonic()

    def promoted(self, source):
        del self.first[source]
        self.white.append(source)

    def end(self):
        self.stopping.set()
        self.join(timeout=90)


@marked(timeout_secs=420, alone=True)
def test_fifty_kills_lose_no_answered_tuple_and_no_white_host(world):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s", greyexp="2h", verbose="no").start()
    acks = world.dir / "acks"
    began = time.monotonic()
    load = Load(world, net.out, net.target(False), "--tuples", N_TUPLES, "--rate", RATE,
                "--ack-file", acks, "--source-range", "198.19.0.1-198.19.199.255", seconds=360)
    whitelisters = [Whitelister(net, n) for n in range(N_WHITELISTERS)]
    for whitelister in whitelisters:
        whitelister.start()
    n_under_load = 0
    for _ in range(N_KILLS):
        time.sleep(dice.uniform(0.05, 2.2))
        n_under_load += load.is_running()
        mired.kill9()
        mired.wait_gone()
        mired.start()
    summary = load.result(300)
    took = time.monotonic() - began
    for whitelister in whitelisters:
        whitelister.end()
    promoted = [source for whitelister in whitelisters for source in whitelister.white]
    verify(mired, acks, promoted, f"{N_KILLS} kills ({n_under_load} under load), {took:.0f} s")
    check(n_under_load == N_KILLS, "every kill came under load:", n_under_load)
    check(N_TUPLES / took >= 500, "500 new tuples a second:", N_TUPLES / took, summary)


def verify(mired, acks, promoted, story):
    """Every line of the recorder and every promoted host is in the store and in the kernel."""
    acked = {tuple(line.split()) for line in acks.read_text().splitlines()}
    check(len(acked) >= N_TUPLES, "all tuples were answered:", len(acked))
    rows = mired.rows()
    stored = {(row[2], row[3], row[4], row[1]) for row in rows if row[0] == "GREY"}
    lost = acked - stored
    whites = [row[1] for row in rows if row[0] == "WHITE"]
    v4 = [host for host in whites if ":" not in host]
    v6 = [host for host in whites if ":" in host]
    in_kernel = mired.in_set("spamd-white", v4) | mired.in_set("spamd-white6", v6)
    promoted_lost = [s for s in promoted if not mired.has_white(s)]
    print(f"{story}: {len(acked)} tuples answered, {len(stored)} stored, {len(lost)} lost; "
          f"{len(promoted)} hosts promoted, {len(whites)} white in the store, "
          f"{len(in_kernel)} of them in the kernel")
    check(not lost, "no answered tuple is lost:", sorted(lost)[:5])
    check(len(promoted) >= 20, "hosts were promoted:", len(promoted))
    check(not promoted_lost, "no promoted host is lost:", promoted_lost[:5])
    check(in_kernel == set(whites), "every white host is in the kernel:",
          sorted(set(whites) - in_kernel)[:5])
