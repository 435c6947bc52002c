"""What clients send that no client should: mired answers or closes, counts, and goes on."""
import socket
import time

import topology
from client import Client, attempt, try_mail
from daemon import Mired
from world import check, marked, wait_for


def start(world, **settings):
    net = topology.gateway(world)
    return net, Mired(world, net, stutter="0s", **settings).start()


def connect(net, n):
    return Client(net.out, net.target(False), source=topology.client4(n), timeout_secs=20)


def still_serves(net, mired):
    """The daemon that was abused still does its work, with the same processes."""
    reply = try_mail(net.out, net.target(False), topology.client4(0xff00))
    check(reply.startswith("451"), "it still serves:", reply)
    wait_for("connections to end", lambda: mired.status()["connections"]["now"] == 0, 20)


@marked(timeout_secs=90, tags=("sanitize",))
def test_overlong_lines_nul_bytes_bare_ends_and_8_bit(world):
    net, mired = start(world, tick="10ms")  # parts of a line are ten ticks apart
    pids = mired.pids()
    lines = [
        (b"HELO " + b"h" * 8_000 + b"\r\n", "250"),
        (b"NOOP " + b"n" * 8_500, "250"),  # 8,191 bytes count as a line
        (b"the rest of it\r\n", "500"),
        (b"MAIL FROM:<" + b"m" * 8_000 + b">\r\n", "250"),
        (b"RCPT TO:<a\0b@mx.example>\r\n", "250"),
        (b"NOOP\n", "250"),
        (b"RSET\n", "250"),
        (b"NOOP\r\r\n", "250"),
        (b"\xff\xfe\x80\r\n", "500"),
        (b"\0\0\0\0\r\n", "500"),
        (b"MAIL FROM:<\xc3\xa4@\xe9.example>\r\n", "250"),
        (b"RCPT TO:<%n%s%x@mx.example>\r\n", "250"),
        (b"DATA\r\n", "451"),
    ]
    with connect(net, 1) as client:
        client.expect("220")
        for line, code in lines:
            client.send(line)
            client.expect(code, line[:30])
    rows = mired.rows()
    check(all(len(row) == 10 for row in rows), "every record is one line of ten fields:", rows)
    check(max(len(row[2]) for row in rows) <= 1023 * 4, "long values are cut")
    still_serves(net, mired)
    check(mired.pids() == pids, "no process died")


@marked(timeout_secs=90, tags=("sanitize",))
def test_ten_megabytes_without_a_newline_cost_nothing(world):
    net, mired = start(world)
    block = b"x" * 65536
    with connect(net, 1) as client:
        client.expect("220")
        sent = 0
        client.sock.settimeout(5)
        try:
            while sent < 10 << 20:
                sent += client.sock.send(block)
        except (TimeoutError, OSError):
            pass  # mired may stop reading or end the session; both are answers
    print(f"{sent} bytes were taken")
    still_serves(net, mired)


@marked(timeout_secs=90)
def test_commands_in_one_packet_are_answered_in_order(world):
    net, _ = start(world)
    with connect(net, 1) as client:
        client.send("HELO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nNOOP\r\nNONSENSE\r\nDATA\r\n")
        for code in ("220", "250", "250", "250", "250", "500", "451"):
            client.expect(code, "the batch")


@marked(timeout_secs=90, tags=("path", "sanitize"))
def test_resets_at_every_state(world):
    net, mired = start(world)
    pids = mired.pids()
    steps = ["", "HELO a\r\n", "MAIL FROM:<a@b>\r\n", "RCPT TO:<c@d>\r\n", "RCPT TO:", "DATA\r\n",
             "junk"]
    for n_steps in range(len(steps) + 1):
        for n in range(5):
            client = connect(net, n_steps * 16 + n)
            for step in steps[:n_steps]:
                client.send(step)
                if n % 2 and step.endswith("\r\n"):
                    time.sleep(0.06)
            client.reset()
    still_serves(net, mired)
    check(mired.pids() == pids, "no process died")


@marked(timeout_secs=90, tags=("path",))
def test_half_open_and_half_closed_connections(world):
    net, mired = start(world, read_timeout="3s")
    with connect(net, 1) as client:  # says everything, closes its side, still wants answers
        client.send("HELO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n")
        client.sock.shutdown(1)
        for code in ("220", "250", "250", "250", "451"):
            client.expect(code, "half-closed")
    client = connect(net, 2)
    client.expect("220")
    net.out.shell("ip link set ext down")  # the peer vanishes without a word
    wait_for("the read timeout", lambda: mired.status()["connections"]["now"] == 0, 20)
    check(mired.status()["drops"]["read_timeouts"] >= 1, "counted:", mired.status()["drops"])
    client.close()
    net.out.shell("ip link set ext up; ip route replace default via " + topology.GW4)
    still_serves(net, mired)


@marked(timeout_secs=60)
def test_the_control_socket_survives_rubbish(world):
    net, mired = start(world)
    for text in (b"nonsense\n", b"\n", b"\0\xff\n", b"status " + b"x" * 100_000, b"status"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(mired.socket_path)
            try:
                sock.sendall(text)
                sock.shutdown(socket.SHUT_WR)
                answer = sock.recv(65536)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
        if text in (b"nonsense\n", b"\0\xff\n"):
            check(b'"error"' in answer, "an error is answered:", text, answer)
    with connect(net, 1) as client:
        check(attempt(client).startswith("451"), "it still serves")
    check(mired.status()["uptime_secs"] >= 0, "status answers")
