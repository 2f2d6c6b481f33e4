"""Runs the generator of a script without an engine: each cell gets an image of one colour, as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage
from modules.scripts.protocol import Cell, CellResult, ScriptResult, ScriptRun

Draw = Callable[[Any], Image.Image | None]  # Any: a request of each script's own class


def draw_by_seed(request: GenerationRequest) -> Image.Image:
    return Image.new("RGB", (request.width, request.height), (request.seed % 256, 0, 0))


def run_script(
    run: ScriptRun, folder: Path, draw: Draw = draw_by_seed
) -> tuple[list[Cell], list[Any], ScriptResult]:
    """Return all cells of a script with their requests, and what it returns; a cell without an image has failed."""
    cells: list[Cell] = []
    requests: list[Any] = []

    def make(cell: Cell) -> CellResult:
        request = cell.make_request()
        image = draw(request)
        cells.append(cell)
        requests.append(request)
        if image is None:
            return CellResult("failed", (), error="Too large.")
        path = folder / f"{len(cells)}.png"
        image.save(path)
        seed = getattr(request, "seed", 0)
        text = f"{getattr(request, 'prompt', '')}\nSeed: {seed}"
        return CellResult("done", (GeneratedImage(0, seed, text, path, size=image.size),))

    try:
        new: Sequence[Cell] = next(run)
        while True:
            new = run.send([make(cell) for cell in new])
    except StopIteration as end:
        return cells, requests, end.value
