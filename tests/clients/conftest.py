"""Clients of A1111's API against a running server with a demo checkpoint, on a real socket, without the page."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from modules import app
from modules.core.flags import Flags

DEMO = "demo/demo.safetensors"
PATIENCE_S = 120


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """Host and port of a ready server."""
    data = tmp_path_factory.mktemp("served")
    flags = Flags(nowebui=True, use_cpu=True, data_dir=data, ckpt=DEMO, port=None)
    engine = app.make_engine(flags, app.make_paths(flags))
    secured = app.secure_app(app.make_app(engine, flags), flags, ())
    server = uvicorn.Server(uvicorn.Config(secured, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    engine.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (
        server.started and engine.device_status.phase == "ready" and engine.device_status.checkpoint
    ):
        assert time.monotonic() < deadline and engine.device_status.phase != "failed", (
            engine.device_status
        )
        time.sleep(0.05)
    yield server.servers[0].sockets[0].getsockname()[:2]
    server.should_exit = True
    engine.stop()
    thread.join(10)
