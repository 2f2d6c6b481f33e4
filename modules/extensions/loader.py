"""Loads extensions: whatever has a function `register(webui)`, which gets a copy of the tables to add rows to.

A failing extension adds nothing and is reported; it never stops the program.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from modules.core.registry import Registry
from modules.core.text import escape
from modules.engine.extensions.choice import ExtensionChoice, LoadingMark
from modules.engine.extensions.record import ExtensionRecord
from modules.engine.extensions.sources import ForeignExtension, FoundExtensions, check_code
from modules.engine.registries import Registries
from modules.extensions.border import Border

logger = logging.getLogger(__name__)

# Even one that imports torch from a slow disk needs less.
TIMEOUT_S = 60.0
_SLOW_S = 2.0
_ENDED = (
    "The program ended while the extension '{}' was being loaded, so it is disabled. Enable it in the Extensions "
    "tab to try again."
)

_FOREIGN = "{} extensions and scripts of A1111's WebUI are not loaded: they do not work here. The Extensions tab lists them."


def load_extensions(
    registries: Registries,
    found: FoundExtensions,
    disabled: Mapping[str, str] = MappingProxyType({}),
    mark: LoadingMark | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Registries:
    """Return the registries with the rows that the extensions add, in the order in which they were found.

    Args:
        registries: Left as they are, but for `extensions` and `extension_errors`.
        found: The extensions.
        disabled: Why an extension is not loaded, by its id.
        mark: Names the one that is being loaded.
        timeout_s: How long each may take.
    """
    mark = mark or LoadingMark()
    foreign: list[str] = []  # sentences about what is for A1111's WebUI
    for problem in found.problems:
        registries.extension_errors.append(problem)
        logger.warning("%s", problem)
    for number, source in enumerate(found.sources):
        record = ExtensionRecord(source, report_to=registries.extension_errors.append)
        registries.extensions.append(record)
        if source.id in disabled:
            record.state, record.reason = "disabled", disabled[source.id]
            continue
        # No other package can have this name, whatever the folder is called.
        word = re.sub(r"\W", "_", source.name)
        module_name = f"_webui_extension_{number}_{word}"
        began = time.perf_counter()
        with mark.over(source.id):
            registries = _load_extension(registries, record, module_name, timeout_s, foreign)
        record.seconds = time.perf_counter() - began
        if record.state == "loaded" and record.seconds > _SLOW_S:
            logger.warning("The extension '%s' took %.1f s to load.", source.name, record.seconds)
    # A data folder of A1111's has dozens of them.
    summary = foreign if len(foreign) < 2 else [_FOREIGN.format(len(foreign))]
    registries.extension_errors.extend(summary)
    return registries


def disabled_extensions(
    found: FoundExtensions, choice: ExtensionChoice, mark: LoadingMark, *, are_loaded: bool
) -> dict[str, str]:
    """Return why each extension that is not to be loaded is not, by its id.

    Args:
        found: The extensions.
        choice: What the user has disabled; the one that ended the program at its last start is added to it.
        mark: Tells which one that is.
        are_loaded: Whether the command line lets any be loaded.
    """
    if not are_loaded or choice.all_are_disabled():
        reason = (
            "All extensions are disabled in the Extensions tab."
            if are_loaded
            else "The command line says to start without extensions."
        )
        return {source.id: reason for source in found.sources}
    culprit = mark.take_culprit()
    disabled = dict.fromkeys(choice.disabled(), "Disabled in the Extensions tab.")
    source = next((one for one in found.sources if one.id == culprit), None)
    if source is not None:
        disabled[culprit] = _ENDED.format(source.name)
        logger.warning("%s", disabled[culprit])
        choice.set_enabled(culprit, False)
    return disabled


def _load_extension(
    registries: Registries,
    record: ExtensionRecord,
    module_name: str,
    timeout_s: float,
    foreign: list[str],
) -> Registries:
    """Return the registries with an extension's rows; unchanged if it fails.

    Args:
        registries: The tables so far.
        record: Of the extension; receives what becomes of it.
        module_name: The name under which it is imported.
        timeout_s: How long it may take.
        foreign: Receives the sentence about one that is for A1111's WebUI.
    """
    extended = registries.copy()

    def load() -> None:
        register = _find_register(record, module_name)
        register(extended)
        extended.check_options()

    try:
        _run_in_time(load, timeout_s)
        contained = Border(record).contain(extended, registries)
    except (Exception, SystemExit) as error:  # noqa: BLE001  any code can be in an extension
        for name in [name for name in sys.modules if f"{name}.".startswith(f"{module_name}.")]:
            del sys.modules[name]
        record.state, record.assets = "failed", None
        if isinstance(error, ForeignExtension):
            record.report_to = foreign.append
        record.report("is not loaded", error)
        return registries
    record.adds = _added_rows(extended, registries)
    logger.info("Extension: %s.", record.source.name)
    return contained


def _find_register(record: ExtensionRecord, module_name: str) -> Callable[[Registries], object]:
    source, module = record.source, None
    if source.entry_point is not None:
        loaded: Any = source.entry_point.load()  # a module, or its function
        if callable(loaded):
            return loaded
        module = loaded
        folders = list(getattr(module, "__path__", ()))
        assets = Path(folders[0]) / "assets" if folders else None
        where = source.entry_point.module
    else:
        assert source.path is not None, "folders and scripts have a path"
        is_folder = source.kind == "folder"
        file = source.path / "__init__.py" if is_folder else source.path
        check_code(file)
        module = _import_file(file, module_name, is_package=is_folder)
        assets = source.path / "assets" if is_folder else None
        where = file.name
    register = getattr(module, "register", None)
    if not callable(register):
        raise ValueError(f"Its {where} has no function register(webui).")
    record.assets = assets
    return register


def _import_file(file: Path, module_name: str, *, is_package: bool) -> ModuleType:
    folders = [str(file.parent)] if is_package else None
    spec = importlib.util.spec_from_file_location(
        module_name, file, submodule_search_locations=folders
    )
    assert spec is not None, "a .py file has a spec"
    assert spec.loader is not None, "a .py file has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module


def _run_in_time(load: Callable[[], None], timeout_s: float) -> None:
    """Run a function in a thread of its own, and wait for it only so long.

    Raises:
        ValueError: it takes longer; its thread goes on, and what it does counts for nothing.
        BaseException: whatever it raises.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            load()
        except BaseException as error:  # noqa: BLE001  raised again below
            errors.append(error)

    thread = threading.Thread(target=run, name="extension", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if thread.is_alive():
        raise ValueError(f"It was not ready after {timeout_s:g} s.")
    if errors:
        raise errors[0]


def _added_rows(new: Registries, old: Registries) -> tuple[str, ...]:
    """Return what one extension has added, such as "sampler: Jump"."""
    added: list[str] = []
    for one in fields(new):
        table: object = getattr(new, one.name)
        if isinstance(table, Registry):
            known = set(getattr(old, one.name).names())
            names = [str(name) for name in table.names() if name not in known]  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - rows of any table
            added += [escape(f"{table.noun}: {name}") for name in names]
    return tuple(added)
