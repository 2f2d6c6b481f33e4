"""Tests patch no module of ours: a table or limit that a test changes is passed in."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "tests").rglob("*.py"))
OURS = ("modules", "tools")
PATCHING = ("setattr", "setitem", "delattr", "delitem")


def is_module(name: str) -> bool:
    """Return whether a dotted name is one of our modules or packages."""
    path = ROOT.joinpath(*name.split("."))
    return name.split(".")[0] in OURS and (path.is_dir() or path.with_suffix(".py").is_file())


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Return the dotted name of what each imported name stands for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
        elif isinstance(node, ast.Import):
            names |= {one.asname: one.name for one in node.names if one.asname}
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """Return the full dotted name of an expression; "" for any other expression."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Attribute):
        value = dotted(node.value, names)
        return f"{value}.{node.attr}" if value else ""
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def patched_constants(code: str) -> list[int]:
    """Return the lines that patch an attribute of one of our modules, or change a table in one."""
    tree = ast.parse(code)
    names = imported_names(tree)
    lines: list[int] = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        target = dotted(node.args[0], names)
        is_item = node.func.attr.endswith("item")
        is_string = isinstance(node.args[0], ast.Constant)
        owner = target.rpartition(".")[0] if is_item or is_string else target
        if node.func.attr in PATCHING and is_module(owner):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    "call",
    [
        'monkeypatch.setattr(flags, "Flags", None)',
        'monkeypatch.setattr("modules.core.flags.Flags", None)',
        'patch.setitem(FLAGS, "a", 1)',
        'monkeypatch.setitem(flags.TABLE, "a", 1)',
        'monkeypatch.delattr(resume, "INTERVAL_S")',
    ],
)
def test_a_patched_constant_is_found(call: str):
    imports = "from modules.core import flags\nfrom modules.core.flags import FLAGS\n"
    assert patched_constants(f"{imports}from tools.demo_model import resume\n{call}") == [4]


@pytest.mark.parametrize(
    "call",
    [
        'monkeypatch.setattr("os.fsync", fail)',
        'monkeypatch.setattr(socket, "connect", refuse)',
        'monkeypatch.setattr(engine.image_saver, "save", fail)',
        'monkeypatch.setitem(os.environ, "A", "b")',
        'monkeypatch.setenv("A", "b")',
    ],
)
def test_patches_of_the_system_and_of_objects_are_allowed(call: str):
    assert patched_constants(f"import os, socket\n{call}") == []


def test_no_test_patches_a_module_of_ours():
    found = {
        str(file.relative_to(ROOT)): patched_constants(file.read_text(encoding="utf-8"))
        for file in FILES
    }
    assert {name: lines for name, lines in found.items() if lines} == {}
