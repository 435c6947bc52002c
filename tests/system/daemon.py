"""One mired under test: its configuration, its processes, and what it says about itself."""
import json
import os
import pathlib
import re
import signal
import socket
import time

import nftset
import world as w
from client import Client, attempt

# Short times, so that a life of hours passes in seconds; each test may override any key.
DEFAULTS = {
    "passtime": "3s", "greyexp": "1h", "whiteexp": "36d", "stutter": "1s", "grey-stutter": "2s",
    "firewall-watch": "500ms", "store-wait": "10s", "sweep-interval": "1s", "store-retry": "1s",
    "look-interval": "1s", "workers": 2, "store-map": "1g", "verbose": "yes",
    "tuple-cache": 262144, "host-cache": 262144,
}
# As on a kernel that has none of the features which mired probes for.
FALLBACKS = {"kernel-multishot-accept": "fallback", "kernel-set-refresh": "fallback",
             "kernel-set-destroy": "fallback"}
if os.environ.get("MIRED_TEST_FALLBACKS"):
    DEFAULTS |= FALLBACKS
ROLES = ("engine", "firewall")
HANDOVER = pathlib.Path(__file__).resolve().parent / "handover.py"


class Mired:
    """A daemon in a namespace with a state directory, socket, pid file and table of its own."""

    def __init__(self, world, topology, name="mired", program=None, **settings):
        self.world, self.ns, self.name = world, topology.gw, name
        self.program = program or []  # a wrapper such as strace
        self.wants_routes = True  # those of mired-tproxy, with the rules that need them
        self.handed = []  # listening sockets that it is handed over as by systemd
        self.dir = world.dir / name
        self.dir.mkdir(exist_ok=True)
        self.log = self.dir / "log"
        self.conf = self.dir / "mired.conf"
        self.process = None
        self._sets = None
        self.table = settings.get("nft_table", "mired")
        self.settings = {
            **DEFAULTS, "state-dir": self.dir / "state", "control-socket": self.dir / "sock",
            "pid-file": self.dir / "pid", "rules": topology.rules, "rules-dir": w.TOP / "nft",
            "interface": ["ext"], "nospamd-file": self.dir / "nospamd", "hostname": "gw.example",
            **({"mx-addresses": topology.mx} if topology.rules != "local-mta" else {}),
            **{key.replace("_", "-"): value for key, value in settings.items()},
        }
        self.write_nospamd("")
        self.write_conf()

    # --- files ---------------------------------------------------------------------------------

    def write_conf(self, **changes):
        """Writes mired.conf; a value of None leaves the key out."""
        self.settings.update({key.replace("_", "-"): value for key, value in changes.items()})
        lines = [f"{key} = {conf_value(value)}" for key, value in self.settings.items()
                 if value is not None]
        self.conf.write_text("\n".join(lines) + "\n")

    def write_nospamd(self, text):
        pathlib.Path(self.settings["nospamd-file"]).write_text(text)

    @property
    def db(self):
        return pathlib.Path(self.settings["state-dir"]) / "db"

    @property
    def socket_path(self):
        return str(self.settings["control-socket"])

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    # --- life ----------------------------------------------------------------------------------

    def command(self, *options):
        fds = ",".join(map(str, self.handed_fds()))
        handover = [HANDOVER, fds, ":".join(["mired.socket"] * len(self.handed))] if fds else []
        return [*self.program, *handover, w.BUILD / "mired", "-d", "-f", self.conf, *options]

    def handed_fds(self):
        return [sock.fileno() for sock in self.handed]

    def route(self, command="up", check_code=True):
        """mired-tproxy, which sets up what the TPROXY rules need."""
        if command == "up" and self.settings["rules"] != "gateway-tproxy":
            return None
        return w.run(["env", f"MIRED={w.BUILD / 'mired'}", w.TOP / "systemd" / "mired-tproxy",
                      command, *(["-f", self.conf] if command == "up" else [])],
                     ns=self.ns, check_code=check_code)

    def launch(self, *options):
        """Starts it without waiting."""
        if self.wants_routes:
            self.route()
        self.process = self.world.spawn(self.command(*options), ns=self.ns, log=self.log,
                                        env=self.world.sanitizer_env(),
                                        pass_fds=self.handed_fds())
        return self

    def start(self, *options):
        """Starts it and waits until it serves and its firewall sets are complete."""
        return self.launch(*options).wait_ready()

    def wait_ready(self, timeout_secs=20):
        w.wait_for("mired to serve", self.is_ready, timeout_secs)
        return self

    def is_ready(self):
        w.check(self.process.poll() is None, "mired runs; it ended with", self.process.poll(),
                self.log_text()[-1500:])
        status = self.status(must_answer=False)
        if not status:
            return False
        return not self.settings.get("firewall", True) or bool(
            status.get("firewall", {}).get("complete"))

    def run_to_end(self, *options, timeout_secs=20):
        """For starts that are refused: the exit code and everything it said."""
        return w.run(self.command(*options), ns=self.ns, check_code=False,
                     timeout_secs=timeout_secs, pass_fds=self.handed_fds())

    def pids(self):
        """Process ids by name: supervisor, engine, firewall."""
        out = {"supervisor": self.supervisor_pid()}
        for pid in self.ns.pids():
            try:
                line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                parent = int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
                             .split()[1])
            except OSError:
                continue
            for role in ROLES:
                if parent == out["supervisor"] and b"mired" in line and role.encode() in line:
                    out[role] = pid
        return out

    def supervisor_pid(self):
        return int(pathlib.Path(self.settings["pid-file"]).read_text().split()[0])

    def kill9(self, *roles):
        """SIGKILL to these roles (all of them if none is named), at once.

        The supervisor goes last: roles that lose it end by themselves, in order."""
        pids = self.pids()
        for role in roles or (*ROLES, "supervisor"):
            if role in pids:
                os.kill(pids[role], signal.SIGKILL)
        return pids

    def wait_gone(self, timeout_secs=10):
        code = self.process.wait(timeout=timeout_secs * w.PATIENCE)
        return code

    def stop(self, timeout_secs=10):
        """SIGTERM; returns (exit code, seconds until it was gone)."""
        began = time.monotonic()
        os.kill(self.supervisor_pid() if not self.program else self.process.pid, signal.SIGTERM)
        return self.wait_gone(timeout_secs), time.monotonic() - began

    # --- what it knows -------------------------------------------------------------------------

    def status(self, must_answer=True):
        """The answer to `status` as a dict; None when nobody answers and none is demanded."""
        try:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(5 * w.PATIENCE)
                sock.connect(self.socket_path)
                sock.sendall(b"status\n")
                sock.shutdown(socket.SHUT_WR)
                text = b""
                while part := sock.recv(65536):
                    text += part
            return json.loads(text)
        except (OSError, ValueError):
            if must_answer:
                raise
            return None

    def rows(self, *keys):
        """miredb's lines, split at the bars."""
        done = w.run([w.BUILD / "miredb", "-f", self.conf, *keys], check_code=not keys,
                     timeout_secs=120)
        return [line.split("|") for line in done.stdout.splitlines()]

    def whites(self):
        return [row[1] for row in self.rows() if row[0] == "WHITE"]

    def in_set(self, name, addresses):
        """Which of these addresses a get-element request finds in the kernel set."""
        if not self._sets:
            self._sets = nftset.Sets(self.ns, self.table)
        return self._sets.found(name, addresses)

    def has_white(self, address):
        """Whether the kernel's white set holds this host (IPv6: its /64)."""
        is_v6 = ":" in address
        name = "spamd-white6" if is_v6 else "spamd-white"
        return bool(self.in_set(name, [prefix64(address) if is_v6 else address]))

    def make_white(self, host, target, source):
        """Whitelists a client by two attempts, passtime apart."""
        words = {"sender": f"<w@{source.replace(':', '-')}.example>"}
        for _ in range(2):
            with Client(host, target, source=source) as client:
                reply = attempt(client, **words)
                w.check(reply.startswith("451"), "an attempt is deferred, got", reply)
            time.sleep(seconds(self.settings["passtime"]) + 1.1)
        w.wait_for(f"{source} in the kernel set", lambda: self.has_white(source), 5)


def conf_value(value):
    """A value in mired.conf's grammar."""
    if isinstance(value, (list, tuple)):
        return "{" + ", ".join(f'"{item}"' for item in value) + "}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f'"{value}"' if isinstance(value, (str, pathlib.Path)) else str(value)


def seconds(duration):
    """3s, 250ms or bare seconds as a number."""
    number, unit = re.fullmatch(r"(\d+)([a-z]*)", str(duration)).groups()
    return int(number) * {"": 1, "s": 1, "ms": 0.001, "m": 60, "h": 3600, "d": 86400}[unit]


def prefix64(address):
    """The /64 of an IPv6 address, as the set holds it."""
    packed = socket.inet_pton(socket.AF_INET6, address)
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))
