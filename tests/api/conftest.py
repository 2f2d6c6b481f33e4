"""The HTTP API on an engine that draws single-colour images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from modules.engine.engine import Engine
from tests.api.late_client import LateClient, Routes


@pytest.fixture(scope="session")
def known_routes() -> Routes:
    """What each router answers, as far as it is known."""
    return {}


@pytest.fixture
def api_client(engine: Engine, known_routes: Routes) -> Iterator[TestClient]:
    """A client of the API alone."""
    with LateClient(engine, known_routes, with_page=False) as client:
        yield client


@pytest.fixture
def client(engine: Engine, known_routes: Routes) -> Iterator[TestClient]:
    """A client of the API and the live routes."""
    with LateClient(engine, known_routes) as client:
        yield client
