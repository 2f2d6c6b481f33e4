from __future__ import annotations

from pathlib import Path

import pytest

LONGEST = 400
FILES = sorted((Path(__file__).resolve().parents[2] / "modules").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-2:]))
def test_a_file_holds_one_idea(file: Path):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_a_typical_file_is_short():
    lengths = sorted(len(file.read_text(encoding="utf-8").splitlines()) for file in FILES)
    assert lengths[len(lengths) // 2] <= 150
