"""Worlds for the system tests: network namespaces, temporary directories, mounts and processes.

Everything a world makes carries the pid of its maker in its name, so tests may run in parallel
and a later run can sweep what a killed one left behind.
"""
import atexit
import contextlib
import ctypes
import itertools
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MIRED_TEST_BUILD", TOP / "build" / "dev"))
PREFIX = "mired-t"  # of namespaces and directories: mired-t<pid>-...
CLONE_NEWNET = 0x40000000
# Sanitizers slow the programs down; deadlines that only bound a test's time grow with this.
PATIENCE = float(os.environ.get("MIRED_TEST_PATIENCE", "1"))

_libc = ctypes.CDLL(None, use_errno=True)


class Failure(AssertionError):
    """What a test found wrong, in words."""


class Skip(Exception):
    """This machine cannot run the test; the text says why."""


def check(condition, text, *details):
    """Fails the test with text (and the details shown) unless the condition holds."""
    if not condition:
        raise Failure(" ".join([text, *(repr(detail) for detail in details)]))


def marked(**marks):
    """Facts about a test for the runner: timeout_secs, tags, alone (nothing else runs beside)."""
    def mark(function):
        function.marks = marks
        return function
    return mark


def wait_for(what, condition, timeout_secs, step_secs=0.05):
    """Waits until condition() is true and returns its value; fails naming `what` at the deadline."""
    deadline = time.monotonic() + timeout_secs * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"waited {timeout_secs * PATIENCE:g} s in vain for {what}")
        time.sleep(step_secs)


def run(argv, ns=None, check_code=True, timeout_secs=60, stdin=None, pass_fds=()):
    """Runs a program to its end (inside ns if given) and returns the CompletedProcess."""
    argv = [str(arg) for arg in argv]
    if ns is not None:
        argv = ns.prefix() + argv
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace",
                          timeout=timeout_secs * PATIENCE, input=stdin, check=False,
                          pass_fds=pass_fds)
    if check_code and done.returncode != 0:
        raise Failure(f"{' '.join(argv)} ended with {done.returncode}: "
                      f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def pid_is_alive(pid):
    """Whether any thread of this process still runs; a zombie is dead."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        n_threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False
    return state != "Z" or n_threads > 1


def command_words(pid):
    """The words of a process's command line as bytes; none if it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def rss_bytes(pid):
    """Resident memory of a process."""
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M).group(1)) * 1024


def fill(path):
    """Writes zeros until no page of the file system is free."""
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


