"""Traps: spamtrap addresses, domains that get no mail here, the low-priority MX, and by hand."""
import pathlib
import pwd
import re
import shutil
import time

import topology
import world as w
from client import Client, attempt, try_mail
from control import ask
from daemon import Mired, seconds
from world import BUILD, check, marked, rss_bytes, run, wait_for

TRAP, TRAP_TEXT = "bait@example.com", "You are trapped"
LOW4, LOW6 = "192.0.2.26", "2001:db8:2::26"
GRACE_SECS = 60  # after the start nobody is trapped by the low-priority MX
N_TRAPS, LOAD_SECS, BYTES_A_TRAP = 6_000_000, 30, 64
OUT_OF_KERNEL_MS = 100 * w.PATIENCE
BYTE_SECS = 0.1
LOOK_MS = 100  # a silent client's input is looked at this rarely


def prepare(world, net, **settings):
    """One byte in 100 ms to who is trapped; greylisted clients are served at full speed."""
    return Mired(world, net, **{"stutter": "100ms", "grey_stutter": "0s", "trap_text": TRAP_TEXT,
                                "look_interval": f"{LOOK_MS}ms", **settings})


def start(world, net, **settings):
    return prepare(world, net, **settings).start()


def change(mired, line):
    answer = ask(mired, "change", line + "\n")
    check(answer == {"done": 1, "failed": []} or answer == {"done": 1}, f"{line}:", answer)


def clients(n):
    """The n-th client of each family, and whether it is IPv6."""
    return ((topology.client4(n), False), (topology.client6(n), True))


def trapped_row(mired, source):
    """When the trap of this host ends, or None."""
    ends = [int(row[2]) for row in mired.rows() if row[0] == "TRAPPED" and row[1] == source]
    return ends[0] if ends else None


def is_in_trap_set(mired, source):
    return bool(mired.in_set("spamd-greytrap6" if ":" in source else "spamd-greytrap", [source]))


def first_bytes(net, target, source, for_secs=1.5):
    """How many bytes a new connection gets in its first moments."""
    with Client(net.out, target, source=source) as client:
        return sum(len(data) for _, data in client.bytes_until_eof(for_secs))


def check_tarpitted(net, target, source):
    n_bytes = first_bytes(net, target, source)
    check(0 < n_bytes <= 1.5 / BYTE_SECS + 2, f"{source} gets one byte at a time:", n_bytes)


def check_free(net, target, source):
    n_bytes = first_bytes(net, target, source)
    check(n_bytes > 1.5 / BYTE_SECS + 10, f"{source} gets the banner at full speed:", n_bytes)


def hit(net, target, source, recipient):
    """Mail to a trap in one session; checks that it is stuttered from the reply to RCPT on, that it
    is read to its end and then refused with the trap's text."""
    with Client(net.out, target, source=source) as client:
        client.expect("220")
        client.command("HELO mail.example", "250")
        client.command("MAIL FROM:<a@sender.example>", "250")
        began = time.monotonic()
        reply = client.command(f"RCPT TO:<{recipient}>", "250")
        took = time.monotonic() - began
        check(took >= len(reply) * BYTE_SECS * 0.8, "the reply to RCPT is stuttered:", took, reply)
        client.command("DATA", "354")
        client.send("Subject: test\r\n\r\nhello\r\n.\r\n")
        reply = client.reply()
        check(reply.startswith("450") and TRAP_TEXT in reply, "refused as trapped:", reply)
        check(client.line() is None, "and the connection ends")


def check_recorded(mired, source):
    """In store and kernel."""
    wait_for(f"{source} in the trap set", lambda: is_in_trap_set(mired, source), 3)
    check(trapped_row(mired, source), "a TRAPPED row for", source, mired.rows())


def check_trapped(mired, net, target, source):
    """In store and kernel, and tarpitted on the next connection."""
    check_recorded(mired, source)
    check_tarpitted(net, target, source)


def wait_free(mired, net, target, source):
    left = trapped_row(mired, source) - time.time()
    wait_for(f"{source} to be free", lambda: not trapped_row(mired, source), left + 8, 0.25)
    wait_for(f"{source} out of the trap set", lambda: not is_in_trap_set(mired, source), 3)
    check_free(net, target, source)


