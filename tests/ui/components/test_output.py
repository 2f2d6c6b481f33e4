from __future__ import annotations

from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.ui.components.output import _grid_of
from tests.engine.fake_executor import PATIENCE_S


def test_the_grid_of_a_job_is_shown_unless_the_options_say_otherwise(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1, n_iter=2))
    assert job.wait(PATIENCE_S)
    assert _grid_of(engine, job.id) == [(str(job.grid_path), "Grid")]
    engine.change_settings({"return_grid": False})
    assert _grid_of(engine, job.id) == []


def test_a_job_of_one_picture_or_of_an_earlier_run_has_no_grid(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1))
    assert job.wait(PATIENCE_S)
    assert _grid_of(engine, job.id) == []
    assert _grid_of(engine, "long ago") == []
