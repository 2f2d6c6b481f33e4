from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.engine.jobs.job_group import JobGroup
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.settings.saving import GridSettings
from modules.scripts.loopback import LoopbackArgs, denoising_strength, run_loopback
from tests.engine.fake_executor import PATIENCE_S
from tests.scripts.script_runs import run_script

PLAIN = ImageField.from_pil(Image.new("RGB", (64, 64), "blue"))
REQUEST = Img2ImgRequest(
    prompt="a cat",
    init_image=PLAIN,
    denoising_strength=0.6,
    width=64,
    height=64,
    steps=2,
    seed=5,
    sampler_name="Euler",
)


def test_each_loop_repaints_the_result_of_the_one_before(tmp_path: Path):
    args = LoopbackArgs(loops=3, final_denoising_strength=0.2)
    masked = REQUEST.replace(
        mask=ImageField.from_pil(Image.new("L", (64, 64), 255), MASK), inpainting_fill=2
    )
    cells, requests, result = run_script(run_loopback(masked, args), tmp_path)
    assert [request.seed for request in requests] == [5, 6, 7]
    assert [round(request.denoising_strength, 6) for request in requests] == [0.6, 0.4, 0.2]
    assert [request.inpainting_fill for request in requests] == [2, 1, 1]
    inits = [request.init_image.to_pil().getpixel((0, 0)) for request in requests]
    assert inits == [(0, 0, 255), (5, 0, 0), (6, 0, 0)]
    assert cells[1].infotext == {"Final denoising strength": 0.2, "Denoising curve": "Linear"}
    (grid,) = result.images
    assert callable(grid.image) and grid.image(GridSettings()).size == (192, 64)


def test_several_series_show_the_last_image_of_each(tmp_path: Path):
    cells, requests, result = run_script(
        run_loopback(REQUEST.replace(n_iter=2), LoopbackArgs(loops=2)), tmp_path
    )
    assert [cell.is_shown for cell in cells] == [False, True] * 2
    assert [request.seed for request in requests] == [5, 6, 7, 8]
    assert requests[2].init_image == PLAIN
    (grid,) = result.images
    assert callable(grid.image) and grid.image(GridSettings()).getpixel((64, 0)) == (8, 0, 0)


def test_a_loop_that_fails_ends_the_loops_and_keeps_the_finished_ones(tmp_path: Path):
    def draw(request: Img2ImgRequest) -> Image.Image | None:
        return None if request.seed == 7 else Image.new("RGB", (64, 64))

    cells, _, result = run_script(run_loopback(REQUEST, LoopbackArgs(loops=9)), tmp_path, draw)
    assert len(cells) == 3 and len(result.images) == 1


@pytest.mark.parametrize(
    ("curve", "strengths"),
    [
        ("Linear", [0.2, 0.6, 1.0]),
        ("Aggressive", [0.2, 0.765685, 1.0]),
        ("Lazy", [0.2, 0.434315, 1.0]),
    ],
)
def test_the_strength_follows_its_curve(curve: Any, strengths: list[float]):
    args = LoopbackArgs(loops=3, final_denoising_strength=1, denoising_curve=curve)
    assert [denoising_strength(0.2, args, loop) for loop in range(3)] == pytest.approx(strengths)


def test_outpainting_in_a_loop_is_refused():
    with pytest.raises(UserError, match="each loop would add them again"):
        next(run_loopback(REQUEST.replace(outpaint_left=64), LoopbackArgs()))


def test_a_chain_goes_on_after_a_kill_where_it_was(start_engine: Callable[..., Any]):
    engine, executor = start_engine()
    executor.hold_at(2)
    group = engine.run_script("Loopback", REQUEST, {"loops": 3, "final_denoising_strength": 0.9})
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(2)
    assert executor.held.wait(PATIENCE_S)  # in the second loop
    executor.release_at_stop()
    engine.queue.store.close()  # nothing more is written, as after a kill
    group.interrupt()
    engine.stop()

    engine, executor = start_engine()
    restored = engine.job(group.id)
    assert isinstance(restored, JobGroup)
    assert restored.wait(PATIENCE_S)
    status = restored.status()
    assert [image.kind for image in status.images] == ["image"] * 3 + ["grid"]
    assert len(executor.seen) == 2, "the first loop is not made again"
    assert [image.seed for image in status.images] == [5, 6, 7, 5]
    texts = [image.infotext for image in status.images[:3]]
    assert ["Denoising strength: 0.75" in text for text in texts] == [False, True, False]
    assert all("Final denoising strength: 0.9, Denoising curve: Linear" in text for text in texts)
