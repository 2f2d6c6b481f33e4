"""The backend takes the size and channels of latents from the loaded model's LatentFormat, not from a number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BACKEND = Path(__file__).resolve().parents[2] / "modules" / "backend"
FILES = sorted(BACKEND.rglob("*.py"))
# An eighth of pixels, the pixels of cells, or four channels.
NUMBERS = re.compile(r"//\s*8\b|(?<!\*)\*\s*8\b|\b8\s*\*|channels\s*=\s*4\b|\(1, 4, ")
MEMORY = "_VAE_BYTES = 8 * 4"  # bytes per value, see backend/memory/estimate.py


@pytest.mark.parametrize("file", FILES, ids=lambda file: "/".join(file.parts[-2:]))
def test_no_size_of_latents_is_a_number(file: Path):
    code = file.read_text(encoding="utf-8").replace(MEMORY, "")
    assert [line.strip() for line in code.splitlines() if NUMBERS.search(line)] == []
