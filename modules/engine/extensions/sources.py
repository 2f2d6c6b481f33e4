"""Finds extensions: folders, scripts and installed packages. Runs no code of theirs."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from modules.core.paths import Paths
from modules.core.text import escape
from modules.engine.extensions.version import folder_version, script_version

ExtensionKind = Literal["package", "folder", "script"]
ENTRY_POINTS = "stable_diffusion_webui.extensions"
_MAX_SCRIPT_BYTES = 4 * 2**20
# What A1111 looks for in the folder of an extension, and imports that only its scripts have.
_A1111_PARTS = {"scripts", "javascript", "install.py", "preload.py"}
_A1111_IMPORTS = {
    *("processing", "script_callbacks", "scripts", "scripts_postprocessing"),
    *("shared", "ui_components", "devices"),
}


@dataclass(frozen=True)
class ExtensionSource:
    """Where an extension is.

    Args:
        id: Its identity, as in `disabled_extensions`; of a folder its name, as in A1111's file.
        name: As the page shows it.
        kind: An installed package, a folder of `extensions/`, or a file of `scripts/`.
        version: From its metadata, "" if it has none.
        path: The folder, or the file; None for a package.
        entry_point: Of a package.
        distribution: Name of the package that pip knows.
    """

    id: str
    name: str
    kind: ExtensionKind
    version: str = ""
    path: Path | None = None
    entry_point: EntryPoint | None = None
    distribution: str = ""


@dataclass(frozen=True)
class FoundExtensions:
    """What `find_extensions` has found.

    Args:
        sources: In the order in which they are loaded: packages, folders, scripts, each by name.
        problems: Sentences about folders that cannot be read.
    """

    sources: tuple[ExtensionSource, ...]
    problems: tuple[str, ...] = ()


def find_extensions(paths: Paths) -> FoundExtensions:
    """Return the extensions of the data folder and of the environment's packages."""
    problems: list[str] = []
    sources = [
        *_packages(entry_points(group=ENTRY_POINTS)),
        *(
            ExtensionSource(
                entry.name, escape(entry.name), "folder", folder_version(entry), path=entry
            )
            for entry in _entries(paths.extensions, problems)
            if entry.is_dir()
        ),
        *(
            ExtensionSource(
                f"scripts/{entry.name}", escape(entry.name), "script", script_version(entry), entry
            )
            for entry in _entries(paths.scripts, problems)
            if entry.suffix == ".py" and entry.is_file()
        ),
    ]
    return FoundExtensions(tuple(sources), tuple(problems))


def _packages(found: Iterable[EntryPoint]) -> list[ExtensionSource]:
    named = {entry.name: entry for entry in found}
    return [
        ExtensionSource(
            f"package:{name}",
            escape(name),
            "package",
            escape(entry.dist.version if entry.dist else ""),
            entry_point=entry,
            distribution=escape(entry.dist.name if entry.dist else name),
        )
        for name, entry in sorted(named.items())
    ]


def _entries(folder: Path, problems: list[str]) -> list[Path]:
    """Return what is in a folder by name; hidden and private entries are no extensions."""
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(
            escape(f"The extensions in {folder} cannot be read: {error.strerror or error}.")
        )
        return []
    return sorted(entry for entry in entries if not entry.name.startswith((".", "_")))


class ForeignExtension(ValueError):
    """What has been found is for A1111's WebUI."""


def check_code(file: Path) -> None:
    """Check that a file is there and has a function `register`, without running it.

    Raises:
        ForeignExtension: it is for A1111's WebUI; its code is not run.
        ValueError: it has no such function.
        OSError: it cannot be read.
        SyntaxError: it is no Python.
    """
    if not file.is_file():
        raise ForeignExtension(
            f"It has no {file.name}; extensions of A1111's WebUI do not work here."
        )
    data = file.read_bytes()
    if len(data) > _MAX_SCRIPT_BYTES:
        raise ValueError(f"{file.name} has {len(data)} bytes; that is no code.")
    tree = ast.parse(data, file.name)
    if not any(_binds_register(node) for node in ast.walk(tree)):
        sentence = f"Its {file.name} has no function register(webui)"
        if file.name == "__init__.py" and _A1111_PARTS & {
            one.name for one in file.parent.iterdir()
        }:
            raise ForeignExtension(f"{sentence}; extensions of A1111's WebUI do not work here.")
        if _is_of_a1111(tree):
            raise ForeignExtension(f"{sentence}; scripts of A1111's WebUI do not work here.")
        raise ValueError(f"{sentence}.")


def _binds_register(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef):
        return node.name == "register"
    if isinstance(node, ast.ImportFrom):
        return any((alias.asname or alias.name) in ("register", "*") for alias in node.names)
    return isinstance(node, ast.Name) and node.id == "register" and isinstance(node.ctx, ast.Store)


def _is_of_a1111(tree: ast.Module) -> bool:
    """Return whether a file uses what only A1111's WebUI has."""
    return any(
        isinstance(node, ast.Import | ast.ImportFrom)
        and (getattr(node, "module", None) or node.names[0].name).split(".")[0] == "modules"
        and any(_A1111_IMPORTS & set(alias.name.split(".")) for alias in node.names)
        for node in ast.walk(tree)
    )
