"""All routes of the HTTP API, and errors in A1111's form."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from modules.api.generation import generation_router
from modules.api.listings import listings_router
from modules.api.live import live_router
from modules.api.options import options_router
from modules.api.png_info import png_info_router
from modules.api.progress import progress_router
from modules.api.server import server_router
from modules.core.errors import WebUIError
from modules.engine.engine import Engine

logger = logging.getLogger(__name__)

# The routers of /sdapi/v1, present with --api.
ROUTERS: tuple[Callable[[Engine], APIRouter], ...] = (
    generation_router,
    listings_router,
    options_router,
    png_info_router,
    progress_router,
)


def add_routes(
    app: FastAPI, engine: Engine, with_api: bool = False, with_stop: bool = False
) -> None:
    """Add the page's live routes and, if asked, the HTTP API and its way to stop the server."""
    app.include_router(live_router(engine))
    if with_api:
        for router in ROUTERS:
            app.include_router(router(engine))
        if with_stop:
            app.include_router(server_router())
    app.add_exception_handler(WebUIError, _on_error)


def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WebUIError)
    logger.info("%s %s: %s", request.method, request.url.path, error)
    body = {"error": type(error).__name__, "detail": str(error), "body": "", "errors": str(error)}
    return JSONResponse(body, status_code=error.status)
