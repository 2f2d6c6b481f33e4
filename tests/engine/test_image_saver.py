from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.engine.jobs.job import Job
from modules.params.events import Output
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.engine.fake_executor import PATIENCE_S

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=1, seed=5, cfg_scale=7)


def run_job(engine: Engine, request: Txt2ImgRequest = SMALL, **options: object) -> Job:
    engine.change_settings(options)
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    assert job.status().state == "done", job.status().error
    return job


def test_filename_tokens_are_replaced_for_each_image(engine: Engine):
    pattern = "[model_name] [seed] [steps] [cfg] [width]x[height] [sampler] [batch_number] [generation_number]"
    job = run_job(engine, SMALL.replace(batch_size=2, n_iter=2), samples_filename_pattern=pattern)
    assert [image.path.name for image in job.status().images] == [
        "00000-first 5 1 7 64x64 DPM++ 2M 1 1.png",
        "00001-first 6 1 7 64x64 DPM++ 2M 2 2.png",
        "00002-first 7 1 7 64x64 DPM++ 2M 1 3.png",
        "00003-first 8 1 7 64x64 DPM++ 2M 2 4.png",
    ]


def test_a_grid_of_the_jobs_images_is_saved(engine: Engine):
    job = run_job(engine, SMALL.replace(n_iter=4))
    assert job.grid_path is not None
    assert job.grid_path.relative_to(engine.paths.outputs).parts[0] == "txt2img-grids"
    with Image.open(job.grid_path) as grid:
        assert grid.size == (128, 128)
        assert grid.info["parameters"] == job.status().images[0].infotext


def test_a_single_image_gets_no_grid_by_default(engine: Engine):
    assert run_job(engine).grid_path is None
    assert run_job(engine, grid_only_if_multiple=False).grid_path is not None


def test_no_grid_is_made_when_it_is_neither_saved_nor_returned(engine: Engine):
    assert (
        run_job(engine, SMALL.replace(n_iter=2), grid_save=False, return_grid=False).grid_path
        is None
    )


def test_unsaved_images_are_stored_outside_the_outputs_folder(engine: Engine):
    job = run_job(engine, SMALL.replace(n_iter=2), samples_save=False)
    assert all(
        image.path.is_relative_to(engine.paths.unsaved_outputs) for image in job.status().images
    )
    assert job.grid_path is not None and job.grid_path.is_relative_to(engine.paths.unsaved_outputs)
    assert not engine.paths.outputs.exists()


def test_the_format_can_be_chosen_for_one_request(engine: Engine):
    job = run_job(engine, SMALL.replace(override_settings={"samples_format": "webp"}))
    assert job.status().images[0].path.suffix == ".webp"
    assert run_job(engine).status().images[0].path.suffix == ".png"


def test_the_infotext_names_the_dtype_that_the_device_reports(engine: Engine):
    plan = engine.planner.plan(
        SMALL.replace(override_settings={"precision": "Half"}), engine.settings
    )
    for reported, stated in (("bf16", "Precision: bf16"), ("", "Precision: Half")):
        made = engine.image_saver.save(
            replace(plan, precision=reported), 0, Image.new("RGB", (64, 64)), lambda _: None
        )
        assert f", {stated}, " in made.infotext
        found = read_infotext(engine, made.infotext, Txt2ImgRequest).override_settings
        assert found["precision"] == "Half"


def test_the_infotext_names_openvino_where_it_has_computed(engine: Engine):
    request = SMALL.replace(override_settings={"accelerator": "OpenVINO"})
    plan = engine.planner.plan(request, engine.settings)
    for computed_by, options in (("OpenVINO", {"accelerator": "OpenVINO"}), ("", {})):
        job = Job(plan, engine.image_saver.save)
        job.receive(Output("image", Image.new("RGB", (64, 64)), accelerator=computed_by))
        (image,) = job.status().images
        assert ("Accelerator: OpenVINO" in image.infotext) == bool(options)
        found = read_infotext(engine, image.infotext, Txt2ImgRequest).override_settings
        assert {key: value for key, value in found.items() if key == "accelerator"} == options


def test_a_missing_image_results_in_a_note_instead_of_a_grid(engine: Engine, monkeypatch):
    save = engine.image_saver.save

    def save_and_delete(*args):
        saved = save(*args)
        saved.path.unlink()
        return saved

    monkeypatch.setattr(engine.image_saver, "save", save_and_delete)
    job = run_job(engine, SMALL.replace(n_iter=2))
    assert job.grid_path is None
    assert "cannot be read" in job.status().notes[0]


def test_an_image_that_can_be_saved_nowhere_leaves_no_record(engine: Engine):
    engine.paths.outputs.write_text("in the way of the folder")
    engine.image_saver.fallback_dir.write_text("in the way of the folder")
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    assert job.status().state == "failed"
    assert engine.queue.store.record(job.id).images == ()


def test_an_image_that_is_saved_in_the_fallback_folder_has_one_record_with_its_warning(
    engine: Engine,
):
    engine.paths.outputs.write_text("in the way of the folder")
    job = run_job(engine)
    (image,) = job.status().images
    assert image.path.is_relative_to(engine.image_saver.fallback_dir)
    assert f"It was saved as {image.path} instead." in image.warning
    assert engine.queue.store.record(job.id).images == (image,)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_the_folder_for_a_full_disk_is_for_this_user_alone(engine: Engine):
    engine.paths.outputs.write_text("a file where the folder should be")
    job = run_job(engine)
    (image,) = job.status().images
    spare = engine.image_saver.fallback_dir
    assert image.path.is_relative_to(spare)
    assert spare.stat().st_mode & 0o077 == 0


def test_a_folder_that_others_have_prepared_gets_no_picture(engine: Engine, tmp_path: Path):
    engine.paths.outputs.write_text("a file where the folder should be")
    (tmp_path / "theirs").mkdir()
    engine.image_saver.fallback_dir.symlink_to(tmp_path / "theirs")
    job = engine.submit(SMALL)
    assert job.wait(PATIENCE_S)
    assert "is not a folder of this user alone" in job.status().error
    assert not list((tmp_path / "theirs").iterdir())


def test_the_infotext_states_the_options_that_a1111_always_states(engine: Engine):
    beta = SMALL.replace(sampler_name="Euler", scheduler="Beta")
    text = run_job(engine, beta).status().images[0].infotext
    assert "Beta schedule alpha: 0.6, Beta schedule beta: 0.6" in text
    assert "Beta schedule" not in run_job(engine).status().images[0].infotext
