from __future__ import annotations

from pathlib import Path

from modules.core.version import NAME, VERSION


def test_name_and_version_are_those_of_pyproject(root: Path):
    lines = (root / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert f'name = "{NAME}"' in lines
    assert f'version = "{VERSION}"' in lines
