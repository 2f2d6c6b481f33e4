from __future__ import annotations

from collections.abc import Callable

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

REQUEST = Txt2ImgRequest(width=64, height=64, steps=4, sampler_name="Euler", n_iter=2)


def test_both_samplers_use_one_random_seed_even_after_a_restart(
    start_engine: Callable[..., tuple[Engine, FakeExecutor]],
):
    engine, executor = start_engine()
    executor.hold_at(1)
    executor.release_at_stop()
    group = engine.run_script("Compare samplers", REQUEST, {"other_sampler": "Heun"})
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(1)
    assert executor.held.wait(PATIENCE_S)
    engine.stop()
    engine, executor = start_engine()
    assert engine.job(group.id).wait(PATIENCE_S)
    status = engine.status(group.id)
    assert len(executor.seen) == 1, "the first sampler's image was finished before the restart"
    assert len({image.seed for image in status.images}) == 1
    assert ["Euler" in image.infotext for image in status.images] == [True, False]
    assert status.progress.fraction == 1
