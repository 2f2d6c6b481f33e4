from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from modules.api.security.header_timeout import HeaderTimeoutProtocol


class ShortTimeout(HeaderTimeoutProtocol):
    header_timeout_s = 0.5


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a server that waits half a second for a header, or is as the test says."""
    app = FastAPI()

    @app.get("/slow")
    def slow() -> str:
        time.sleep(1.0)
        return "slow"

    config = uvicorn.Config(
        app, http=getattr(request, "param", ShortTimeout), log_config=None, port=0, ws="none"
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(10)
    listener.close()


def answer_to(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Return what the server sends until it closes the connection, or for three seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as client:
        received = b""
        with contextlib.suppress(OSError):
            for part in parts:
                client.sendall(part)
                time.sleep(pause_s)
            while chunk := client.recv(1000):
                received += chunk
            return received + b"[closed]"
        return received


class FewConnections(HeaderTimeoutProtocol):
    max_connections = 5


REQUEST = b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


def test_a_connection_without_a_whole_header_is_closed(port: int):
    assert answer_to(port) == b"[closed]"
    assert answer_to(port, REQUEST[:20]) == b"[closed]"
    kept = REQUEST.replace(b"close", b"keep-alive")
    assert answer_to(port, kept, b"", REQUEST[:20], pause_s=0.7).endswith(b"[closed]")


def test_a_request_that_takes_longer_than_its_header_is_answered(port: int):
    assert b"200 OK" in answer_to(port, REQUEST)
    assert b"200 OK" in answer_to(port, REQUEST[:20], REQUEST[20:], pause_s=0.1)


@pytest.mark.parametrize("port", [FewConnections], indirect=True)
def test_of_too_many_connections_that_send_no_header_the_oldest_is_closed(port: int):
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=3))
            for _ in range(8)
        ]
        assert answer_to(port, REQUEST).endswith(b'"slow"[closed]')
        with contextlib.suppress(ConnectionResetError):
            assert clients[0].recv(10) == b""
        clients[-1].sendall(REQUEST)
        assert clients[-1].recv(1000).startswith(b"HTTP/1.1 200")
