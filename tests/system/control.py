"""The control socket and the spamd-cfg port of a mired under test, spoken byte by byte."""
import contextlib
import grp
import json
import os
import pwd
import socket
import time

from world import PATIENCE, check

CFG_PORT = 8026


class Control:
    """One connection to the control socket, for any number of requests."""

    def __init__(self, mired, timeout_secs=60):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout_secs * PATIENCE)
        self.sock.connect(mired.socket_path)
        self._buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, request, body=None):
        """Sends a request, with the length of its body if it has one."""
        body = body.encode() if isinstance(body, str) else body
        line = request if body is None else f"{request} {len(body)}"
        self.sock.sendall(line.encode() + b"\n")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.sendall(body or b"")  # refused at its first line, it is not read

    def answer(self):
        while b"\n" not in self._buffer:
            part = self.sock.recv(1 << 20)
            if not part:
                raise ConnectionError("closed without an answer")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def ask(self, request, body=None):
        self.send(request, body)
        return self.answer()


def ask(mired, request, body=None):
    """One request over a connection of its own."""
    with Control(mired) as control:
        return control.ask(request, body)


def ask_as(mired, requests, user, groups=()):
    """The answers to (request, body) pairs, asked over a connection each by a process of this user
    and, beside his own, these groups."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            become(user, groups)
            answers = [ask(mired, *request) for request in requests]
            os.write(writer, json.dumps(answers).encode())
            code = 0
        os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    check(code == 0, f"{user} could ask, exit code", code)
    return json.loads(text)


def become(user, groups):
    """Gives up being root."""
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid, *(grp.getgrnam(group).gr_gid for group in groups)])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def lists(mired):
    """Networks by name, in load order."""
    return {row["name"]: row["networks"] for row in ask(mired, "lists")["lists"]}


def cfg_connect(mired, port_below_1024=True):
    """A connection to the spamd-cfg port, from inside the daemon's namespace."""
    for port in range(1023, 600, -1) if port_below_1024 else [0]:
        sock = mired.ns.socket(socket.AF_INET)
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            sock.connect(("127.0.0.1", CFG_PORT))
            return sock
        sock.close()
    raise OSError("no port below 1024 is free")


def slowest_status_secs(mired, is_over):
    """Asks `status` again and again until is_over(); the longest an answer took, and how many."""
    slowest, n = 0.0, 0
    while not is_over():
        began = time.monotonic()
        ask(mired, "status")
        slowest, n = max(slowest, time.monotonic() - began), n + 1
        time.sleep(0.01)
    return slowest, n
