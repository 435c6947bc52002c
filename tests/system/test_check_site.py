"""miredctl check beside what is really there: rights of files, rules in the kernel, ports, and what
the mired that runs has not read yet."""
import ctypes
import os
import shutil
import signal
import socket
import time

import topology
from daemon import FALLBACKS, Mired
from gateways import write_key
from test_check import lines_about, mend_of, miredctl_check
from world import BUILD, check, marked, run, wait_for

TIME_ERROR, STA_UNSYNC, STATUS_OFFSET, TIMEX_BYTES = 5, 0x40, 40, 256


def made(world, **settings):
    return Mired(world, topology.gateway(world), max_connections=1000, grey_stutter="0s",
                 **settings)


def faults(mired):
    """The lines that count, which decide the exit code."""
    code, lines = miredctl_check(mired)
    found = [line for line in lines if line.startswith(("error: ", "warning: "))]
    check(code == (1 if found else 0), "the exit code says whether there are any", code, lines)
    return found


def only_fault(mired, text):
    found = faults(mired)
    check(len(found) == 1 and text in found[0], "one line about", text, found)
    return found[0]


def is_clock_free():
    """What the kernel says of its clock, asked without the code under test."""
    buffer = ctypes.create_string_buffer(TIMEX_BYTES)
    answer = ctypes.CDLL(None).adjtimex(buffer)
    status = int.from_bytes(buffer.raw[STATUS_OFFSET:STATUS_OFFSET + 4], "little")
    return answer == TIME_ERROR or bool(status & STA_UNSYNC)


@marked(timeout_secs=60, tags=("once",))
def test_beside_a_running_mired_nothing_is_wrong(world):
    mired = made(world).start()
    check(not faults(mired), "all is in order")
    lines = miredctl_check(mired)[1]
    check(bool(lines_about(lines, "note: the clock is not synchronised")) == is_clock_free(),
          "the clock is as the kernel says", lines)
    mired.stop()
    check(not faults(mired), "nor when it has stopped")


@marked(timeout_secs=60, tags=("once",))
def test_what_the_daemon_does_without_is_noted(world):
    mired = made(world, **{key.replace("-", "_"): value for key, value in FALLBACKS.items()})
    mired.start()
    lines = miredctl_check(mired)[1]
    for key in FALLBACKS:
        check(len(lines_about(lines, f"note: as configured, without {key}: ")) == 1, "a note on",
              key, lines)


@marked(timeout_secs=60, tags=("once",))
def test_rules_that_are_not_the_configurations_are_told_of(world):
    mired = made(world).start()
    mired.write_conf(smtp_port=2525)
    found = lines_about(faults(mired), "table inet mired is not what the configuration gives: ")
    check(len(found) == 1 and "dport 2525" in found[0], "the line that is missing", found)
    mired.write_conf(smtp_port=25)
    check(not faults(mired), "as before")
    mired.kill9()
    mired.wait_gone()
    line = only_fault(mired, "table inet mired sends everybody who is not whitelisted to a closed")
    check(mend_of(line).endswith("mired --remove-rules"), "with what mends it", line)
    run([BUILD / "mired", "-f", mired.conf, "--remove-rules"], ns=mired.ns)
    check(not faults(mired), "that mended it")


@marked(timeout_secs=60, tags=("once",))
def test_who_is_not_root_is_told_what_he_cannot_see(world):
    mired = made(world).start()
    done = run(["setpriv", "--reuid=65534", "--clear-groups", BUILD / "miredctl", "-f", mired.conf,
                "check"], ns=mired.ns, check_code=False)
    check("note: only root can see which rules stand in the kernel" in done.stdout, "the rules",
          done.stdout)
    check(done.returncode == 0 and not done.stderr, "and that is no fault", done.stdout,
          done.stderr)


@marked(timeout_secs=60, tags=("once",))
def test_rights_that_are_too_wide_are_told_of_and_mended(world):
    mired = made(world, control_socket=world.dir / "run" / "sock")
    mired.start()
    mired.stop()
    state = mired.dir / "state"
    lists = mired.dir / "spamd.conf"
    lists.write_text("all:\\\n\t:\n")
    mired.write_conf(lists_file=lists)
    for path in (mired.conf, mired.dir / "nospamd", lists, mired.dir):
        path.chmod(0o777)
        line = only_fault(mired, f"{path} has mode 0777: ")
        run(["sh", "-c", mend_of(line)])
        check(path.stat().st_mode & 0o7777 == 0o755, "it is mended", path)
    for path in (state, state / "db" / "data.mdb", state / "lists"):
        os.chown(path, 0, 0)
        line = only_fault(mired, f"{path} belongs to user 0, must be mired's: ")
        run(["sh", "-c", mend_of(line)])
    check(not faults(mired), "all is mended")
    mired.start()


