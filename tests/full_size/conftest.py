"""A temporary folder for full-size checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that is removed afterwards; pytest would keep its gigabytes for three more runs after a failure."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
