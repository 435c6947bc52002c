#!/usr/bin/env python3
"""What runs inside the guest of test_kernel61.py, as its only program: unit tests, a life of mired,
and some of the system tests. One line "guest: NAME ok|FAILED" each on the console, details before
it; the host reads these lines and decides."""
import concurrent.futures
import os
import pathlib
import platform
import re
import resource
import signal
import subprocess
import sys
import time
import traceback

import topology
import world as w
from client import Client, try_mail
from control import ask
from daemon import Mired
from sink import GREETING, Sink

HERE = pathlib.Path(__file__).resolve().parent
FILES = 20_000  # a usual hard limit; the first process of a system has less
JOB_SECS = 30 * w.PATIENCE
JOBS = 2  # most tests wait for clocks
TRAP = "bait@example.com"
SYSTEM_TESTS = ("tproxy/who_is_greylisted_is_not_tracked", "lowmx/strangers", "nospamd/sighup")
ALL_OF_THEM = "4 passed, 0 failed, 0 skipped"  # the first name is that of two


def say(name, is_good, began):
    print(f"guest: {name} {'ok' if is_good else 'FAILED'} ({time.monotonic() - began:.1f} s)",
          flush=True)


def run_job(_name, argv, wanted):
    """Runs a program that must print this: (what it printed, exit code, when it began)."""
    began = time.monotonic()
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=JOB_SECS, check=False)
        text, code = done.stdout.decode(errors="replace"), done.returncode
        if code == 0 and wanted not in text:
            code = f"0, but without '{wanted}'"
        return text, code, began
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace"), "no code: it took too long", began


def step(name, function, *args):
    """A part of mired's life."""
    began = time.monotonic()
    try:
        value = function(*args)
    except Exception:  # all that can go wrong is shown, and the next part tried
        traceback.print_exc(file=sys.stdout)
        say(name, False, began)
        return None
    say(name, True, began)
    return value


# --- a life of mired ------------------------------------------------------------------------------

class Life:
    """One daemon that is started, used, disturbed and killed."""

    def __init__(self, world):
        self.net = topology.gateway(world)
        self.sink = Sink(world, self.net.mta, self.net.mta_listen)
        self.mired = Mired(world, self.net, stutter="100ms", grey_stutter="1s", passtime="4s",
                           store_map="256m")

    def starts(self):
        self.mired.start()
        firewall = self.mired.status()["firewall"]
        mode = self.mired.status()["engine"]["accept_mode"]
        print("chosen:", mode, {key: firewall[key] for key in ("has_refresh", "has_destroy")})
        w.check(mode == "single-shot", "6.1 cannot tell the peer of a multishot accept")
        w.check(not firewall["has_refresh"], "6.1 cannot refresh a timeout: delete and add")
        w.check(not firewall["has_destroy"], "6.1 cannot destroy an element: delete")

    def stutters(self):
        with Client(self.net.out, self.net.target(False), source=topology.client4(1)) as client:
            got = client.bytes_until_eof(6)
        singles = [at for at, data in got if len(data) == 1]
        w.check(len(singles) >= 2, "it stutters first:", got)
        w.check(b"".join(data for _, data in got).startswith(b"220 gw.example "), "greets:", got)

    def greylists(self, source, n_tries=12):
        """Deferred until it has waited passtime; then a white host talks to the mail server."""
        is_v6 = ":" in source
        for _ in range(n_tries):
            reply = try_mail(self.net.out, self.net.target(is_v6), source)
            w.check(reply.startswith("451"), "deferred:", reply)
            if self.mired.has_white(source):
                break
            time.sleep(2)
        w.check(self.mired.has_white(source), "the retry put it into the kernel's white set")
        with Client(self.net.out, self.net.target(is_v6), source=source) as client:
            w.check(client.line() == GREETING, "it reaches the mail server")

    def traps(self, source):
        """Who writes to a spamtrap is in the kernel's set of the trapped."""
        is_v6 = ":" in source
        ask(self.mired, "change", f"spamtrap {TRAP}\n")
        name = "spamd-greytrap6" if is_v6 else "spamd-greytrap"
        with Client(self.net.out, self.net.target(is_v6), source=source) as client:
            client.expect("220")
            client.send(f"HELO h.example\r\nMAIL FROM:<a@h.example>\r\nRCPT TO:<{TRAP}>\r\n")
            w.wait_for("the trap in the kernel", lambda: self.mired.in_set(name, [source]), 15)

    def refreshes(self, source):
        """A white host's element gets a new timeout by delete and add, and stays."""
        answer = ask(self.mired, "change", f"white {source}\n")
        w.check(not answer.get("failed"), "white by hand:", answer)
        time.sleep(1)
        w.check(self.mired.has_white(source), "still in the white set")

    def repairs(self, source):
        w.run(["nft", "flush", "ruleset"], ns=self.net.gw)
        w.wait_for("the element to be back", lambda: self.mired.has_white(source), 10)
        w.wait_for("the restoration to be counted",
                   lambda: self.mired.status()["firewall"]["restores"] >= 1, 5)
        w.check("to_mired" in self.net.gw.shell("nft list chain inet mired to_mired"), "rules")

    def survives_kill9(self, source):
        before = self.mired.kill9("engine")["engine"]

        def is_back():
            return self.mired.pids().get("engine", before) != before and self.mired.is_ready()
        w.wait_for("a new engine", is_back, 20)
        w.check(source in self.mired.whites(), "the store remembers:", self.mired.whites())
        reply = try_mail(self.net.out, self.net.target(False), topology.client4(9))
        w.check(reply.startswith("451"), "the new engine defers:", reply)

    def stops(self):
        code, _ = self.mired.stop()
        w.check(code == 0, "exit 0, got", code)


