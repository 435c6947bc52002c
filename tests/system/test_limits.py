"""Full tables, full disks, many connections, several instances, and configurations that are wrong."""
import os
import time

import postfix
import topology
import world as w
from client import Client, attempt, try_mail, try_many
from daemon import Mired
from load import Load
from world import check, fill, marked, run, wait_for

N_IDLE, N_WARM = 10_000, 500
# 128 a connection by design; the rest is the first touch of mailboxes and log rings of fixed size
GROWTH_BYTES_MAX = 256


def hold_idle(world, net, mired, n=N_IDLE):
    """Opens n more idle connections from the outside and returns the load that holds them."""
    n_all = mired.status()["connections"]["now"] + n
    load = Load(world, net.out, net.target(False), "--idle", n,
                "--source-range", "198.19.0.1-198.19.99.255", seconds=90)
    wait_for(f"{n_all} connections", lambda: mired.status()["connections"]["now"] >= n_all, 60,
             0.2)
    return load


@marked(timeout_secs=150, alone=True, tags=("path",))
def test_ten_thousand_idle_connections_do_not_delay_a_whitelisting_and_a_delivery(world):
    net = topology.gateway(world)
    mx = postfix.receiver(world, net.mta, net.mta_listen)
    # small caches: what is measured is the connections, not the cache filling with their hosts
    mired = Mired(world, net, host_cache=4096, tuple_cache=4096, verbose="no").start()
    engine = mired.pids()["engine"]
    loads = [hold_idle(world, net, mired, N_WARM)]  # what is touched once only is touched now
    before = w.rss_bytes(engine)
    loads.append(hold_idle(world, net, mired))
    growth = (w.rss_bytes(engine) - before) / N_IDLE
    print(f"RSS of the engine grew by {growth:.0f} bytes a connection")
    began = time.monotonic()
    postfix.sender(world, net.out, net.target(True)).submit("in time")
    wait_for("the mail", lambda: mx.inbox(), 60, step_secs=0.1)
    took = time.monotonic() - began
    print(f"deferred, retried and delivered in {took:.1f} s beside {N_IDLE} connections")
    check(took < 30, "in normal time:", took)
    check(mired.status()["connections"]["now"] >= N_IDLE, "all of them are still held")
    check(growth <= GROWTH_BYTES_MAX, "within the design's bound:", growth)
    for load in loads:
        load.end()


@marked(timeout_secs=120, alone=True)
def test_sigterm_with_ten_thousand_open_ends_in_two_seconds(world):
    net = topology.gateway(world)
    mired = Mired(world, net).start()
    load = hold_idle(world, net, mired)
    code, secs = mired.stop()
    print(f"gone {secs:.2f} s after SIGTERM with {N_IDLE} connections open")
    check(code == 0 and secs < 2, "a clean end in under 2 s:", code, secs)
    load.end()


@marked(timeout_secs=60, tags=("path", "sanitize"))
def test_connections_over_the_limit_are_closed_at_once_and_counted(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="90s").start("-c", "10")
    held = [Client(net.out, net.target(False), source=topology.client4(n)) for n in range(10)]
    wait_for("ten connections", lambda: mired.status()["connections"]["now"] == 10, 5)
    for n in range(3):
        with Client(net.out, net.target(False), source=topology.client4(20 + n)) as client:
            got = client.bytes_until_eof(1)
            check(not got, "closed without a byte:", got)
    status = mired.status()
    check(status["drops"]["over_limit"] == 3, "counted:", status["drops"])
    check(status["connections"]["now"] == 10, "the ten are still served:", status["connections"])
    held.pop().close()
    wait_for("room", lambda: mired.status()["connections"]["now"] == 9, 10)
    with Client(net.out, net.target(False), source=topology.client4(30)) as client:
        check(client.bytes_until_eof(2), "the next one is served")
    for client in held:
        client.close()


@marked(timeout_secs=60, tags=("once",))
def test_a_million_connections_can_be_asked_for(world):
    net = topology.gateway(world)
    mired = Mired(world, net, stutter="0s").start("-c", "1000000")
    check(try_mail(net.out, net.target(False), topology.client4(1)).startswith("451"), "it serves")
    check(mired.stop()[0] == 0, "a clean end")
    text = mired.log_text().lower()
    check("nofile" in text or "file limit" in text or "limit" in text,
          "the start message names the limit in the way:", text[:1500])


@marked(timeout_secs=90, tags=("sanitize",))
def test_a_full_disk_delays_nothing_but_storing(world):
    net = topology.gateway(world)
    small = world.dir / "small"
    world.tmpfs(small, "8m")
    mired = Mired(world, net, stutter="0s", store_wait="1s", store_retry="1s",
                  state_dir=small / "state").start()
    ballast = small / "ballast"
    fill(ballast)
    n = 0
    while not mired.status()["store"]["degraded"]:
        check(n < 3000, "the store notices the full disk")
        replies = try_many(net.out, net.target(False), map(topology.client4, range(n, n + 24)),
                           recipient=f"<{'x' * 900}@mx.example>")
        check(all(reply.startswith("451") for reply in replies), "451 goes on:", replies)
        n += 24
    began = time.monotonic()
    reply = try_mail(net.out, net.target(False), topology.client4(n), helo="while.full")
    check(reply.startswith("451"), "a client gets its 451 on a full disk:", reply)
    check(time.monotonic() - began < 4, "after store-wait at the latest")
    check(mired.status()["greylist"]["deferred_unstored"] >= 1, "counted:",
          mired.status()["greylist"])
    ballast.unlink()
    wait_for("the store to recover", lambda: not mired.status()["store"]["degraded"], 15)
    check(try_mail(net.out, net.target(False), topology.client4(n + 1),
                   helo="after.full").startswith("451"), "served after it")
    helos = {row[2] for row in mired.rows() if row[0] == "GREY"}
    check({"while.full", "after.full"} <= helos, "both tuples are stored:", sorted(helos)[:9])
    check(len(mired.rows()) == n + 2, "and every other:", len(mired.rows()), n + 2)


