"""The border around an extension: what fails on its side is a sentence on this one, and never stops the program."""

from __future__ import annotations

import html
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import wraps
from typing import Any, cast
from urllib.parse import quote

from fastapi import APIRouter, HTTPException
from fastapi.routing import APIRoute
from PIL import Image

from modules.core.errors import WebUIError
from modules.core.registry import Registry
from modules.engine.extensions.record import ExtensionRecord
from modules.engine.registries import Registries, Router, Tab
from modules.models.merging.recipes import Recipe
from modules.models.upscaling.upscalers import Upscaler, UpscalerFunction
from modules.plan.step_extensions import ExtensionFailed, naming_extension
from modules.scripts.protocol import Cell

# The functions of rows whose errors end a job, by table.
_RUNS: Mapping[str, tuple[str, ...]] = {
    "samplers": ("run",),
    "schedules": ("sigmas", "sdxl_sigmas"),
    "scripts": (
        *("run", "prepare", "requests_to_check", "read_list", "list_choices"),
        *("cell_count", "table", "remark", "shows_cells"),
    ),
}
# Those without whose answer it goes on, and what it goes on with.
_FALLBACKS: Mapping[str, Mapping[str, object]] = {
    "codecs": {"write": {}, "read": {}},
    "dialects": {"matches": False},
    "json_formats": {"find": None, "extra_pairs": {}},
    "filename_tokens": {"compute": ""},
}


