from __future__ import annotations

from PIL import Image

from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=1, seed=5, cfg_scale=7)


def made(engine: Engine, request: Txt2ImgRequest = SMALL, **options: object) -> Job:
    engine.change_settings(options)
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    assert job.status().state == "done", job.status().error
    return job


def test_a_name_tells_how_the_picture_was_made(engine: Engine):
    pattern = "[model_name] [seed] [steps] [cfg] [width]x[height] [sampler] [batch_number] [generation_number]"
    job = made(engine, SMALL.replace(batch_size=2, n_iter=2), samples_filename_pattern=pattern)
    assert [image.path.name for image in job.status().images] == [
        "00000-first 5 1 7 64x64 DPM++ 2M 1 1.png",
        "00001-first 6 1 7 64x64 DPM++ 2M 2 2.png",
        "00002-first 7 1 7 64x64 DPM++ 2M 1 3.png",
        "00003-first 8 1 7 64x64 DPM++ 2M 2 4.png",
    ]


def test_pictures_of_a_job_are_put_into_a_grid(engine: Engine):
    job = made(engine, SMALL.replace(n_iter=4))
    assert job.grid_path is not None
    assert job.grid_path.relative_to(engine.paths.outputs).parts[0] == "txt2img-grids"
    with Image.open(job.grid_path) as grid:
        assert grid.size == (128, 128)
        assert grid.info["parameters"] == job.status().images[0].infotext


def test_one_picture_is_no_grid(engine: Engine):
    assert made(engine).grid_path is None
    assert made(engine, grid_only_if_multiple=False).grid_path is not None


def test_no_grid_is_made_when_nobody_wants_one(engine: Engine):
    assert (
        made(engine, SMALL.replace(n_iter=2), grid_save=False, return_grid=False).grid_path is None
    )


def test_what_is_not_to_be_saved_lies_apart_from_the_outputs(engine: Engine):
    job = made(engine, SMALL.replace(n_iter=2), samples_save=False)
    assert all(
        image.path.is_relative_to(engine.paths.unsaved_outputs) for image in job.status().images
    )
    assert job.grid_path is not None and job.grid_path.is_relative_to(engine.paths.unsaved_outputs)
    assert not engine.paths.outputs.exists()


def test_the_format_can_be_chosen_for_one_request(engine: Engine):
    job = made(engine, SMALL.replace(override_settings={"samples_format": "webp"}))
    assert job.status().images[0].path.suffix == ".webp"
    assert made(engine).status().images[0].path.suffix == ".png"


def test_a_picture_that_has_gone_leaves_a_note_instead_of_a_grid(engine: Engine, monkeypatch):
    keep = engine.image_saver.save

    def and_lose(*args):
        kept = keep(*args)
        kept.path.unlink()
        return kept

    monkeypatch.setattr(engine.image_saver, "save", and_lose)
    job = made(engine, SMALL.replace(n_iter=2))
    assert job.grid_path is None
    assert "cannot be read" in job.status().notes[0]
