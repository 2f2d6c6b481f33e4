"""An X/Y/Z plot as a group of jobs: its grids, its table, what a failing cell leaves, and a restart in the middle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from modules.api.internal.output import output_router
from modules.api.internal.scripts import scripts_router
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.infotext import parse_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

CAT = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=5)
SIX: dict[str, Any] = {
    "x_type": "Seed",
    "x_values": "1-3",
    "y_type": "CFG Scale",
    "y_values": "4, 5",
}


def plot(engine: Engine, **args: Any) -> JobGroup:
    group = engine.run_script("X/Y/Z plot", CAT, {**SIX, **args})
    assert group.wait(PATIENCE_S)
    return group


def test_the_grid_holds_the_images_of_all_cells_and_its_infotext_names_the_axes(engine: Engine):
    group = plot(engine, draw_legend=False)
    *cells, grid = group.status().images
    assert [(image.kind, image.seed) for image in cells] == [
        ("image", seed) for seed in (1, 2, 3, 1, 2, 3)
    ]
    with Image.open(grid.path) as whole:
        assert whole.size == (3 * 64, 2 * 64)
        for index, cell in enumerate(cells):
            x, y = 64 * (index % 3), 64 * (index // 3)
            with Image.open(cell.path) as image:
                assert whole.crop((x, y, x + 64, y + 64)).tobytes() == image.tobytes()
    pairs = parse_infotext(grid.infotext).pairs
    assert {
        key: pairs[key] for key in pairs if key.startswith(("Script", "X ", "Y ", "Fixed"))
    } == {
        "Script": "X/Y/Z plot",
        "X Type": "Seed",
        "X Values": "1-3",
        "Fixed X Values": "1, 2, 3",
        "Y Type": "CFG Scale",
        "Y Values": "4, 5",
    }


def test_a_legend_margins_and_grids_of_each_z(engine: Engine):
    group = plot(engine, z_type="Steps", z_values="1,2", margin_size=4, include_sub_grids=True)
    grids = [image for image in group.status().images if image.kind == "grid"]
    whole, first, second = (image.size for image in grids)
    assert first == second
    assert first[0] == 48 + 3 * 64 + 2 * 4  # three quarters of a cell for the captions of rows
    assert first[1] > 2 * 64 + 4
    assert whole[0] == 2 * first[0]
    assert whole[1] > first[1]
    assert "Z Type: Steps" in grids[0].infotext
    assert "Z Type" not in grids[1].infotext
    assert "Steps: 2" in grids[2].infotext


def test_a_failing_cell_leaves_a_black_place_and_the_others_are_kept(
    engine: Engine, executor: FakeExecutor
):
    executor.failures.append(UserError("the device is full"))
    group = plot(engine, draw_legend=False, y_type="Nothing")
    status = group.status()
    assert [cell.state for cell in group.cells()] == ["failed", "done", "done"]
    assert status.state == "done"
    with Image.open(status.images[-1].path) as whole:
        assert whole.crop((0, 0, 64, 64)).getextrema() == ((0, 0),) * 3
    assert any("the device is full" in note for note in status.notes)


def test_cells_are_answered_row_by_row_in_whichever_order_they_ran(engine: Engine):
    group = plot(engine, x_type="VAE", x_values="None, Automatic", y_type="Seed", y_values="1, 2")
    assert [image.seed for image in group.status().images] == [1, 2, 1, 2, 1]
    grid, *cells = group.answered_images()
    assert (grid.kind, [image.seed for image in cells]) == ("grid", [1, 1, 2, 2])


def test_too_many_cells_are_refused_in_one_sentence(engine: Engine):
    with pytest.raises(UserError) as error:
        engine.run_script(
            "X/Y/Z plot",
            CAT,
            {"x_type": "Seed", "x_values": "1-100", "y_type": "Steps", "y_values": "1-100"},
        )
    assert str(error.value) == (
        "The X/Y/Z plot would make 10000 pictures; at most 5000 are allowed."
        " Use fewer values, or raise the limit in the settings of the queue."
    )


def test_a_name_that_does_not_exist_is_refused_before_the_first_cell(engine: Engine):
    with pytest.raises(Exception, match=r"X axis \(Sampler\), value 'Nope': There is no sampler"):
        engine.run_script("X/Y/Z plot", CAT, {"x_type": "Sampler", "x_values": "Euler, Nope"})
    assert not engine.jobs()


def client_of(engine: Engine) -> TestClient:
    app = FastAPI()
    app.include_router(scripts_router(engine))
    app.include_router(output_router(engine))
    return TestClient(app)


def cells_of(client: TestClient, job_id: str) -> dict[str, Any]:
    return client.get(f"/internal/jobs/{job_id}/cells").json()


def test_the_table_is_the_same_before_and_after_a_restart_which_goes_on(
    start_engine: Callable[..., Any],
):
    engine, executor = start_engine()
    executor.hold_at(2)
    group = engine.run_script("X/Y/Z plot", CAT, SIX)
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)
    table = cells_of(client_of(engine), group.id)
    assert (table["columns"], table["rows"]) == (
        ["Seed: 1", "Seed: 2", "Seed: 3"],
        ["CFG Scale: 4.0", "CFG Scale: 5.0"],
    )
    assert [cell["place"] for cell in table["cells"]][:4] == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]]  # fmt: skip
    assert [cell["state"] for cell in table["cells"]] == ["done", "running", *["queued"] * 4]
    executor.release_at_stop()
    engine.stop()

    engine, executor = start_engine()
    assert engine.job(group.id).wait(PATIENCE_S)
    assert len(executor.seen) == 5
    client = client_of(engine)
    ended = cells_of(client, group.id)
    assert [(cell["state"], cell["first_image"], cell["image_count"]) for cell in ended["cells"]] == [
        ("done", number, 1) for number in range(6)
    ]  # fmt: skip
    result = client.get(f"/internal/jobs/{group.id}/result").json()
    assert (result["has_table"], result["shows_cells"]) == (True, False)
    assert result["pictures"][-1]["kind"] == "grid"
    engine.stop()
    engine, _ = start_engine()
    assert cells_of(client_of(engine), group.id) == ended