@marked(timeout_secs=90, tags=("path",))
def test_two_instances_run_side_by_side(world):
    net = topology.gateway(world)
    second_mx = "192.0.2.26"
    one = Mired(world, net, name="one", nft_table="one", mx_addresses=[topology.MX4],
                stutter="0s").start()
    two = Mired(world, net, name="two", nft_table="two", mx_addresses=[second_mx], port=8125,
                stutter="0s", hostname="two.example").start()
    for target, name, count in ((topology.MX4, "gw.example", 2), (second_mx, "two.example", 3)):
        for n in range(count):
            with Client(net.out, target, source=topology.client4(n)) as client:
                client.send(f"HELO host{n}\r\n")
                greeting = client.expect("220")
                check(name in greeting, "each answers for its own server:", greeting)
    check(one.status()["connections"]["total"] == 2, "two connections to the first")
    check(two.status()["connections"]["total"] == 3, "three to the second")
    check(one.stop()[0] == 0, "the first stops")
    with Client(net.out, second_mx, source=topology.client4(9)) as client:
        check(attempt(client).startswith("451"), "the second goes on")


@marked(timeout_secs=60)
def test_a_bad_nospamd_line_is_named_and_the_others_are_loaded(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    mired.write_nospamd("198.51.100.0/24\nnot an address\n\n203.0.113.300\n0.0.0.0/0\n"
                        "2001:db8:99::/48 # partner\n203.0.113.9\n")
    mired.start()
    text = mired.log_text()
    for line_no in (2, 4, 5):
        check(f"nospamd:{line_no}:" in text, f"line {line_no} is named:", text[-1500:])
    check(mired.in_set("nospamd", ["198.51.100.0", "203.0.113.9"]) ==
          {"198.51.100.0", "203.0.113.9"}, "the good IPv4 lines are loaded")
    check(mired.in_set("nospamd6", ["2001:db8:99::"]), "the good IPv6 line is loaded")
    check(not mired.in_set("nospamd", ["1.2.3.4"]), "nobody else is in it")
    done = mired.run_to_end("--check-config")
    check(done.returncode == 1 and "nospamd:2:" in done.stdout + done.stderr,
          "--check-config says it too:", done.returncode, done.stderr)


BAD_CONFIGS = [
    ("an unknown key", "no-such-key = 1\n", "mired.conf:1:"),
    ("a bad duration", "\npasstime = \"soon\"\n", "mired.conf:2:"),
    ("a value out of range", "stutter = \"3h\"\n", "mired.conf:1:"),
    ("a wrong type", "port = {1, 2\n", "mired.conf:"),
    ("a gateway without servers", "rules = \"gateway\"\ninterface = {\"ext\"}\n", "mx-addresses"),
    ("binary rubbish", "\x01\x02\xff = \x00\n", "mired.conf:"),
]


@marked(timeout_secs=60, tags=("once", "sanitize"))
def test_wrong_configurations_are_refused_with_file_line_and_reason(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    for what, text, where in BAD_CONFIGS:
        mired.conf.write_text(text, encoding="latin-1")
        for options in ((), ("--check-config",)):
            done = mired.run_to_end(*options)
            said = done.stdout + done.stderr
            check(done.returncode == 1, f"{what} is refused:", done.returncode, said)
            check(where in said, f"{what} is named:", said)


@marked(timeout_secs=60, tags=("once",))
def test_a_configuration_that_is_missing_a_directory_or_unreadable_is_refused(world):
    net = topology.gateway(world)
    mired = Mired(world, net)
    mired.conf.unlink()
    done = mired.run_to_end()
    check(done.returncode == 1 and "mired.conf" in done.stderr, "missing:", done.stderr)
    mired.conf.mkdir()
    done = mired.run_to_end()
    check(done.returncode == 1 and "irectory" in done.stderr, "a directory:", done.stderr)
    mired.conf.rmdir()
    mired.conf.write_text("port = 8025\n")
    os.chmod(mired.conf, 0)
    done = run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                *mired.command("--check-config")], ns=net.gw, check_code=False)
    check(done.returncode == 1 and "ermission denied" in done.stderr, "unreadable:", done.stderr)


@marked(timeout_secs=60, tags=("once",))
def test_an_unwritable_state_directory_is_refused_with_its_name(world):
    net = topology.gateway(world)
    (world.dir / "file").write_text("")
    mired = Mired(world, net, state_dir=world.dir / "file" / "state")
    done = mired.run_to_end()
    check(done.returncode == 1 and "file/state" in done.stdout + done.stderr,
          "refused, naming it:", done.returncode, done.stderr)