@marked(timeout_secs=60, tags=("once",))
def test_the_ports_are_tried(world):
    mired = made(world)
    with mired.ns.socket(socket.AF_INET6) as other:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        other.bind(("::", 8025))
        other.listen()
        line = only_fault(mired, "another program listens on [::]:8025: mired cannot start")
        check("ss -ltnp 'sport = :8025'" in line, "with the way to find it", line)
        if shutil.which("ss"):
            shown = run(["sh", "-c", mend_of(line).removesuffix(" shows who")], ns=mired.ns).stdout
            check(str(os.getpid()) in shown, "which names it", shown)
    check(not faults(mired), "the port is free")
    mired.start()
    before = mired.status()["connections"]["total"]
    check(not faults(mired), "it greets")
    wait_for("its visits", lambda: mired.status()["connections"]["total"] == before + 2, 5)
    mired.ns.nft('''
        table inet wall {
            chain input {
                type filter hook input priority filter; policy accept;
                iifname "lo" tcp dport 8025 meta nfproto ipv4 drop
            }
        }''')
    only_fault(mired, "error: 0.0.0.0:8025 does not greet who connects from this host")


@marked(timeout_secs=90, tags=("once",))
def test_a_mired_that_hangs_is_not_taken_for_one_that_is_away(world):
    mired = made(world).start()
    engine = mired.pids()["engine"]
    os.kill(engine, signal.SIGSTOP)
    try:
        found = faults(mired)
    finally:
        os.kill(engine, signal.SIGCONT)
    lines = lines_about(found, "error: a mired runs and does not answer")
    check(len(lines) == 1 and mend_of(lines[0]) == "systemctl restart mired", "it is said", found)
    check(lines_about(found, "0.0.0.0:8025 does not greet"), "clients wait, too", found)
    check(not lines_about(found, "another program") and not lines_about(found, "no mired runs"),
          "it is there", found)
    wait_for("it to go on", lambda: not faults(mired), 20)


@marked(timeout_secs=60, tags=("once",))
def test_a_key_that_was_exchanged_is_told_of_whatever_time_it_brings(world):
    mired = made(world, sync_peer=["198.18.0.77"])
    write_key(mired, b"one" * 10)
    key = mired.dir / "sync.key"
    mired.start()
    check(not lines_about(miredctl_check(mired)[1], "sync.key"), "it is the one that was read")
    other = world.dir / "other.key"
    other.write_bytes(b"two" * 10)
    other.chmod(0o600)
    os.utime(other, (0, 0))
    time.sleep(2.1)  # the daemon tells the second of its start
    shutil.copy2(other, key)
    lines = lines_about(faults(mired), "sync.key has changed since mired read it")
    check(len(lines) == 1 and mend_of(lines[0]) == "systemctl restart mired", "said", lines)
    mired.stop()
    mired.start()
    check(not lines_about(miredctl_check(mired)[1], "sync.key"), "the restart mended it")


@marked(timeout_secs=60, tags=("once",))
def test_a_configuration_that_was_not_read_yet_is_told_of(world):
    mired = made(world).start()
    if "conf" not in mired.status():
        check(not faults(mired), "a daemon that does not say is not judged")
        return
    mired.write_conf(stutter="2s")
    line = only_fault(mired, "the configuration has changed since mired read it")
    check(mend_of(line) == "miredctl reload", "with the command", line)
    run([BUILD / "miredctl", "-f", mired.conf, "reload"], ns=mired.ns)
    wait_for("it to be in force", lambda: not faults(mired), 10, step_secs=0.5)
    mired.write_conf(backlog=1000)
    run([BUILD / "miredctl", "-f", mired.conf, "reload"], ns=mired.ns, check_code=False)
    wait_for("the reload", lambda: mired.status()["conf"]["pending_restart"], 10)
    line = only_fault(mired, "in force from the next start only: backlog")
    check(mend_of(line) == "systemctl restart mired", "with the command", line)
    mired.stop()
    mired.start()
    check(not faults(mired), "the restart mended it")
