"""A small FTP server inside a namespace: what a client needs to fetch files (RFC 959, and EPSV of
RFC 2428)."""
import socket
import socketserver
import threading


class Session(socketserver.StreamRequestHandler):
    """One control connection."""

    def handle(self):
        self.where, self.data = "/", None
        self.say("220 files")
        while line := self.rfile.readline(1024):
            verb, _, value = line.decode("ascii", "replace").strip().partition(" ")
            answer = getattr(self, "do_" + verb.lower(), None)
            if answer:
                answer(value)
            else:
                self.say(self.server.PLAIN.get(verb.upper(), "502 not here"))
            if verb.upper() == "QUIT":
                return

    def say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def do_cwd(self, value):
        self.where = (value if value.startswith("/") else self.where + value).rstrip("/") + "/"
        self.say("250 there")

    def do_epsv(self, _):
        self.data = self.server.ns.socket(socket.AF_INET)
        self.data.bind(("127.0.0.1", 0))
        self.data.listen(1)
        self.say(f"229 passive (|||{self.data.getsockname()[1]}|)")

    def do_retr(self, value):
        page = self.server.pages.get(self.where + value)
        if page is None:
            self.say("550 no such file")
            return
        self.say("150 coming")
        with self.data, self.data.accept()[0] as sock:
            sock.sendall(page[:self.server.cut_bytes])
        self.say("226 done" if len(page) <= self.server.cut_bytes else "426 broken off")

    def do_size(self, value):
        page = self.server.pages.get(self.where + value)
        self.say("550 no such file" if page is None else f"213 {len(page)}")


class FtpSite(socketserver.ThreadingTCPServer):
    """Files by path. cut_bytes: a transfer is broken off behind so many."""
    PLAIN = {"USER": "331 who", "PASS": "230 in", "PWD": '257 "/"', "TYPE": "200 as you like",
             "QUIT": "221 bye"}
    daemon_threads = True

    def __init__(self, world, ns):
        self.ns, self.pages, self.cut_bytes = ns, {}, 1 << 30
        super().__init__(("127.0.0.1", 0), Session, bind_and_activate=False)
        self.socket.close()
        self.socket = ns.socket(socket.AF_INET)
        self.server_bind()
        self.server_activate()
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
        world.at_close(self.shutdown)
