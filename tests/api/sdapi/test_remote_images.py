from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from fastapi.testclient import TestClient

from modules.api.sdapi.remote_images import fetch, fetch_remote_images, is_url
from modules.core.errors import UserError
from modules.core.public_web import is_public_address
from modules.engine.engine import Engine
from modules.params.settings import Settings

IMAGE = b"\x89PNG image"
IMAGE_URL = "https://a.example/x.png"
BODY = {
    "init_images": [IMAGE_URL, "abcd"],
    "mask": IMAGE_URL,
    "prompt": IMAGE_URL,
    "imageList": [{"data": IMAGE_URL, "name": IMAGE_URL}],
}


class Handler(BaseHTTPRequestHandler):
    """Answers by path: an image, a large file, a redirect, or nothing for a while."""

    def do_GET(self):
        redirects = {
            "/inside": "http://127.0.0.2/image.png",
            "/round": "/round",
            "/on": "/image.png",
            "/file": "file:///etc/passwd",
        }
        if self.path in redirects:
            self.send_response(302)
            self.send_header("location", redirects[self.path])
            self.end_headers()
        elif self.path == "/slow":
            threading.Event().wait(0.5)
        elif self.path == "/long":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 5000)
        elif self.path == "/image.png":
            self.send_response(200)
            self.send_header("content-length", str(len(IMAGE)))
            self.end_headers()
            self.wfile.write(IMAGE)
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


def is_test_server(address: str) -> bool:
    return address == "127.0.0.1"


@pytest.mark.parametrize("path", ["/image.png", "/on", "/image.png#fragment"])
def test_an_image_is_fetched(server: str, path: str):
    assert fetch(f"{server}{path}", is_test_server) == IMAGE


def test_an_address_of_this_machine_is_not_fetched(server: str):
    for host in ("127.0.0.1", "localhost", "[::1]", "0.0.0.0", "2130706433", "0x7f.1"):
        with pytest.raises(UserError):
            fetch(f"http://{host}:{server.rpartition(':')[2]}/image.png")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/inside", "nothing is fetched from there"),
        ("/file", "is not a web address"),
        ("/round", "redirects more than 3 times"),
        ("/gone", "answers 404"),
        ("/a b", "cannot be fetched"),
        ("/a\r\nX: y", "is not a web address|cannot be fetched|answers 404"),
    ],
)
def test_a_failed_fetch_says_why(server: str, path: str, message: str):
    with pytest.raises(UserError, match=message):
        fetch(f"{server}{path}", is_test_server)


def test_a_file_that_is_too_large_is_refused(server: str):
    with pytest.raises(UserError, match="larger than 1000 bytes"):
        fetch(f"{server}/long", is_test_server, max_bytes=1000)


def test_a_slow_server_times_out(server: str):
    with pytest.raises(UserError, match="cannot be fetched"):
        fetch(f"{server}/slow", is_test_server, timeout_s=0.1)


def test_a_host_name_with_an_inner_address_among_others_is_not_fetched(
    monkeypatch: pytest.MonkeyPatch,
):
    entry = socket.AF_INET, socket.SOCK_STREAM, 6, ""
    entries = [(*entry, ("93.184.216.34", 80)), (*entry, ("10.0.0.1", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: entries)
    with pytest.raises(UserError, match="nothing is fetched from there"):
        fetch("http://rebinding.example/x.png")


@pytest.mark.parametrize(
    "url", ["http://", "ftp://a.example", "http://me:pw@a.example/", "http://a:99999/", "http://["]
)
def test_a_malformed_url_is_refused(url: str):
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
def test_only_addresses_of_the_public_internet_are_public(address: str, public: bool):
    assert is_public_address(address) == public


def test_a_url_is_distinguished_from_a_base64_image():
    assert is_url("HTTPS://a.example/x.png")
    assert not is_url("iVBORw0KGgo")
    assert not is_url(3)


def test_urls_are_left_as_they_are_while_fetching_is_off():
    assert fetch_remote_images(BODY, Settings()) == BODY


def test_urls_in_image_fields_are_fetched():
    fetching = Settings(api_enable_requests=True)
    assert fetch_remote_images(BODY, fetching, fetch=lambda url: b"\x00") == {
        "init_images": ["AA==", "abcd"],
        "mask": "AA==",
        "prompt": IMAGE_URL,
        "imageList": [{"data": "AA==", "name": IMAGE_URL}],
    }


@pytest.mark.parametrize("path", ["extra-single-image", "png-info"])
def test_an_inner_address_is_refused_even_when_fetching_is_on(
    client: TestClient, engine: Engine, path: str
):
    engine.change_settings({"api_enable_requests": True})
    response = client.post(
        f"/sdapi/v1/{path}", json={"image": "http://169.254.169.254/latest/meta-data"}
    )
    assert response.status_code == 422
    assert "nothing is fetched from there" in response.json()["detail"]
