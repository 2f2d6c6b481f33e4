"""Those of these tests that are marked slow write many gigabytes, so they run only when `-m slow` asks for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "slow" in config.getoption("-m"):
        return
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="writes gigabytes; run with -m slow"))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for gigabytes, which pytest would keep for three more runs after a failure."""
    yield tmp_path
    shutil.rmtree(tmp_path, ignore_errors=True)
