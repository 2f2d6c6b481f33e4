from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from modules.api.sdapi.remote_images import fetch, is_public_address, is_url
from modules.core.errors import UserError

PICTURE = b"\x89PNG picture"


class Handler(BaseHTTPRequestHandler):
    """Answers by path: a picture, a long one, a way elsewhere, or nothing for a while."""

    def do_GET(self):
        elsewhere = {
            "/inside": "http://127.0.0.2/picture.png",
            "/round": "/round",
            "/on": "/picture.png",
            "/file": "file:///etc/passwd",
        }
        if self.path in elsewhere:
            self.send_response(302)
            self.send_header("location", elsewhere[self.path])
            self.end_headers()
        elif self.path == "/slow":
            threading.Event().wait(0.5)
        elif self.path == "/long":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 5000)
        elif self.path == "/picture.png":
            self.send_response(200)
            self.send_header("content-length", str(len(PICTURE)))
            self.end_headers()
            self.wfile.write(PICTURE)
        else:
            self.send_error(404)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def only_this(address: str) -> bool:
    return address == "127.0.0.1"


@pytest.mark.parametrize("path", ["/picture.png", "/on", "/picture.png#fragment"])
def test_a_picture_is_fetched(server: str, path: str):
    assert fetch(f"{server}{path}", only_this) == PICTURE


def test_an_address_of_this_machine_is_not_called(server: str):
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f.1"):
        with pytest.raises(UserError):
            fetch(f"http://{host}:{server.rpartition(':')[2]}/picture.png")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/inside", "nothing is fetched from there"),
        ("/file", "no web address"),
        ("/round", "leads on more than 3 times"),
        ("/gone", "answers 404"),
        ("/a b", "cannot be fetched"),
        ("/a\r\nX: y", "no web address|cannot be fetched|answers 404"),
    ],
)
def test_what_leads_nowhere_is_said(server: str, path: str, words: str):
    with pytest.raises(UserError, match=words):
        fetch(f"{server}{path}", only_this)


def test_what_is_too_long_is_not_read(server: str):
    with pytest.raises(UserError, match="more than 1000 bytes"):
        fetch(f"{server}/long", only_this, max_bytes=1000)


def test_what_takes_too_long_is_given_up(server: str):
    with pytest.raises(UserError, match="cannot be fetched"):
        fetch(f"{server}/slow", only_this, timeout_s=0.1)


def test_a_name_that_stands_for_one_inner_address_among_others_is_not_called(
    monkeypatch: pytest.MonkeyPatch,
):
    entry = socket.AF_INET, socket.SOCK_STREAM, 6, ""
    both = [(*entry, ("93.184.216.34", 80)), (*entry, ("10.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(UserError, match="nothing is fetched from there"):
        fetch("http://rebinding.example/x.png")


@pytest.mark.parametrize(
    "url", ["http://", "ftp://a.example", "http://me:pw@a.example/", "http://a:99999/", "http://["]
)
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(UserError):
        fetch(url)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_only_addresses_of_the_open_internet_are_public(address: str, public: bool):
    assert is_public_address(address) == public


def test_a_web_address_is_told_from_a_picture():
    assert is_url("HTTPS://a.example/x.png")
    assert not is_url("iVBORw0KGgo")
    assert not is_url(3)