@marked(timeout_secs=150, tags=("path", "sanitize"))
def test_mail_to_a_spamtrap_traps_its_sender_in_that_session_until_the_life_is_over(world):
    net = topology.gateway(world)
    mired = start(world, net, trapexp="40s")
    run([BUILD / "miredb", "-f", mired.conf, "-T", "-a", TRAP])
    for source, is_v6 in clients(1):
        target = net.target(is_v6)
        check(try_mail(net.out, target, source).startswith("451"), "an honest mail is deferred")
        hit(net, target, source, TRAP.upper())
        check_trapped(mired, net, target, source)
        check(f"Trapping {source} for tuple {source} mail.example <a@sender.example> "
              f"<{TRAP.upper()}>" in mired.log_text(), "the log says why")
    for source, is_v6 in clients(1):
        wait_free(mired, net, net.target(is_v6), source)
    traps = mired.status()["traps"]
    check((traps["addresses"], traps["hits"], traps["hosts_trapped"]) == (1, 2, 2), "counted", traps)


@marked(timeout_secs=120, alone=True)
def test_a_trapped_host_leaves_the_white_of_the_kernel_within_100_ms(world):
    net = topology.gateway(world)
    mired = start(world, net, stutter="0s")  # the answer comes when the RCPT is read
    change(mired, f"spamtrap {TRAP}")
    for source, is_v6 in clients(2):
        with Client(net.out, net.target(is_v6), source=source) as client:
            client.expect("220")
            client.command("HELO mail.example", "250")
            client.command("MAIL FROM:<a@sender.example>", "250")
            change(mired, f"white {source}")  # while its session is open
            wait_for("the white element", lambda s=source: mired.has_white(s), 3)
            client.command(f"RCPT TO:<{TRAP}>", "250")
            check_gone(mired, source, "answer to RCPT", time.monotonic())
        check_recorded(mired, source)
        check(source not in mired.whites(), "nor is it white in the store")


def check_gone(mired, source, since, began):
    while mired.has_white(source):
        check(time.monotonic() - began < 5, "the white element goes")
    took_ms = (time.monotonic() - began) * 1000
    print(f"{source}: out of the kernel's white set {took_ms:.1f} ms after the {since}")
    check(took_ms <= OUT_OF_KERNEL_MS, "within 100 ms:", took_ms)


@marked(timeout_secs=150, tags=("once", "sanitize"))
def test_mail_to_a_domain_that_is_not_allowed_traps(world):
    net = topology.gateway(world)
    mired = prepare(world, net)
    domains = mired.dir / "alloweddomains"
    domains.write_text("# ours\n  example.com  \n")
    mired.write_conf(allowed_domains_file=domains)
    mired.start()
    wait_for("the file", lambda: mired.status()["traps"]["allowed_domains"] == 1, 5)
    for source, is_v6 in clients(3):
        for recipient in ("<u@example.com>", "<u@SUB.example.com>"):
            reply = try_mail(net.out, net.target(is_v6), source, recipient=recipient)
            check(reply.startswith("451"), f"{recipient} is deferred:", reply)
        check(not trapped_row(mired, source), "and traps nobody")
        hit(net, net.target(is_v6), source, "u@notexample.com")
        check_trapped(mired, net, net.target(is_v6), source)
    domains.write_text("notexample.com\nexample.com\n")
    wait_for("the changed file", lambda: mired.status()["traps"]["allowed_domains"] == 2, 10)
    for source, is_v6 in clients(4):
        reply = try_mail(net.out, net.target(is_v6), source, recipient="<u@notexample.com>")
        check(reply.startswith("451"), "allowed by now:", reply)
        check(not trapped_row(mired, source), "and no trap")


@marked(timeout_secs=180, tags=("once", "path"))
def test_strangers_at_the_low_priority_mx_are_trapped_and_known_hosts_are_not(world):
    net = topology.gateway(world)
    mired = start(world, net, low_priority_mx=[LOW4, LOW6])
    began = time.monotonic()
    for source, is_v6 in clients(5):  # too soon after the start
        low = LOW6 if is_v6 else LOW4
        check(try_mail(net.out, low, source).startswith("451"), "a stranger is deferred")
        check(not trapped_row(mired, source), "not trapped in the first minute")
    for source, is_v6 in clients(6):
        check(try_mail(net.out, net.target(is_v6), source).startswith("451"), "deferred")
    time.sleep(max(0, began + GRACE_SECS + 2 - time.monotonic()))
    for n, is_known in ((6, True), (7, False)):
        for source, is_v6 in clients(n):
            low = LOW6 if is_v6 else LOW4
            with Client(net.out, low, source=source) as client:
                reply = attempt(client, recipient="<other@mx.example>")
            check(bool(trapped_row(mired, source)) == (not is_known), f"{source} known:", is_known,
                  reply, mired.rows())
            if is_known:
                check(reply.startswith("451"), "a known host is deferred:", reply)
            else:
                check_trapped(mired, net, net.target(is_v6), source)
                check(f"Trapping {source} for trying {low} first" in mired.log_text(), "logged")


