"""The metrics of a mired under test, over its control socket or over HTTP."""
import json
import re
import socket

import world as w
from control import Control

# the module of Debian's python3-prometheus-client, whichever interpreter runs the tests
DEBIAN_PYTHON = "/usr/bin/python3"
STRICT = """
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = text_string_to_metric_families(sys.stdin.read())
print(json.dumps([[sample.name, sample.labels, sample.value]
                  for family in families for sample in family.samples]))
"""
SAMPLE = re.compile(r'([a-z_]+)(\{(.*)\})? (\S+)')


def metrics(mired, words=""):
    """The text, whole: the daemon closes the connection behind it."""
    with Control(mired) as control:
        control.send(f"metrics {words}".strip())
        parts = []
        while part := control.sock.recv(1 << 20):
            parts.append(part)
    return b"".join(parts).decode()


def samples(text):
    """Values by name with labels, as they stand there."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, labels, _, value = SAMPLE.fullmatch(line).groups()
        key = name + (labels or "")
        w.check(key not in found, "no sample is there twice:", key)
        found[key] = float(value)
    return found


def names(text):
    """All names of samples."""
    return {key.partition("{")[0] for key in samples(text)}


def types(text):
    """Type by name of family."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))


def promtool(text):
    """What promtool has to say about it; nothing is good."""
    done = w.run(["promtool", "check", "metrics"], stdin=text, check_code=False)
    return f"{done.returncode or ''}{done.stdout}{done.stderr}".strip()


def strict_samples(text):
    """As the strict parser of OpenMetrics reads them: (name, labels, value)."""
    done = w.run([DEBIAN_PYTHON, "-c", STRICT], stdin=text, check_code=False)
    w.check(done.returncode == 0, "OpenMetrics:", done.stderr[-500:])
    return json.loads(done.stdout)


class Server:
    """miredctl metrics --http beside a mired."""

    def __init__(self, world, mired, port, user=None):
        self.mired, self.port = mired, port
        program = ["setpriv", "--reuid", user, "--regid", "nogroup", "--groups", "mired-stats",
                   "--no-new-privs"] if user else []
        self.process = world.spawn([*program, w.BUILD / "miredctl", "-f", mired.conf, "metrics",
                                    "--http"], ns=mired.ns, log=mired.dir / "http.log",
                                   env=world.sanitizer_env())
        w.wait_for("the port", self.is_open, 10)

    def is_open(self):
        w.check(self.process.poll() is None, "the server runs; it ended with",
                self.process.poll())
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self, timeout_secs=30):
        sock = self.mired.ns.socket(socket.AF_INET)
        sock.settimeout(timeout_secs * w.PATIENCE)
        sock.connect(("127.0.0.1", self.port))
        return sock

    def ask(self, request):
        """All that comes until it closes, as (status, headers in lower case, body)."""
        with self.connect() as sock:
            sock.sendall(request if isinstance(request, bytes) else request.encode())
            answer = b""
            while part := sock.recv(1 << 20):
                answer += part
        head, _, body = answer.decode().partition("\r\n\r\n")
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]) if lines[0] else 0, headers, body

    def get(self, path="/metrics", method="GET", *headers):
        return self.ask("\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *headers,
                                     "", ""]))

    def end(self):
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(timeout=10 * w.PATIENCE)
