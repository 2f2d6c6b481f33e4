from __future__ import annotations

import re

from fastapi.testclient import TestClient


def test_the_documentation_page_names_no_other_host(client: TestClient):
    response = client.get("/docs")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert re.findall(r"https?://", response.text) == []
    assert "openapi.json" in response.text
