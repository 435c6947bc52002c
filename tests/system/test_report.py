"""miredctl report: what mired did, in rows of the clock, over restarts, kills and damage."""
import json
import os
import pathlib
import time

import topology
from client import Client, attempt
from control import Control, ask
from daemon import Mired
from world import BUILD, check, marked, run, wait_for

ROW_SECS = 2
SUMS = ("offered", "deferred", "passed", "trapped", "tarpitted")
TRAP = "bait@example.com"
HOLD_SECS = 3


def start(world, net):
    return Mired(world, net, report_interval=f"{ROW_SECS}s", stutter="100ms", grey_stutter="0s",
                 look_interval="100ms").start()


def rows(mired, n=""):
    return ask(mired, f"report {n}")["rows"]


def sums(mired):
    return {name: sum(row[name] for row in rows(mired)) for name in SUMS}


def check_order(mired):
    """Rows lie at multiples of the interval, each once, newest last."""
    times = [row["time"] for row in rows(mired)]
    check(times == sorted(set(times)), "rows rise, each once:", times)
    check(all(time_ % ROW_SECS == 0 for time_ in times), "at multiples of the interval:", times)
    check({row["secs"] for row in rows(mired)} == {ROW_SECS}, "each stands for the interval")
    return times


def wait_row_over(mired):
    """Until a new row has begun: then the one before is on disk."""
    newest = rows(mired)[-1]["time"]
    wait_for("the next row", lambda: rows(mired)[-1]["time"] > newest, 3 * ROW_SECS)


def print_report(mired, *options):
    return run([BUILD / "miredctl", "-f", mired.conf, "report", *options]).stdout


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_each_sum_counts_what_it_says(world):
    net = topology.gateway(world)
    mired = start(world, net)
    check(sums(mired) == dict.fromkeys(SUMS, 0), "nothing happened yet:", sums(mired))
    with Client(net.out, topology.MX4, source=topology.client4(1)) as client:
        check(attempt(client).startswith("451"), "a mail is deferred")
    ask(mired, "seen", "in 192.0.2.200 3 3600\nin 2001:db8:9::1 4 3600\nout 192.0.2.201 9 3600\n")
    ask(mired, "change", f"spamtrap {TRAP}\n")
    with Client(net.out, topology.MX4, source=topology.client4(2)) as client:
        for line in ("HELO x.example", "MAIL FROM:<a@b.example>", f"RCPT TO:<{TRAP}>"):
            client.send(line + "\r\n")
            client.reply()
        held = time.monotonic()
        time.sleep(HOLD_SECS)
        got = sums(mired)
        check(got["tarpitted"] >= HOLD_SECS - 1, "seconds count while it is held:", got)
    wait_for("the end of the connections", lambda: not mired.status()["connections"]["now"], 10)
    held = time.monotonic() - held
    got = sums(mired)
    tarpitted = got.pop("tarpitted")
    check(got == {"offered": 2 + 7, "deferred": 1, "passed": 7, "trapped": 1}, "sums:", got)
    check(HOLD_SECS - 1 <= tarpitted <= held + 1, "seconds in the tarpit:", tarpitted, held)
    check(len(check_order(mired)) >= 2, "the time made rows:", rows(mired))
    check(mired.status()["connections"]["passed"] == 7, "status counts them, too")
    check(mired.status()["connections"]["tarpit_secs"] == tarpitted, "likewise")


@marked(timeout_secs=60, tags=("once",))
def test_rows_outlive_a_restart_a_kill_and_damage(world):
    mired = start(world, topology.gateway(world))
    ask(mired, "seen", "in 192.0.2.200 5 3600\n")
    mired.stop()
    stopped = time.time()
    time.sleep(2 * ROW_SECS)
    mired.start()
    check(sums(mired)["passed"] == 5, "kept over a restart:", rows(mired))
    gap = [t for t in check_order(mired) if stopped < t <= stopped + ROW_SECS]
    check(not gap, "no row while it did not run:", gap, rows(mired))
    ask(mired, "seen", "in 192.0.2.200 7 3600\n")
    wait_row_over(mired)
    mired.kill9()
    mired.wait_gone()
    mired.start()
    check(sums(mired)["passed"] == 12, "kept over a kill:", rows(mired))
    mired.stop()
    file = pathlib.Path(mired.settings["state-dir"]) / "report"
    n_rows = len(file.read_bytes().splitlines()) - 1
    damaged = b"\xff\n" + file.read_bytes()[:-3]
    file.write_bytes(damaged)
    mired.start()
    check("report is damaged" in mired.log_text(), "the damage is told:", mired.log_text()[-500:])
    check(sums(mired)["passed"] == 12 and len(rows(mired)) >= n_rows - 1,
          "what is readable stays:", rows(mired))
    check_order(mired)
    aside = file.with_name("report.bad")
    check(aside.read_bytes() == damaged, "and the file as it was:", aside.read_bytes())
    mired.stop()
    copied = file.read_bytes()
    os.chown(file, 0, 0)
    file.chmod(0o600)
    mired.start()
    check("begins anew" in mired.log_text(), "root's file is told:", mired.log_text()[-500:])
    check(aside.read_bytes() == copied, "and kept aside:", aside.read_bytes())
    check(sums(mired)["passed"] == 0, "for a new one:", rows(mired))


@marked(timeout_secs=60, tags=("once",))
def test_miredctl_prints_rows_newest_last(world):
    mired = start(world, topology.gateway(world))
    wait_row_over(mired)
    ask(mired, "seen", "in 192.0.2.200 5 3600\n")
    head, *lines = print_report(mired).splitlines()
    check(head.split() == ["TIME", "OFFERED", "DEFERRED", "PASSED", "TRAPPED", "TARPITTED",
                           "LOAD"], "columns:", head)
    check(len(lines) >= 2, "a line a row:", lines)
    check({len(line) for line in (head, *lines)} == {77}, "fits a terminal:", head, lines)
    began = time.strptime(" ".join(lines[-1].split()[:2]), "%Y-%m-%d %H:%M" +
                          (":%S" if lines[-1].split()[1].count(":") == 2 else ""))
    check(abs(time.mktime(began) - time.time()) < 60, "local time, newest last:", lines)
    check(sum(int(line.split()[4]) for line in lines) == 5, "passed:", lines)
    check(float(lines[-1].split()[-1]) >= 0, "the machine's load:", lines)
    check(len(print_report(mired, "-n", "1").splitlines()) == 2, "-n 1 is the newest row")
    done = run([BUILD / "miredctl", "-f", mired.conf, "status", "-n", "1"], check_code=False)
    check(done.returncode == 2 and "-n is not for status" in done.stderr, "refused:", done.stderr)
    answer = json.loads(print_report(mired, "--json", "-n", "2"))
    check([list(row) for row in answer["rows"]] == 2 * [["time", "secs", *SUMS, "load"]], answer)
    with Control(mired) as control:
        for wrong in ("report x", "report -1", "report 17569", "report 1 2"):
            check("17568" in control.ask(wrong)["error"], "refused:", wrong)
        check(control.ask("report 0") == {"rows": []}, "none asked for, none given")
