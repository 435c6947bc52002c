"""A raw SMTP client that sees when every byte arrives."""
import concurrent.futures
import contextlib
import socket
import time

from world import PATIENCE, check


class Client:
    """One connection, made inside a namespace and from an address of choice."""

    def __init__(self, ns, target, port=25, source=None, source_port=0, timeout_secs=60):
        family = socket.AF_INET6 if ":" in target else socket.AF_INET
        self.sock = ns.socket(family)
        self.sock.settimeout(timeout_secs * PATIENCE)
        if source_port:  # may just have been used
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if source:
            self.sock.bind((source, source_port))
        self._buffer = b""
        self.sock.connect((target, port))
        self.connected_at = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def send(self, text):
        self.sock.sendall(text if isinstance(text, bytes) else text.encode())

    def line(self):
        """The next line without its end, or None at EOF."""
        while b"\n" not in self._buffer:
            data = self.sock.recv(4096)
            if not data:
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        check(line.endswith(b"\r"), "every line ends in CRLF:", line)
        return line[:-1].decode("ascii", "backslashreplace")

    def reply(self):
        """A whole reply, all its lines; None at EOF."""
        lines = []
        while True:
            line = self.line()
            if line is None:
                return None
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def command(self, text, code):
        """Sends a command and checks the code of its reply."""
        self.send(text + "\r\n")
        return self.expect(code, text)

    def expect(self, code, after="connecting"):
        reply = self.reply()
        check(reply is not None and reply.startswith(code), f"{code} after {after!r}, got", reply)
        return reply

    def bytes_until_eof(self, seconds):
        """(time since connect, bytes) of each arrival, until EOF or the time is over."""
        arrivals = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.sock.settimeout(max(end - time.monotonic(), 0.01))
            with contextlib.suppress(TimeoutError):
                data = self.sock.recv(4096)
                if not data:
                    break
                arrivals.append((time.monotonic() - self.connected_at, data))
        return arrivals


def attempt(client, sender="<a@sender.example>", recipient="<b@mx.example>", helo="mail.example",
            subject="test"):
    """One delivery attempt up to DATA; returns the reply to DATA (to the mail itself after 354).
    The commands go out together: mired reads at its ticks, and a test has no time for five."""
    client.expect("220")
    commands = (f"HELO {helo}", f"MAIL FROM:{sender}", f"RCPT TO:{recipient}", "DATA")
    client.send("".join(f"{command}\r\n" for command in commands))
    for command in commands[:3]:
        client.expect("250", command)
    reply = client.reply()
    if reply and reply.startswith("354"):
        client.send(f"Subject: {subject}\r\n\r\nhello\r\n.\r\n")
        return client.reply()
    return reply


def try_mail(ns, target, source=None, **words):
    """Connects and makes one attempt; returns the reply to DATA."""
    with Client(ns, target, source=source) as client:
        return attempt(client, **words)


def try_many(ns, target, sources, n_threads=24, **words):
    """An attempt from each of these addresses, many at a time; returns the replies in order."""
    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(lambda source: try_mail(ns, target, source, **words), sources))
