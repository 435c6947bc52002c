"""More connections than the byte budget carries: the stutter stretches, and nobody is lost."""
import os
import signal
import time

import topology
from control import Control
from daemon import Mired
from load import Load
from world import check, marked, wait_for

N, BUDGET = 600, 200
# most of the clients, which are 198.19.0.1 and those after it
LISTED = 'slow;"no";inet;1;198.19.0.0/23;\n'
SCARCE = {"byte_budget": BUDGET, "workers": 2}


def crowd(world, lists=None, stutter="1s", **settings):
    """mired and N silent clients that it holds."""
    net = topology.gateway(world)
    mired = Mired(world, net, stutter=stutter, grey_stutter="90s", verbose="no", **settings).start()
    if lists:
        with Control(mired) as control:
            answer = control.ask("list-put", lists)
        check("error" not in answer, "the list is taken:", answer)
    load = Load(world, net.out, net.target(False), "--idle", N, "--rate", 600, "--source-range",
                "198.19.0.1-198.19.199.255", seconds=60)
    wait_for("all connections", lambda: mired.status()["connections"]["now"] >= N, 30, 0.2)
    return mired, load


def bytes_a_second(mired, secs):
    before, began = mired.status()["bytes"]["stuttered"], time.monotonic()
    time.sleep(secs)
    return (mired.status()["bytes"]["stuttered"] - before) / (time.monotonic() - began)


def check_held_to_budget(mired, kind, other):
    """Returns the pace it found."""
    time.sleep(4)
    per_sec = bytes_a_second(mired, 8)
    status = mired.status()
    pace = status["pace"]
    print(f"{per_sec:.0f} bytes a second, {pace}")
    check(pace["budget_per_sec"] == BUDGET, "the budget is the configured one:", pace)
    check(pace["carried_per_sec"] <= BUDGET, "no more is carried:", pace)
    check(per_sec < BUDGET * 1.15, "the budget holds:", per_sec)
    check(pace[kind] >= N / BUDGET * 0.9, "the stutter is stretched:", pace)
    check(pace[other] == 1, "of those only:", pace)
    check(status["connections"]["now"] == N, "all are held:", status["connections"])
    check(mired.log_text().count("stutter is stretched") == 1, "it says so once:",
          mired.log_text()[-1000:])
    return pace


@marked(timeout_secs=120, tags=("once",))
def test_listed_clients_make_room_for_greylisted_ones(world):
    mired, load = crowd(world, LISTED, **SCARCE)
    check(mired.status()["connections"]["grey"] > 50, "some are not on the list")
    check_held_to_budget(mired, "stretch_listed", "stretch_grey")
    load.end()
    wait_for("the pace to be as configured",
             lambda: mired.status()["pace"]["stretch_listed"] == 1, 20, 0.5)


@marked(timeout_secs=120, tags=("once",))
def test_greylisted_clients_are_stretched_when_there_are_no_listed_ones(world):
    mired, load = crowd(world, **SCARCE)
    check_held_to_budget(mired, "stretch_grey", "stretch_listed")
    load.end()


@marked(timeout_secs=120, tags=("once",))
def test_within_the_budget_the_pace_is_as_configured(world):
    mired, load = crowd(world)
    time.sleep(2)
    per_sec = bytes_a_second(mired, 5)
    pace = mired.status()["pace"]
    check(N * 0.9 < per_sec < N * 1.1, "a byte a second each:", per_sec)
    check(pace["stretch_listed"] == 1 and pace["stretch_grey"] == 1, "nothing is stretched:", pace)
    check(pace["budget_per_sec"] % 100000 == 0, "100,000 a core:", pace)
    load.end()


def most_at_once(mired, secs):
    """The most bytes between two looks a tenth of a second apart; late looks count for nothing."""
    end, most = time.monotonic() + secs, 0
    before, looked = mired.status()["bytes"]["stuttered"], time.monotonic()
    while looked < end:
        time.sleep(0.1)
        now = mired.status()["bytes"]["stuttered"]
        took, looked = time.monotonic() - looked, time.monotonic()
        most, before = max(most, now - before) if took < 0.15 else most, now
    check(most > 0, "bytes came:", most)
    return most


@marked(timeout_secs=120, alone=True, tags=("once",))
def test_bytes_lie_apart_after_a_pause_of_the_machine_as_before(world):
    mired, load = crowd(world, stutter="2s")
    time.sleep(3)
    before = most_at_once(mired, 4)
    for _ in range(2):
        os.kill(engine := mired.pids()["engine"], signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(engine, signal.SIGCONT)
        time.sleep(3)
    after = most_at_once(mired, 4)
    print(f"of {N} bytes in 2 s at most {before} in a tenth of a second, {after} after the pauses")
    check(after < N / 4, "they lie apart:", after)
    load.end()