class Border:
    """Keeps the errors of one extension on its side.

    Args:
        record: Receives them.
    """

    def __init__(self, record: ExtensionRecord) -> None:
        self._record = record

    def contain(self, new: Registries, old: Registries) -> Registries:
        """Return the registries with the rows that are not in the old ones contained."""
        contained: dict[str, Registry[Any]] = {
            "tabs": _contain(new.tabs, old.tabs, self._contain_tab),
            "routers": _contain(new.routers, old.routers, self._contain_router),
            "step_extensions": _contain(
                new.step_extensions,
                old.step_extensions,
                lambda row: replace(row, report=self._record.report),
            ),
        }
        contained["upscalers"] = _contain(new.upscalers, old.upscalers, self._contain_upscaler)
        contained["recipes"] = _contain(new.recipes, old.recipes, self._contain_recipe)
        for table, names in _RUNS.items():
            contained[table] = self._contain_calls(new, old, table, dict.fromkeys(names))
        for table, fallbacks in _FALLBACKS.items():
            contained[table] = self._contain_calls(new, old, table, fallbacks)
        return replace(new, **contained)

    def _contain_calls(
        self, new: Registries, old: Registries, table: str, calls: Mapping[str, object]
    ) -> Registry[Any]:
        """Return a table whose new rows have their functions contained, those of these names."""

        def contain(row: Any) -> Any:
            functions = {name: getattr(row, name) for name in calls}
            changes = {
                name: self._name_errors(function, row.name)
                if table in _RUNS
                else self._with_fallback(function, row.name, calls[name])
                for name, function in functions.items()
                if function is not None
            }
            return replace(row, **changes)

        return _contain(getattr(new, table), getattr(old, table), contain)

    def _name_errors(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return a function or generator whose errors are sentences that name the extension."""
        report = self._record.report
        if inspect.isgeneratorfunction(function):

            @wraps(function)
            def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
                with naming_extension(report, part):
                    return (yield from self._contain_cells(function(*args, **kwargs), part))

            return run

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with naming_extension(report, part):
                return function(*args, **kwargs)

        return call

    def _contain_cells(
        self, steps: Generator[Any, Any, Any], part: str
    ) -> Generator[Any, Any, Any]:
        """Yield what a generator does; the requests of a script's cells are made later, on this side."""
        sent: Any = None
        with closing(steps):
            while True:
                try:
                    step = steps.send(sent)
                except StopIteration as end:
                    return end.value
                sent = yield self._contain_requests(step, part)

    def _contain_requests(self, step: Any, part: str) -> Any:
        if not isinstance(step, list | tuple):
            return step
        steps = cast("Sequence[object]", step)
        if not all(isinstance(cell, Cell) for cell in steps):
            return step
        cells = cast("Sequence[Cell]", steps)
        return [
            replace(cell, make_request=self._name_errors(cell.make_request, part)) for cell in cells
        ]

    def _with_fallback(
        self, function: Callable[..., Any], part: str, fallback: object
    ) -> Callable[..., Any]:
        """Return a function that returns the fallback where the extension's fails: no picture is lost for its sake."""

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except ValueError:  # what a codec says of a value that it cannot read
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001  any code can be in an extension
                self._record.report(f"failed in '{part}'", error)
                return fallback

        return call

    def _contain_upscaler(self, row: Upscaler) -> Upscaler:
        """Return the upscaler with a function that names the extension where it returns no image."""
        if not isinstance(row.method, UpscalerFunction):
            return row
        enlarge = row.method.enlarge

        def enlarge_image(image: Image.Image, scale: float) -> Image.Image:
            enlarged: object = enlarge(image, scale)
            if not isinstance(enlarged, Image.Image):
                raise ValueError(f"It must return an image, not a {type(enlarged).__name__}.")
            return enlarged.convert("RGB")

        function = self._name_errors(enlarge_image, row.name)
        return replace(row, method=UpscalerFunction(function))

    def _contain_recipe(self, row: Recipe) -> Recipe:
        """Return the recipe with where its formula's errors are kept; the backend looks at what it returns."""
        if row.formula is None:
            raise ValueError(f"The recipe '{row.name}' has no formula.")
        return replace(row, report=self._record.report)

    def _contain_tab(self, tab: Tab) -> Tab:
        """Return the tab with a `build` that shows an error in the tab, and its script's address."""
        if tab.script:
            if self._record.assets is None:
                raise ValueError(
                    f"The tab '{tab.name}' has a script, but there is no folder assets/."
                )
            name = f"{quote(self._record.source.id, safe='')}/{quote(tab.script)}"
            tab = replace(tab, script=f"/extensions/{name}")
        if tab.build is None:
            return tab
        build_tab = tab.build

        def build(engine: Any) -> None:
            import gradio as gr

            try:
                build_tab(engine)
            except (Exception, SystemExit) as error:  # noqa: BLE001  any code can be in an extension
                sentence = self._record.report(f"cannot build its tab '{tab.name}'", error)
                text = f'<p class="notice error" role="status">{html.escape(sentence)}</p>'
                gr.HTML(text, padding=False)

        return replace(tab, build=build)

    def _contain_router(self, router: Router) -> Router:
        """Return the router with a `build` that returns no routes when it fails."""

        def build(engine: Any) -> APIRouter:
            try:
                built = router.build(engine)
                if not isinstance(built, APIRouter):
                    raise ValueError(f"It is no APIRouter, but a {type(built).__name__}.")
            except (Exception, SystemExit) as error:  # noqa: BLE001  any code can be in an extension
                self._record.report(f"cannot add its routes '{router.name}'", error)
                return APIRouter()
            for route in built.routes:
                if isinstance(route, APIRoute):
                    route.endpoint = self._contain_endpoint(route.endpoint, route.path)
            return built

        return replace(router, build=build)

    def _contain_endpoint(self, endpoint: Callable[..., Any], path: str) -> Callable[..., Any]:
        """Return a route's function that answers with a sentence where the extension's raises, or tries to exit.

        A SystemExit would end the server's loop.
        """

        def fail(error: BaseException) -> ExtensionFailed:
            return ExtensionFailed(self._record.report(f"cannot answer {path}", error))

        if inspect.iscoroutinefunction(endpoint):
            answer_later: Callable[..., Awaitable[Any]] = endpoint

            @wraps(endpoint)
            async def answer_async(*args: Any, **kwargs: Any) -> Any:
                try:
                    return await answer_later(*args, **kwargs)
                except (HTTPException, WebUIError):
                    raise
                except (Exception, SystemExit) as error:
                    raise fail(error) from error

            return answer_async

        @wraps(endpoint)
        def answer(*args: Any, **kwargs: Any) -> Any:
            try:
                return endpoint(*args, **kwargs)
            except (HTTPException, WebUIError):
                raise
            except (Exception, SystemExit) as error:
                raise fail(error) from error

        return answer


def _contain(
    new: Registry[Any], old: Registry[Any], contain: Callable[[Any], Any]
) -> Registry[Any]:
    """Return a registry whose rows that are not in the old one are contained."""
    known = set(old.names())
    return Registry(new.noun, [row if row.name in known else contain(row) for row in new])
