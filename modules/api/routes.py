"""Adds all routes of the HTTP API; answers errors in A1111's format."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modules.api.docs import docs_router
from modules.api.internal.a1111_progress import a1111_progress_router
from modules.api.internal.control import control_router
from modules.api.internal.extensions import extensions_router
from modules.api.internal.forms import forms_router
from modules.api.internal.gallery import gallery_router
from modules.api.internal.live import live_router
from modules.api.internal.model_bar import model_bar_router
from modules.api.internal.model_files.downloads import downloads_router
from modules.api.internal.model_files.merger import merger_router
from modules.api.internal.model_files.models import models_router as shelf_router
from modules.api.internal.model_files.networks import networks_router
from modules.api.internal.output import output_router
from modules.api.internal.pictures import pictures_router
from modules.api.internal.png_info import png_info_page_router
from modules.api.internal.process import process_router
from modules.api.internal.prompts import prompts_router
from modules.api.internal.queue import queue_router
from modules.api.internal.scripts import scripts_router
from modules.api.internal.settings import settings_router
from modules.api.internal.workers import workers_router
from modules.api.json_check import Answer, CheckedRouter, check_body
from modules.api.sdapi.control_detection import control_detection_router
from modules.api.sdapi.controlnet import controlnet_router
from modules.api.sdapi.embeddings import embeddings_router
from modules.api.sdapi.extra_networks import extra_networks_router
from modules.api.sdapi.extras import extras_router
from modules.api.sdapi.generation import generation_router
from modules.api.sdapi.listings import listings_router
from modules.api.sdapi.loras import loras_router
from modules.api.sdapi.models import models_router
from modules.api.sdapi.options import options_router
from modules.api.sdapi.png_info import png_info_router
from modules.api.sdapi.progress import progress_router
from modules.api.sdapi.system import system_router
from modules.api.server import server_router
from modules.api.v1.jobs import jobs_router
from modules.core.errors import Busy, UserError, WebUIError
from modules.core.flags import Flags
from modules.engine.engine import Engine
from modules.engine.registries import Router

logger = logging.getLogger(__name__)

_DEFAULTS = Flags()
# What the page calls.
_PAGE_ROUTERS = (
    control_router,
    downloads_router,
    forms_router,
    gallery_router,
    live_router,
    merger_router,
    model_bar_router,
    output_router,
    pictures_router,
    png_info_page_router,
    networks_router,
    process_router,
    prompts_router,
    queue_router,
    scripts_router,
    settings_router,
    shelf_router,
    workers_router,
)
# The routers of the HTTP API, added unless --no-api.
ROUTERS = (
    Router("generation", generation_router),
    Router("jobs", jobs_router),
    Router("extras", extras_router),
    Router("ControlNet detection", control_detection_router),
    Router("listings", listings_router),
    Router("embeddings", embeddings_router),
    Router("ControlNet", controlnet_router),
    Router("LoRAs", loras_router),
    Router("extra networks", extra_networks_router),
    Router("models", models_router),
    Router("options", options_router),
    Router("PNG info", png_info_router),
    Router("progress", progress_router),
    Router("A1111 progress", a1111_progress_router),
)


def add_routes(
    app: FastAPI,
    engine: Engine,
    flags: Flags = _DEFAULTS,
    restart_requested: threading.Event | None = None,
    *,
    with_page: bool = True,
) -> None:
    """Add the page's internal routes and, unless --no-api, the HTTP API.

    Args:
        app: Receives the routes.
        engine: Serves the requests.
        flags: Whether the API is on, and whether it may stop the server.
        restart_requested: Set when a client asks for a restart of the server.
        with_page: Whether to add what only the page calls.
    """
    for build in list_routers(engine, flags, restart_requested, with_page=with_page):
        add_router(app, build())
    add_answers(app)


def list_routers(
    engine: Engine,
    flags: Flags = _DEFAULTS,
    restart_requested: threading.Event | None = None,
    *,
    with_page: bool = True,
) -> list[partial[APIRouter]]:
    """Return what builds each router; see `add_routes`."""
    restart_requested = restart_requested or threading.Event()
    rows = list(engine.registries.routers)
    builders: list[partial[APIRouter]] = []
    if with_page:
        builders += [partial(build, engine) for build in _PAGE_ROUTERS]
        builders += [partial(row.build, engine) for row in rows if row.is_for_page]
        builders.append(partial(extensions_router, engine, flags, restart_requested))
    if flags.serves_api:
        builders += [partial(row.build, engine) for row in rows if not row.is_for_page]
        builders += [partial(system_router, engine, flags), partial(docs_router)]
        if flags.api_server_stop:
            builders.append(partial(server_router, restart_requested))
    return builders


def add_router(app: FastAPI, router: APIRouter) -> None:
    """Add a router and let its bodies and answers be checked."""
    if isinstance(router, CheckedRouter):
        app.router.routes.extend(router.routes)
        return
    app.include_router(router, dependencies=[Depends(check_body)], default_response_class=Answer)


def add_answers(app: FastAPI) -> None:
    """Let an app answer errors in A1111's format and report the time that an answer took."""
    app.add_exception_handler(WebUIError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(ProcessTime)


class ProcessTime:
    """ASGI middleware that reports the seconds a response took in `X-Process-Time`, as A1111 does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the header to its response."""
        start = time.monotonic()

        async def send_with_time(message: Message) -> None:
            if message["type"] == "http.response.start":
                seconds = f"{time.monotonic() - start:.4f}"
                MutableHeaders(scope=message).append("x-process-time", seconds)
            await send(message)

        await self._app(scope, receive, send_with_time if scope["type"] == "http" else send)


def _error_response(name: str, sentence: str, status: int) -> Answer:
    body = {"error": name, "detail": sentence, "body": "", "errors": sentence}
    return Answer(body, status_code=status)


def _on_error(request: Request, error: Exception) -> Answer:
    assert isinstance(error, WebUIError)
    logger.info("%s %s: %s", request.method, request.url.path, error)
    answer = _error_response(type(error).__name__, str(error), error.status_code)
    if isinstance(error, Busy):
        answer.headers["retry-after"] = str(error.retry_after_s)
    return answer


def _on_invalid_request(request: Request, error: Exception) -> Answer:
    """Answer a request that FastAPI cannot parse; its own response repeats values that JSON cannot represent."""
    assert isinstance(error, RequestValidationError)
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        for problem in error.errors()
    ]
    return _on_error(request, UserError(f"The request cannot be parsed: {'; '.join(problems)}."))


def _on_bug(request: Request, error: Exception) -> Answer:
    """Answer an unexpected exception; the server logs the traceback."""
    del request
    sentence = f"Internal error: {type(error).__name__}. The log has the details."
    return _error_response(type(error).__name__, sentence, 500)
