"""Runs the generator of a script without an engine: each cell gets an image of one colour, as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage
from modules.scripts.protocol import Cell, CellResult, ScriptResult, ScriptRun

Draw = Callable[[GenerationRequest], Image.Image | None]


def draw_by_seed(request: GenerationRequest) -> Image.Image:
    return Image.new("RGB", (request.width, request.height), (request.seed % 256, 0, 0))


def run_script(
    run: ScriptRun, folder: Path, draw: Draw = draw_by_seed
) -> tuple[list[Cell], list[GenerationRequest], ScriptResult]:
    """Return all cells of a script with their requests, and what it returns; a cell without an image has failed."""
    cells: list[Cell] = []
    requests: list[GenerationRequest] = []

    def make(cell: Cell) -> CellResult:
        request = cell.make_request()
        assert isinstance(request, GenerationRequest)
        image = draw(request)
        cells.append(cell)
        requests.append(request)
        if image is None:
            return CellResult("failed", (), error="Too large.")
        path = folder / f"{len(cells)}.png"
        image.save(path)
        text = f"{request.prompt}\nSeed: {request.seed}"
        return CellResult("done", (GeneratedImage(0, request.seed, text, path, size=image.size),))

    try:
        new: Sequence[Cell] = next(run)
        while True:
            new = run.send([make(cell) for cell in new])
    except StopIteration as end:
        return cells, requests, end.value
