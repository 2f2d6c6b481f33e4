"""A1111's API, without the routes of the page."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient


@pytest.fixture
def client(api_client: TestClient) -> TestClient:
    """A client of the API alone."""
    return api_client
