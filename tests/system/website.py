"""A web server inside a namespace whose pages behave as badly as a test wants."""
import http.server
import socket
import ssl
import threading


class Site:
    """Pages by path: bytes, or a function of the request handler. seen: (path, headers)."""

    def __init__(self, world, ns, certificate=None):
        self.pages, self.seen = {}, []
        sock = ns.socket(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        sock.listen(16)
        self.port = sock.getsockname()[1]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            sock = context.wrap_socket(sock, server_side=True)
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # the name http.server looks for
                site.seen.append((self.path, dict(self.headers)))
                page = site.pages.get(self.path)
                self.close_connection = True
                try:
                    if callable(page):
                        page(self)
                    elif page is None:
                        self.send_error(404)
                    else:
                        give(self, page)
                except OSError:
                    pass  # the client has had enough

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, *_):
                pass  # a client that refuses the certificate

        self.server = Server(sock.getsockname(), Handler, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = sock
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        world.at_close(self.server.shutdown)


def give(handler, body, length=None, **headers):
    """Status 200 with this body; length lies about it."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def redirect(target):
    """A page that sends the client on."""
    def page(handler):
        handler.send_response(302)
        handler.send_header("Location", target)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    return page


def reset(handler):
    """Half of the page, then a RST."""
    give(handler, b"192.0.2.1\n" * 50, length=10000)
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    handler.connection.close()


def endless(pause):
    """A page without end; pause() between its pieces."""
    def page(handler):
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(b"192.0.2.1\n" * 100)
            pause()
    return page
