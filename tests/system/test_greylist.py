"""What the greylist forgets and remembers: hosts that never retry, and white hosts the kernel lost."""
import time

import topology
from client import Client, attempt, try_mail
from daemon import Mired
from world import check, marked, run, wait_for


@marked(timeout_secs=90, tags=("path",))
def test_a_client_that_never_retries_delivers_nothing_and_is_forgotten(world):
    net = topology.gateway(world)
    mired = Mired(world, net, greyexp="8s", grey_stutter="0s").start()
    source = topology.client4(3)
    for n in range(3):  # three different mails are three tuples and no retry
        reply = try_mail(net.out, net.target(False), source, recipient=f"<r{n}@mx.example>")
        check(reply.startswith("451"), "deferred:", reply)
    grey = [row for row in mired.rows() if row[0] == "GREY"]
    check(len(grey) == 3, "three tuples are stored:", grey)
    check({row[4] for row in grey} == {f"<r{n}@mx.example>" for n in range(3)}, "verbatim:", grey)
    check(all(int(row[7]) - int(row[5]) == 8 for row in grey), "they live greyexp:", grey)
    wait_for("the tuples to go", lambda: not mired.rows(), 20, step_secs=0.5)
    check(not mired.has_white(source), "the host is not white")
    check(mired.status()["greylist"]["tuples"] == 0, "status counts no tuple")


@marked(timeout_secs=60)
def test_a_retry_before_passtime_is_only_counted(world):
    net = topology.gateway(world)
    mired = Mired(world, net, passtime="1h", greyexp="2h", grey_stutter="0s").start()
    for _ in range(4):
        try_mail(net.out, net.target(False), topology.client4(4))
    check(mired.status()["greylist"]["early"] == 3, "three early retries", mired.status())
    mired.stop()
    rows = mired.rows()
    check(len(rows) == 1 and rows[0][8] == "4", "one tuple, deferred four times:", rows)


@marked(timeout_secs=60, tags=("path",))
def test_a_retry_whitelists_at_once_and_the_kernel_has_it_within_100_ms(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    source = topology.client4(5)
    try_mail(net.out, net.target(False), source)
    time.sleep(4.1)
    with Client(net.out, net.target(False), source=source) as client:
        attempt(client)
        answered = time.monotonic()
    while not mired.has_white(source):
        check(time.monotonic() - answered < 5, "the host is in the kernel set after 5 s")
    took_ms = (time.monotonic() - answered) * 1000
    print(f"in the kernel set {took_ms:.1f} ms after the 451")
    check(took_ms <= 100, "within 100 ms of the answer:", took_ms)


@marked(timeout_secs=60, tags=("path", "sanitize"))
def test_a_white_host_whose_kernel_entry_was_deleted_is_reasserted(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    for source, name in ((topology.client4(6), "spamd-white"), (topology.client6(6), "spamd-white6")):
        is_v6 = ":" in source
        mired.make_white(net.out, net.target(is_v6), source)
        element = "2001:db8:c:6::" if is_v6 else source
        run(["nft", "delete", "element", "inet", "mired", name, f"{{ {element} }}"], ns=net.gw)
        check(not mired.has_white(source), "deleted by hand")
        tuples = mired.status()["greylist"]["tuples"]
        began = time.monotonic()
        reply = try_mail(net.out, net.target(is_v6), source, recipient="<other@mx.example>")
        check(reply.startswith("451"), "it is deferred once more:", reply)
        check(time.monotonic() - began < 2, "without stutter")
        wait_for("the element", lambda s=source: mired.has_white(s), 3)
        check(mired.status()["greylist"]["tuples"] == tuples, "no tuple was made")


@marked(timeout_secs=60, tags=("path",))
def test_two_hosts_of_one_ipv6_64_are_one_host(world):
    net = topology.gateway(world)
    mired = Mired(world, net, grey_stutter="0s").start()
    try_mail(net.out, net.target(True), topology.client6(9, 1))
    time.sleep(4.1)
    try_mail(net.out, net.target(True), topology.client6(9, 0xbeef))
    wait_for("the /64", lambda: mired.has_white(topology.client6(9, 0x1234)), 3)
    check(mired.whites() == ["2001:db8:c:9::"], "one record:", mired.whites())
    check(not mired.has_white(topology.client6(10)), "the next /64 is not white")