@marked(timeout_secs=120, tags=("once", "sanitize"))
def test_a_host_trapped_by_hand_is_no_longer_white_until_it_is_made_so_by_hand(world):
    net = topology.gateway(world)
    mired = start(world, net)
    miredb = [BUILD / "miredb", "-f", mired.conf]
    for source, is_v6 in clients(8):
        run([*miredb, "-a", source])
        wait_for("the white element", lambda s=source: mired.has_white(s), 3)
        run([*miredb, "-t", "-a", source])
        check_gone(mired, source, "end of miredb", time.monotonic())
        check_trapped(mired, net, net.target(is_v6), source)
        ask(mired, "seen", f"in {source} 1 3600\n")
        time.sleep(0.5)
        check(not mired.has_white(source), "traffic does not free it")
        run([*miredb, "-a", source])
        wait_for("the white element again", lambda s=source: mired.has_white(s), 3)
        check(not is_in_trap_set(mired, source), "no longer in the trap set")
        check(not trapped_row(mired, source), "nor in the store", mired.rows())


@marked(timeout_secs=150, tags=("once",))
def test_a_hit_extends_the_life_of_a_trap_and_a_connection_does_not(world):
    net = topology.gateway(world)
    mired = start(world, net, trapexp="60s")
    change(mired, f"spamtrap {TRAP}")
    for source, is_v6 in clients(9):
        target = net.target(is_v6)
        hit(net, target, source, TRAP)
        ends = trapped_row(mired, source)
        time.sleep(2.1)
        check_tarpitted(net, target, source)
        with Client(net.out, target, source=source) as client:
            client.expect("220")
            client.command("HELO mail.example", "250")
            client.command("MAIL FROM:<a@sender.example>", "250")
            check(trapped_row(mired, source) == ends, "a connection changes nothing")
            client.command(f"RCPT TO:<{TRAP}>", "250")
        wait_for("a longer life", lambda s=source, e=ends: trapped_row(mired, s) >= e + 2, 3)
        check(abs(trapped_row(mired, source) - time.time() - seconds("60s")) < 15, "trapexp anew")


@marked(timeout_secs=90, tags=("path",))
def test_one_trapped_address_of_an_ipv6_network_traps_only_itself(world):
    net = topology.gateway(world)
    mired = start(world, net)
    change(mired, f"spamtrap {TRAP}")
    bad, good = topology.client6(10, 1), topology.client6(10, 2)
    hit(net, net.target(True), bad, TRAP)
    check_free(net, net.target(True), good)
    change(mired, f"white {good}")
    wait_for("the network in the white set", lambda: mired.has_white(good), 3)
    change(mired, f"trapped {bad}")
    check_trapped(mired, net, net.target(True), bad)


@marked(timeout_secs=600, tags=("long", "once"), alone=True)
def test_six_million_spamtraps_survive_a_restart(world):
    net = topology.gateway(world)
    mired = prepare(world, net, store_map="16g")
    mired.db.mkdir(parents=True)
    run([BUILD / "tests" / "system" / "seedstore", mired.db, N_TRAPS, "traps.example"],
        timeout_secs=300)
    user = pwd.getpwnam("mired")
    for path in (mired.db.parent, mired.db, *mired.db.iterdir()):
        shutil.chown(path, user.pw_uid, user.pw_gid)
    mired.db.chmod(0o700)
    mired.db.parent.chmod(0o750)
    for word in ("started", "started again"):
        mired.launch().wait_ready(timeout_secs=60)
        traps = mired.status()["traps"]
        loads = re.findall(r"\d+ spamtrap addresses in \d+ KiB of memory, read in (\d+) ms",
                           mired.log_text())
        each = traps["address_bytes"] / traps["addresses"]
        anon = anonymous_bytes(mired.pids()["engine"])
        print(f"{word}: {traps['addresses']} spamtraps read in {loads[-1]} ms, {each:.1f} bytes "
              f"each; engine: {rss_bytes(mired.pids()['engine']) >> 20} MiB resident, of these "
              f"{anon >> 20} MiB its own")
        check(traps["addresses"] == N_TRAPS, "all are there:", traps)
        check(int(loads[-1]) <= LOAD_SECS * 1000 * w.PATIENCE, "read in seconds")
        check(each <= BYTES_A_TRAP, "bytes each:", each)
        if word == "started":
            mired.stop()
    hit(net, net.target(False), topology.client4(11), f"trap{N_TRAPS - 1}@traps.example")
    reply = try_mail(net.out, net.target(False), topology.client4(12),
                     recipient=f"<trap{N_TRAPS}@traps.example>")
    check(reply.startswith("451"), "one that is not on it is deferred:", reply)


def anonymous_bytes(pid):
    """Resident memory without mapped files such as the store."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^RssAnon:\s+(\d+) kB", text, re.M).group(1)) * 1024
