from __future__ import annotations

import pytest

from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.reproduce import rerun_image
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=2, seed=7, n_iter=2, batch_size=2)


@pytest.mark.parametrize(("strength", "seed", "subseed"), [(0.0, 10, 103), (0.5, 7, 103)])
def test_a_picture_is_made_again_alone_from_its_own_seeds(engine: Engine, strength, seed, subseed):
    job = engine.submit(SMALL.replace(subseed=100, subseed_strength=strength))
    assert job.wait(PATIENCE_S)
    again = rerun_image(engine.queue, job.id, 3)
    assert again.plan.record
    assert again.wait(PATIENCE_S)
    request = again.plan.request
    assert (request.prompt, request.n_iter, request.batch_size) == ("a cat", 1, 1)
    assert (request.seed, request.subseed) == (seed, subseed)
    assert again.status().images[0].seed == job.status().images[3].seed


def test_a_job_that_never_was_cannot_be_made_again(engine: Engine):
    with pytest.raises(NotFound):
        rerun_image(engine.queue, "nothing", 0)
