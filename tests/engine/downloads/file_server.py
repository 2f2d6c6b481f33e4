"""A real HTTP server that stalls, cuts, lies about sizes, redirects, ignores ranges and refuses."""

from __future__ import annotations

import re
import select
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from modules.engine.downloads.tokens import Tokens
from modules.engine.downloads.transfer import Web


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self):
        self.server.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        act = getattr(self, "on_" + self.path.split("/")[1].partition("?")[0], None)
        if act is None:
            self.send_error(404)
        else:
            act()

    def log_message(self, *args):
        pass

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def send(self, limit: int | None = None, lie: int = 0, etag: str = '"1"') -> None:
        """Send the file from where the client has it, at most `limit` bytes of it."""
        content, begin, status, headers = self.server.content, 0, 200, {}
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
        if found and self.headers.get("if-range", etag) == etag:
            begin, status = int(found[1]), 206
            if begin >= len(content):
                self.start(416, content_range=f"bytes */{len(content)}", content_length=0)
                return
            headers = {"content_range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
        length = len(content) - begin + lie
        self.start(status, content_length=length, etag=etag, **headers)
        self.wfile.write(content[begin:][:limit])

    def on_file(self):
        self.send()

    def on_cut(self):  # a third at a time
        self.send(limit=len(self.server.content) // 3 + 1)

    def on_nothing(self):
        self.send(limit=0)

    def on_lie(self):  # more than it has
        self.send(lie=1000)

    def on_short(self):  # less than it has
        self.send(lie=-1000)

    def on_stall(self):
        if "range" in self.headers:
            self.send()
        else:
            self.send(limit=1000)
            self.wfile.flush()
            threading.Event().wait(1)

    def on_hold(self):  # until the test releases it
        self.send(limit=200_000)
        self.wfile.flush()
        self.server.release.wait(10)

    def on_ignore(self):  # knows no ranges
        self.start(200, content_length=len(self.server.content))
        is_first = not any("range" in headers for path, headers in self.server.requests)
        self.wfile.write(self.server.content[: 5000 if is_first else None])

    def on_chunked(self):
        self.start(200)
        self.wfile.write(self.server.content)

    def on_changed(self):  # another file each time
        count = len([1 for path, _ in self.server.requests if path == self.path])
        self.send(limit=5000 if count == 1 else None, etag=f'"{count}"')

    def on_wrong(self):  # another range than it was asked for
        if "range" in self.headers:
            self.start(206, content_range="bytes 7-9/10", content_length=3)
            self.wfile.write(b"abc")
        else:
            count = len([1 for path, _ in self.server.requests if path == self.path])
            self.send(limit=5000 if count == 1 else None)

    def on_redirect(self):
        self.start(302, location="/file/a.safetensors", content_length=0)

    def on_away(self):  # to another host name
        port = self.server.server_address[1]
        self.start(302, location=f"http://localhost:{port}/file/a.safetensors", content_length=0)

    def on_linked(self):
        self.start(302, location="/file", x_linked_etag='"' + "0" * 64 + '"', content_length=0)

    def on_round(self):
        self.start(302, location=self.path, content_length=0)

    def on_inside(self):
        self.start(302, location="http://169.254.169.254/latest", content_length=0)

    def on_local(self):
        self.start(302, location="file:///etc/passwd", content_length=0)

    def on_login(self):
        self.send_error(401)

    def on_busy(self):
        if len(self.server.requests) < 3:
            self.send_error(503)
        else:
            self.send()

    def on_page(self):
        body = b"<!DOCTYPE html><html>Log in</html>" + b" " * 1000
        self.start(200, content_length=len(body), content_type="text/html")
        self.wfile.write(body)

    def on_named(self):
        name = self.path.rpartition("?")[2]
        self.start(
            200,
            content_length=len(self.server.content),
            content_disposition=f'attachment; filename="{name}"',
        )
        self.wfile.write(self.server.content)


class FileServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass  # the client has gone


def local_web(tokens: Tokens) -> Web:
    """Return how the server is reached: as the internet is, but for its address and without waiting."""
    return Web(
        tokens,
        is_allowed=lambda address: address in ("127.0.0.1", "::1"),
        schemes=("http",),
        timeout_s=0.3,
        tries=3,
        wait_s=0.01,
    )


class ProxyHandler(BaseHTTPRequestHandler):
    server: Proxy

    def do_CONNECT(self):
        self.server.requests.append((self.path, self.headers.get("proxy-authorization", "")))
        with socket.create_connection(self.server.target) as upstream:
            self.send_response(200)
            self.end_headers()
            sides = {self.connection: upstream, upstream: self.connection}
            while ready := select.select([*sides], [], [], 5)[0]:
                for side in ready:
                    data = side.recv(2**16)
                    if not data:
                        return
                    sides[side].sendall(data)

    def log_message(self, *args):
        pass


class Proxy(ThreadingHTTPServer):
    """A proxy whose hosts are all one server, whatever their names."""

    daemon_threads = True

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.target = target
        self.requests: list[tuple[str, str]] = []
        self.place = f"127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()
