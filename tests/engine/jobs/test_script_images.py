"""Images that a script makes of those of its cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image
from pydantic import BaseModel

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.engine.jobs.job_status import JobStatus
from modules.images.grid import make_grid
from modules.images.save import read_image
from modules.params.requests.base import GenerationRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.params.settings.saving import GridSettings
from modules.scripts.protocol import Cell, Script, ScriptImage, ScriptResult, ScriptRun
from tests.engine.fake_executor import PATIENCE_S

CAT = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=5)


class Tiles(BaseModel, frozen=True, extra="forbid"):
    """Tiles of one image."""

    count: int = 2
    is_shown: bool = True


def run_tiles(request: GenerationRequest, args: Tiles) -> ScriptRun:
    def make_cell(number: int) -> Cell:
        return Cell(
            f"tile {number}",
            lambda: request.replace(seed=request.seed + number),
            is_shown=args.is_shown,
        )

    results = yield [make_cell(number) for number in range(args.count)]
    made = [image for result in results for image in result.images]
    grid = make_grid([read_image(image.path) for image in made], 1, Settings())
    assert grid is not None
    kind = "grid" if args.is_shown else "image"
    return ScriptResult(images=(ScriptImage(grid, f"tiles of\n{made[0].infotext}", 5, kind),))


TILES = Script("Tiles", run_tiles, Tiles, cell_count=lambda args: args.count, noun="tile")


@pytest.fixture
def tiled(engine: Engine) -> Engine:
    add_script(engine)
    return engine


def add_script(engine: Engine) -> None:
    engine.registries.scripts.add(TILES)


def run(engine: Engine, **args: Any) -> JobStatus:
    group = engine.run_script("Tiles", CAT, args)
    assert group.wait(PATIENCE_S)
    return group.status()


def test_a_grid_is_saved_as_one_and_comes_after_the_images_of_the_cells(tiled: Engine):
    status = run(tiled)
    assert [image.kind for image in status.images] == ["image", "image", "grid"]
    grid = status.images[2]
    assert (grid.path.name, grid.path.parent.parent.name) == ("grid-0000.png", "txt2img-grids")
    assert (grid.seed, grid.size, grid.index) == (5, (128, 64), 2)
    with Image.open(grid.path) as file:
        assert file.info["parameters"].startswith("tiles of\na cat\n")


def test_images_of_hidden_cells_are_neither_shown_nor_in_the_outputs_folder(tiled: Engine):
    status = run(tiled, is_shown=False)
    assert [image.size for image in status.images] == [(128, 64)]
    assert [path.name for path in tiled.paths.outputs.rglob("*.png")] == ["00000-5.png"]


@pytest.mark.parametrize("is_shown", [False, True])
def test_an_ended_group_has_the_same_images_after_a_restart(
    start_engine: Callable[..., Any], is_shown: bool
):
    engine, _ = start_engine(prepare=add_script)
    group = engine.run_script("Tiles", CAT, {"is_shown": is_shown})
    assert group.wait(PATIENCE_S)
    engine.stop()
    again = start_engine(prepare=add_script)[0].status(group.id)
    assert again.images == group.status().images


@pytest.mark.parametrize("is_lost", [False, True])
def test_hidden_images_of_an_interrupted_group_are_made_again_only_if_they_are_lost(
    start_engine: Callable[..., Any], is_lost: bool
):
    engine, executor = start_engine(prepare=add_script)
    executor.hold_at(2)
    group = engine.run_script("Tiles", CAT, {"is_shown": False})
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    executor.release_at_stop()
    engine.queue.store.close()
    group.interrupt()
    engine.stop()
    if is_lost:
        for path in engine.image_saver.unsaved_dir.rglob("*.png"):
            path.unlink()

    engine, executor = start_engine(prepare=add_script)
    restored = engine.job(group.id)
    assert isinstance(restored, JobGroup)
    assert restored.wait(PATIENCE_S)
    assert len(executor.seen) == (2 if is_lost else 1)
    assert [image.size for image in restored.status().images] == [(128, 64)]


def test_what_cannot_be_drawn_is_a_note_and_the_images_of_the_cells_stay(engine: Engine):
    def draw(settings: GridSettings) -> Image.Image:
        raise UserError(f"No grid on {settings.grid_background_color}.")

    def run_refused(request: GenerationRequest, args: Tiles) -> ScriptRun:
        del args
        yield [Cell("one", lambda: request)]
        return ScriptResult(images=(ScriptImage(draw, "", 5, "grid"),))

    engine.registries.scripts.add(replace(TILES, name="Refused", run=run_refused))
    group = engine.run_script("Refused", CAT, {})
    assert group.wait(PATIENCE_S)
    status = group.status()
    assert (status.state, status.notes) == ("done", ("No grid on #ffffff.",))
    assert [image.kind for image in status.images] == ["image"]
