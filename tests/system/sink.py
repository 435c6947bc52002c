"""A mail server of three lines: accepts, greets and counts. For tests that only ask where a
connection ends, and need no real MTA."""
import contextlib
import socket
import threading

GREETING = b"220 behind the gateway\r\n"


class Sink:
    """Listens on port 25 of a namespace until closed."""

    def __init__(self, world, ns, addresses):
        self.n_accepted = 0
        self._sockets = [self._listen(ns, address) for address in addresses]
        for sock in self._sockets:
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
        world.at_close(self.close)

    @staticmethod
    def _listen(ns, address):
        sock = ns.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, 25))
        sock.listen(128)
        return sock

    def _serve(self, sock):
        while True:
            try:
                conn, _ = sock.accept()
            except OSError:
                return
            self.n_accepted += 1
            with contextlib.suppress(OSError), conn:
                conn.sendall(GREETING)

    def close(self):
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
