"""The scripts of tests/dialogue that ask only for what a real daemon shows, played against it.
Their language is described in tests/dialogue/README.md; the same files run in virtual time."""
import concurrent.futures
import re
import time

import topology
from client import Client
from daemon import Mired, seconds
from world import TOP, Failure, check, marked

SCRIPTS = TOP / "tests" / "dialogue"
ESCAPES = {"r": b"\r", "n": b"\n", "t": b"\t", "\\": b"\\"}
SEEN_ONLY_INSIDE = ("expect tuple ", "expect deferred", "expect no-event", "expect age")


def unescape(text):
    """\\r \\n \\t \\\\ \\xHH as bytes."""
    def byte(found):
        word = found.group(1)
        return bytes([int(word[1:], 16)]).decode("latin-1") if word[0] == "x" else \
            ESCAPES[word].decode("latin-1")
    return re.sub(r"\\(x[0-9a-fA-F]{2}|[rnt\\])", byte, text).encode("latin-1")


def payload(text):
    """The bytes that a C: line sends."""
    if text.startswith("raw "):
        return unescape(text[4:])
    if found := re.match(r"repeat (\d+) (.*)", text):
        return unescape(found.group(2)) * int(found.group(1))
    return text.encode("latin-1") + b"\r\n"


def expect_line(client, prefix, is_exact):
    line = client.line()
    fits = line == prefix if is_exact else line is not None and line.startswith(prefix)
    check(fits, f"the server says {prefix!r}, got", line)


def expect_silence(client, secs):
    got = client.bytes_until_eof(secs)
    check(not got, "the server is silent, got", got)
    client.sock.settimeout(60)


def play(net, number, path):
    """One script as one connection from an address of its own."""
    with Client(net.out, net.target(False), source=topology.client4(number)) as client:
        for line_no, line in enumerate(path.read_text("latin-1").splitlines(), 1):
            try:
                step(client, line)
            except (Failure, OSError) as error:
                raise Failure(f"{path.name}:{line_no}: {error}") from error


def step(client, line):
    verb, _, rest = line.partition(" ")
    if verb == "C:":
        client.send(payload(rest))
    elif verb in ("S:", "S="):
        expect_line(client, rest, verb == "S=")
    elif verb == "wait":
        time.sleep(seconds(rest))
    elif verb == "eof":
        client.sock.shutdown(1)
    elif line.startswith("expect silence "):
        expect_silence(client, seconds(line.split()[2]))
    elif line.startswith(("expect shut", "expect close")):
        check(client.line() is None, "the server closes")
    else:
        check(not line or line[0] == "#" or line.startswith(SEEN_ONLY_INSIDE),
              "a step that the socket shows:", line)


@marked(timeout_secs=180, tags=("sanitize",))
def test_scripts(world):
    net = topology.gateway(world)
    Mired(world, net, stutter="0s", hostname="mail.example.org", passtime="25m",
          greyexp="4h", look_interval="4s", tick="10ms").start()
    scripts = [path for path in sorted(SCRIPTS.glob("*.smtp"))
               if re.search(r"^# real: yes$", path.read_text("latin-1"), re.M)]
    check(scripts, "there are scripts for a real daemon")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        played = [pool.submit(play, net, n, path) for n, path in enumerate(scripts)]
        faults = [str(one.exception()) for one in played if one.exception()]
    print(f"{len(scripts)} scripts")
    check(not faults, "every script goes as written:\n" + "\n".join(faults))
