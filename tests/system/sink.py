"""A small mail server: greets, takes what it is given and keeps it. For tests and the demo, where
it only matters that a connection reached the server."""
import socket
import socketserver
import threading

GREETING = "220 behind the gateway"
REPLIES = {"HELO": "250 hello", "EHLO": "250 hello", "MAIL": "250 ok", "RCPT": "250 ok",
           "DATA": "354 go on", "QUIT": "221 bye", "RSET": "250 ok", "NOOP": "250 ok"}


class Session(socketserver.StreamRequestHandler):
    """One connection."""

    def handle(self):
        self.server.sink.n_accepted += 1
        try:
            self.say(GREETING)
            while line := self.rfile.readline(8192):
                verb = line[:4].decode("ascii", "replace").upper()
                self.say(REPLIES.get(verb, "500 what"))
                if verb == "DATA":
                    self.take_mail()
                if verb == "QUIT":
                    return
        except OSError:
            return  # the client went away

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def take_mail(self):
        lines = []
        while (line := self.rfile.readline(8192)) and line.rstrip(b"\r\n") != b".":
            lines.append(line.decode("ascii", "replace"))
        self.server.sink.mails.append("".join(lines))
        self.say("250 taken")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, sink, sock, address):
        self.sink = sink
        super().__init__((address, 25), Session, bind_and_activate=False)
        self.socket.close()
        self.socket = sock
        self.server_activate()


class Sink:
    """Listens on port 25 of a namespace until the world ends."""

    def __init__(self, world, ns, addresses):
        self.n_accepted = 0
        self.mails = []
        for address in addresses:
            sock = ns.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, 25))
            server = _Server(self, sock, address)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            world.at_close(server.shutdown)