class Netns:
    """A network namespace. As a context manager the calling thread is inside it."""

    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"
        self._threads = threading.local()  # of each: the namespace it came from
        run(["ip", "netns", "add", name])
        self.shell("ip link set lo up; "
                   "echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad; "
                   "echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad")

    def prefix(self):
        return ["nsenter", f"--net={self.path}"]

    def shell(self, script):
        """Runs a shell script inside; every command must succeed."""
        return run(["sh", "-ec", script], ns=self).stdout

    def nft(self, rules):
        return run(["nft", "-f", "-"], ns=self, stdin=rules)

    def pids(self):
        text = run(["ip", "netns", "pids", self.name], check_code=False).stdout
        return [int(pid) for pid in text.split()]

    def delete(self):
        kill_all(self.pids())
        run(["ip", "netns", "del", self.name], check_code=False)

    def __enter__(self):
        self._threads.before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        self._enter(self.path)
        return self

    def __exit__(self, *_):
        if _libc.setns(self._threads.before, CLONE_NEWNET) != 0:
            os._exit(70)  # a thread in an unknown namespace must not go on
        os.close(self._threads.before)

    @staticmethod
    def _enter(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            if _libc.setns(fd, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)

    def socket(self, family, kind=socket.SOCK_STREAM):
        """A socket that belongs to this namespace, usable from any thread."""
        with self:
            return socket.socket(family, kind)


def kill_all(pids):
    """SIGKILL to each of these processes, all of which a world of ours started."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(pid_is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)


class World:
    """Everything one test makes. close() removes it all; it runs at exit too."""

    def __init__(self):
        self.tag = f"{PREFIX}{os.getpid()}"
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.tag}-"))
        self.dir.chmod(0o755)
        self.sanitizer_dir = self.dir / "sanitizer"
        self.sanitizer_dir.mkdir()
        self.sanitizer_dir.chmod(0o1777)
        self._names = itertools.count()
        self._netns = []
        self._processes = []
        self._mounts = []
        self._logs = []
        self._at_close = []
        self._is_closed = False
        atexit.register(self.close)

    def netns(self, label):
        ns = Netns(f"{self.tag}-{next(self._names)}{label}")
        self._netns.append(ns)
        return ns

    def link(self, a, a_name, b, b_name):
        """A veth pair between two namespaces, both ends up."""
        run(["ip", "link", "add", a_name, "netns", a.name, "type", "veth",
             "peer", "name", b_name, "netns", b.name])
        a.shell(f"ip link set {a_name} up")
        b.shell(f"ip link set {b_name} up")

    def spawn(self, argv, ns=None, log=None, env=None, pass_fds=()):
        """Starts a program; its output goes to the file `log` (shown when the test fails)."""
        argv = [str(arg) for arg in argv]
        if ns is not None:
            argv = ns.prefix() + argv
        with open(log or os.devnull, "ab") as out:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env={**os.environ, **(env or {})}, start_new_session=True,
                                       pass_fds=pass_fds)
        self._processes.append(process)
        if log:
            self.show_log(log)
        return process

    def show_log(self, path):
        """Names a file whose end is printed when the test fails."""
        if path not in self._logs:
            self._logs.append(path)

    def at_close(self, action):
        """Runs before anything is removed, the last registered first."""
        self._at_close.append(action)

    def tmpfs(self, path, size):
        """A file system of limited size."""
        path.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", path])
        self._mounts.append(path)

    def sanitizer_env(self):
        """Where sanitizers of any role, whatever its user, write their reports."""
        common = f"log_path={self.sanitizer_dir}"
        suppressions = TOP / "tests" / "tsan.supp"
        tsan = f"{common}/tsan:second_deadlock_stack=1"
        if suppressions.exists():
            tsan += f":suppressions={suppressions}"
        return {"ASAN_OPTIONS": f"{common}/asan:detect_leaks={os.environ.get('MIRED_LEAKS', '0')}",
                "UBSAN_OPTIONS": f"{common}/ubsan:print_stacktrace=1", "TSAN_OPTIONS": tsan}

    def sanitizer_reports(self):
        """All that the sanitizers of all roles wrote."""
        return "".join(f"--- {path.name}\n{path.read_text(errors='replace')}"
                       for path in sorted(self.sanitizer_dir.iterdir()) if path.stat().st_size)

    def log_tails(self, n_lines=25):
        out = []
        for path in self._logs:
            with contextlib.suppress(OSError):
                lines = pathlib.Path(path).read_text(errors="replace").splitlines()[-n_lines:]
                out.append(f"--- end of {pathlib.Path(path).name}\n" + "\n".join(lines))
        return "\n".join(out)

    def close(self):
        if self._is_closed:
            return
        self._is_closed = True
        for action in reversed(self._at_close):
            with contextlib.suppress(Exception):
                action()
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for ns in self._netns:
            ns.delete()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
        for path in reversed(self._mounts):
            run(["umount", "-l", path], check_code=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def sweep():
    """Removes namespaces, mounts and directories whose maker no longer runs."""
    def is_left(name):
        found = re.match(PREFIX + r"(\d+)-", name)
        return found and not pid_is_alive(int(found.group(1)))

    netns_dir = pathlib.Path("/run/netns")
    for path in netns_dir.iterdir() if netns_dir.is_dir() else []:
        if is_left(path.name):
            pids = run(["ip", "netns", "pids", path.name], check_code=False).stdout.split()
            kill_all([int(pid) for pid in pids])
            run(["ip", "netns", "del", path.name], check_code=False)
    mounts = [line.split()[1] for line in pathlib.Path("/proc/mounts").read_text().splitlines()]
    for path in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if is_left(path.name):
            for mount in reversed([m for m in mounts if m.startswith(f"{path}/")]):
                run(["umount", "-l", mount], check_code=False)
            shutil.rmtree(path, ignore_errors=True)
