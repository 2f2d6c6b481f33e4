"""/docs: the OpenAPI document to read and to try out, without files of other hosts."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from modules.api.json_check import CheckedRouter

_PAGE = Path(__file__).parent / "assets" / "docs.html"


def docs_router() -> APIRouter:
    """Return the route of the documentation page."""
    router = CheckedRouter(include_in_schema=False)

    @router.get("/docs")
    def docs() -> HTMLResponse:
        return HTMLResponse(_PAGE.read_text(encoding="utf-8"))

    return router
