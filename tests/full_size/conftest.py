"""Room for gigabytes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for gigabytes, which pytest would keep for three more runs after a failure."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
