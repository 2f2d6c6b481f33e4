"""The HTTP API on an engine that draws single-colour images."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from modules.api.routes import add_routes
from modules.engine.engine import Engine


@pytest.fixture
def api_client(engine: Engine) -> Iterator[TestClient]:
    """A client of the API alone: the page's routes take most of the time to add."""
    app = FastAPI(docs_url=None)
    add_routes(app, engine, with_page=False)
    with TestClient(app) as client:
        yield client


@pytest.fixture
def client(engine: Engine) -> Iterator[TestClient]:
    """A client of the API and the live routes."""
    app = FastAPI(docs_url=None)
    add_routes(app, engine)
    with TestClient(app) as client:
        yield client
