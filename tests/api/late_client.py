"""A client of an app that gets its routes as they are asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import BaseRoute

from modules.api.routes import add_answers, add_router, list_routers
from modules.engine.engine import Engine

# What each router answers, by the function that builds it; known from the first time that it was built.
Routes = dict[Callable[..., Any], list[BaseRoute]]


class LateClient(TestClient):
    """A client of the routes of one engine.

    FastAPI takes a fifth of a second to make them all, more than most tests take, and a test asks for few of them.

    Args:
        engine: Answers.
        known: Shared by all clients, which add what they learn.
        with_page: Whether there are the routes that only the page calls.
        options: Of the client.
    """

    def __init__(
        self, engine: Engine, known: Routes, *, with_page: bool = True, **options: Any
    ) -> None:
        served = FastAPI(docs_url=None)
        add_answers(served)
        super().__init__(served, **options)
        self._served, self._known, self._lock = served, known, threading.Lock()
        self._waiting = list_routers(engine, with_page=with_page)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request once the routers that answer its path are there."""
        with self._lock:
            self._add_routers(request.method, request.url.path)
        return super().send(request, **options)

    def _add_routers(self, method: str, path: str) -> None:
        scope = {"type": "http", "method": method, "path": path, "headers": []}
        wants_all = path == self._served.openapi_url  # which describes them
        for build in list(self._waiting):
            routes = self._known.get(build.func)
            is_other = routes and not any(route.matches(dict(scope))[0].value for route in routes)
            if is_other and not wants_all:
                continue
            router = build()
            self._known[build.func] = router.routes
            add_router(self._served, router)
            self._waiting.remove(build)
