"""Loads extensions: folders in `extensions/` whose `__init__.py` has a function `register(webui)`.

A failing extension is reported and left out; it never stops the program.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from fastapi import APIRouter

from modules.core.errors import WebUIError
from modules.core.registry import Registry
from modules.core.text import escape
from modules.engine.registries import Registries, Router, Tab

logger = logging.getLogger(__name__)


def load_extensions(registries: Registries, folder: Path) -> Registries:
    """Return the registries with the rows that the extensions add, in the order of the extensions' names.

    Args:
        registries: Left as they are, but for `extension_errors`.
        folder: Has one folder per extension; it need not exist.
    """
    for number, path in enumerate(_extension_folders(registries, folder)):
        # No other package can have this name, whatever the folder is called.
        name = re.sub(r"\W", "_", path.name)
        registries = _load_extension(registries, path, f"_webui_extension_{number}_{name}")
    return registries


def _extension_folders(registries: Registries, folder: Path) -> list[Path]:
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        sentence = escape(f"The extensions in {folder} cannot be read: {error.strerror or error}.")
        registries.extension_errors.append(sentence)
        logger.warning("%s", sentence)
        return []
    return sorted(
        entry for entry in entries if entry.is_dir() and not entry.name.startswith((".", "_"))
    )


def _load_extension(registries: Registries, folder: Path, module_name: str) -> Registries:
    """Return the registries with an extension's rows; unchanged if it fails."""
    border = _Border(folder.name, registries.extension_errors)
    extended = registries.copy()
    try:
        register = getattr(_import_package(folder, module_name), "register", None)
        if not callable(register):
            raise ValueError("Its __init__.py has no function register(webui).")
        register(extended)
        extended.check_options()
    except (Exception, SystemExit) as error:  # noqa: BLE001  any code can be in an extension
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{module_name}.")]:
            del sys.modules[name]
        border.report("is not loaded", error)
        return registries
    logger.info("Extension: %s.", escape(folder.name))
    return replace(
        extended,
        tabs=_contain(extended.tabs, registries.tabs, border.contain_tab),
        routers=_contain(extended.routers, registries.routers, border.contain_router),
    )


def _import_package(folder: Path, module_name: str) -> ModuleType:
    file = folder / "__init__.py"
    if not file.is_file():
        raise ValueError("It has no __init__.py; extensions of A1111's WebUI do not work here.")
    spec = importlib.util.spec_from_file_location(
        module_name, file, submodule_search_locations=[str(folder)]
    )
    assert spec is not None, "a .py file has a spec"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _contain(
    new: Registry[Any], old: Registry[Any], contain: Callable[[Any], Any]
) -> Registry[Any]:
    """Return a registry whose rows that are not in the old one are contained."""
    known = set(old.names())
    return Registry(new.noun, [row if row.name in known else contain(row) for row in new])


@dataclass(frozen=True)
class _Border:
    """Reports what goes wrong in one extension, instead of passing it on.

    Args:
        extension: Its name.
        errors: Receives a sentence for each problem.
    """

    extension: str
    errors: list[str]

    def report(self, problem: str, error: BaseException) -> str:
        """Log an error and return it as a sentence."""
        reason = str(error)
        if isinstance(error, SystemExit):
            reason = "It tried to end the program."
        elif not isinstance(error, WebUIError | ValueError) or not reason:
            reason = f"{type(error).__name__}: {reason}. The log has the details."
        sentence = escape(f"The extension '{self.extension}' {problem}. {reason}")
        self.errors.append(sentence)
        logger.warning("%s", sentence, exc_info=error)
        return sentence

    def contain_tab(self, tab: Tab) -> Tab:
        """Return the tab with a `build` that shows an error in the tab."""
        if tab.build is None:
            return tab
        build_tab = tab.build

        def build(engine: Any) -> None:
            import gradio as gr

            from modules.ui.notices import notice

            try:
                build_tab(engine)
            except Exception as error:  # noqa: BLE001  any code can be in an extension
                sentence = self.report(f"cannot build its tab '{tab.name}'", error)
                gr.HTML(notice("error", sentence), padding=False)

        return replace(tab, build=build)

    def contain_router(self, router: Router) -> Router:
        """Return the router with a `build` that returns no routes when it fails."""

        def build(engine: Any) -> APIRouter:
            try:
                built = router.build(engine)
                if not isinstance(built, APIRouter):
                    raise ValueError(f"It is no APIRouter, but a {type(built).__name__}.")
            except Exception as error:  # noqa: BLE001  any code can be in an extension
                self.report(f"cannot add its routes '{router.name}'", error)
                return APIRouter()
            return built

        return replace(router, build=build)
