"""The version of an extension, read from its files: `git` is never run on a folder that is not trusted."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from modules.core.text import escape

_MAX_BYTES = 2**20
_REF = re.compile(r"refs/[\w.+-]+(?:/[\w.+-]+)+")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_SHORT = 8
_MAX_SHOWN = 60
_VERSION = re.compile(r"version\s*=\s*[\"']([^\"']+)[\"']")


def folder_version(folder: Path) -> str:
    """Return the version in `pyproject.toml`, or one from the files of `.git`: a tag, or the first digits of the commit."""
    return _project_version(folder) or _git_version(folder / ".git")


def script_version(file: Path) -> str:
    """Return the text that a script assigns to `__version__`; "" if there is none, or if it is no Python."""
    try:
        tree = ast.parse(_read(file))
    except (SyntaxError, ValueError, RecursionError):
        return ""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if "__version__" in names and isinstance(node.value.value, str):
                return escape(node.value.value[:_MAX_SHOWN])
    return ""


def _read(file: Path) -> str:
    """Return a small text file; "" if there is none."""
    try:
        with file.open("rb") as opened:
            return opened.read(_MAX_BYTES).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def _project_version(folder: Path) -> str:
    """Return the version in the section [project]; a dynamic one does not count."""
    section = ""
    for line in _read(folder / "pyproject.toml").splitlines():
        if line.startswith("["):
            section = line.strip()
        found = _VERSION.match(line)
        if section == "[project]" and found:
            return escape(found[1][:_MAX_SHOWN])
    return ""


def _git_version(folder: Path) -> str:
    head = _read(folder / "HEAD").strip()
    packed = _packed_refs(folder)
    ref = head.removeprefix("ref: ")
    commit = head
    if ref != head:
        if not _REF.fullmatch(ref) or ".." in ref:
            return ""
        commit = _read(folder / ref).strip() or packed.get(ref, "")
    if not _COMMIT.fullmatch(commit):
        return ""
    tags = [
        name.removeprefix("refs/tags/")
        for name, target in packed.items()
        if target == commit and name.startswith("refs/tags/")
    ]
    short = commit[:_SHORT]
    return escape(f"{tags[-1][:_MAX_SHOWN]} ({short})") if tags else short


def _packed_refs(folder: Path) -> dict[str, str]:
    """Return the commit of each packed ref; of an annotated tag that of what it names."""
    refs: dict[str, str] = {}
    name = ""
    for line in _read(folder / "packed-refs").splitlines():
        if line.startswith("^"):
            refs[name] = line[1:].strip()
        elif not line.startswith("#"):
            commit, _, name = line.strip().partition(" ")
            refs[name] = commit
    return refs