def live(world):
    life = step("mired: has a world", Life, world)
    if life is None or step("mired: starts", lambda: life.starts() or True) is None:
        if life:
            print(life.mired.log_text()[-6000:])
        return
    white = topology.client4(2)
    for name, function, *args in (
            ("mired: stutters", life.stutters),
            ("mired: greylists and whitelists, IPv4", life.greylists, white),
            ("mired: greylists and whitelists, IPv6", life.greylists, topology.client6(2)),
            ("mired: traps, IPv4", life.traps, topology.client4(3)),
            ("mired: traps, IPv6", life.traps, topology.client6(3)),
            ("mired: refreshes an element", life.refreshes, white),
            ("mired: repairs after a flush", life.repairs, white),
            ("mired: a killed engine comes back", life.survives_kill9, white),
            ("mired: stops", life.stops)):
        step(name, function, *args)
    print("what mired said first:\n" + "\n".join(life.mired.log_text().splitlines()[:25]))


# --- all ------------------------------------------------------------------------------------------

def jobs():
    """(name, argv, what it must print), those first that take longest."""
    yield ("system tests",
           [sys.executable, "-B", HERE / "run", "--build", w.BUILD, "--jobs", "1",
            "--patience", os.environ["MIRED_TEST_PATIENCE"], *SYSTEM_TESTS], ALL_OF_THEM)
    paths = (w.BUILD / "tests").glob("test_*")
    for path in sorted(paths, key=lambda path: (path.name != "test_fw_fw_nft", path.name)):
        yield f"unit: {path.name[5:]}", [path], "PASSED"


def all_jobs():
    """Emulation on a busy machine makes clocks unfair: what fails beside others is tried once more
    alone, and that counts."""
    def first(job):
        text, code, began = run_job(*job)
        if code == 0:
            say(job[0], True, began)
            return None
        why = [line for line in text.splitlines() if re.search("FAILED|ERROR|LINE|Failure", line)]
        print(f"{job[0]}: ended with {code}; once more, alone", *why[:20], sep="\n  ", flush=True)
        return job

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        again = [job for job in pool.map(first, jobs()) if job]
    for job in again:
        text, code, began = run_job(*job)
        if code != 0:
            print("\n".join(text.splitlines()[-60:]), f"\nended with {code}", flush=True)
        say(job[0], code == 0, began)


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print("guest: Linux", platform.release(), flush=True)
    world = w.World()
    live(world)
    world.close()
    all_jobs()
    print("guest: through", flush=True)


main()
