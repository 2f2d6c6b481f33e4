from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from modules.core.atomic import open_part
from modules.core.errors import BadFile, NotFound, OutOfMemory, StorageError, UserError, WebUIError
from modules.core.paths import Paths
from modules.core.version import NAME, VERSION
from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.images.save import read_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.prompt.tokens import ClipTokenizer
from tests.conftest import builtin_registries, write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S, FakeExecutor

SMALL = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=7)


def finish(job: Job) -> Job:
    assert job.wait(PATIENCE_S)
    return job


# Jobs


def test_a_job_saves_its_images_with_their_infotext(engine: Engine):
    status = finish(engine.submit(SMALL.replace(n_iter=2, batch_size=2))).status()
    assert (status.state, status.error, status.notes) == ("done", "", ())
    assert [image.seed for image in status.images] == [7, 8, 9, 10]
    assert [image.path.name for image in status.images] == [
        "00000-7.png",
        "00001-8.png",
        "00002-9.png",
        "00003-10.png",
    ]
    assert all(image.path.is_relative_to(engine.paths.outputs) for image in status.images)
    assert all(read_infotext(image.path) == image.infotext for image in status.images)


def test_the_infotext_names_seed_size_and_checkpoint(engine: Engine):
    image = finish(engine.submit(SMALL.replace(batch_size=2))).status().images[1]
    sha256 = engine.models.sha256(engine.models.find_checkpoint("first"))
    assert image.infotext == (
        "a cat\nSteps: 4, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 8, "
        f"Size: 64x64, Model hash: {sha256[:10]}, Model: first, App: {NAME} {VERSION}"
    )


def test_jobs_run_in_the_order_of_submission(engine: Engine, executor: FakeExecutor):
    executor.hold_at(1)
    jobs = [engine.submit(SMALL.replace(prompt=word)) for word in ("one", "two", "three")]
    assert executor.held.wait(PATIENCE_S)
    assert [job.status().state for job in jobs] == ["running", "queued", "queued"]
    assert engine.running_job() is jobs[0]
    executor.release()
    assert [finish(job).status().state for job in jobs] == ["done"] * 3
    assert executor.seen == ["one", "two", "three"]
    assert engine.running_job() is None


def test_progress_counts_steps_over_all_batches(engine: Engine, executor: FakeExecutor):
    executor.hold_at(3)
    job = engine.submit(SMALL.replace(n_iter=2))
    assert executor.held.wait(PATIENCE_S)
    progress = job.status().progress
    assert (progress.step, progress.steps, progress.fraction) == (2, 8, 0.25)


def test_a_running_job_is_interrupted_within_a_step(engine: Engine, executor: FakeExecutor):
    executor.hold_at(3)
    job = engine.submit(SMALL.replace(steps=1000))
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt(job.id)
    executor.release()
    status = finish(job).status()
    assert status.state == "cancelled"
    assert status.error == "Interrupted: 0 of 1 pictures were finished."
    assert status.progress.step == 2


def test_an_interrupted_job_keeps_its_finished_images(engine: Engine, executor: FakeExecutor):
    executor.hold_at(3)
    job = engine.submit(SMALL.replace(n_iter=2))
    assert executor.held.wait(PATIENCE_S)
    executor.hold_at_next(3)
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt(job.id)
    executor.release()
    status = finish(job).status()
    assert (status.state, status.error) == (
        "cancelled",
        "Interrupted: 1 of 2 pictures were finished.",
    )
    assert status.images[0].path.is_file()


def test_a_waiting_job_is_interrupted_at_once(engine: Engine, executor: FakeExecutor):
    executor.hold_at(1)
    running, waiting = engine.submit(SMALL), engine.submit(SMALL.replace(prompt="never"))
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt(waiting.id)
    assert waiting.wait(0)
    assert waiting.status().state == "cancelled"
    executor.release()
    finish(running)
    executor.wait_until_idle()
    assert executor.seen == ["a cat"]


def test_interrupt_without_an_id_stops_only_the_running_job(engine: Engine, executor: FakeExecutor):
    executor.hold_at(1)
    running, waiting = engine.submit(SMALL), engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    engine.interrupt()
    executor.release()
    assert finish(running).status().state == "cancelled"
    assert finish(waiting).status().state == "done"


def test_interrupt_without_a_running_job_does_nothing(engine: Engine):
    engine.interrupt()
    assert finish(engine.submit(SMALL)).status().state == "done"


def test_a_failing_job_does_not_stop_the_engine(engine: Engine, executor: FakeExecutor):
    executor.failures = [
        OutOfMemory("Too little memory.", "Use a smaller size."),
        ValueError("a bug"),
    ]
    jobs = [engine.submit(SMALL) for _ in range(3)]
    states = [(finish(job).status().state, job.status().error) for job in jobs]
    assert states == [
        ("failed", "Too little memory. Use a smaller size."),
        ("failed", "Internal error: ValueError: a bug. The log has the details."),
        ("done", ""),
    ]


def test_a_job_is_found_again_by_its_id(engine: Engine):
    job = finish(engine.submit(SMALL))
    assert engine.job(job.id) is job
    assert len(job.id) >= 16


def test_an_unknown_job_is_not_found(engine: Engine):
    with pytest.raises(NotFound, match="no longer known"):
        engine.job("nobody")


def test_only_recently_ended_jobs_stay_in_memory(engine: Engine, executor: FakeExecutor):
    executor.hold_at(1)
    running = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    waiting = [engine.submit(SMALL) for _ in range(210)]
    for job in waiting:
        job.interrupt()
    engine.submit(SMALL).interrupt()
    assert len(engine.jobs()) <= 201
    assert engine.job(running.id) is running


def test_a_bad_request_is_refused_before_it_is_queued(engine: Engine):
    with pytest.raises(NotFound, match="There is no sampler named 'Eulr'"):
        engine.submit(SMALL.replace(sampler_name="Eulr"))
    with pytest.raises(UserError, match="makes no update"):
        engine.submit(SMALL.replace(sampler_name="DDIM", steps=1))
    assert engine.jobs() == []


# Storage


def test_an_image_that_cannot_be_saved_goes_to_the_fallback_folder(engine: Engine):
    engine.paths.outputs.write_text("a file where the folder should be")
    status = finish(engine.submit(SMALL)).status()
    assert status.state == "done"
    image = status.images[0]
    assert image.path.is_relative_to(engine.image_saver.fallback_dir)
    assert read_infotext(image.path) == image.infotext
    assert image.warning in status.notes
    assert "could not be saved" in image.warning
    assert str(image.path) in image.warning


def test_an_image_that_cannot_be_saved_anywhere_fails_only_its_job(engine: Engine):
    engine.paths.outputs.write_text("a file")
    engine.image_saver.fallback_dir.write_text("a file")
    assert finish(engine.submit(SMALL)).status().state == "failed"
    engine.paths.outputs.unlink()
    assert finish(engine.submit(SMALL)).status().state == "done"


def test_a_checkpoint_deleted_during_its_job_loses_no_image(engine: Engine, executor: FakeExecutor):
    engine.models.stop()  # so that the new file is listed, but not yet hashed
    write_listed_checkpoint(engine.paths.checkpoint_folders[0] / "third.safetensors", "third")
    engine.models.refresh()
    executor.hold_at(2)
    job = engine.submit(SMALL.replace(sd_model_checkpoint="third"))
    assert executor.held.wait(PATIENCE_S)
    (engine.paths.checkpoint_folders[0] / "third.safetensors").unlink()
    executor.release()
    status = finish(job).status()
    assert (status.state, len(status.images)) == ("done", 1)
    assert status.images[0].infotext.endswith(f"Size: 64x64, Model: third, App: {NAME} {VERSION}")


# Checkpoints


def test_the_active_checkpoint_is_loaded_at_start(engine: Engine, executor: FakeExecutor):
    assert executor.loaded == ["first.safetensors"]
    assert engine.device_status.phase == "ready"
    assert engine.device_status.checkpoint == "first.safetensors"
    assert engine.device_status.device == "Test device"


def test_selecting_a_checkpoint_loads_it_and_stores_the_setting(
    engine: Engine, executor: FakeExecutor
):
    engine.select_checkpoint("sub/second.safetensors")
    executor.wait_until_idle()
    assert executor.loaded[-1] == "sub/second.safetensors"
    assert engine.device_status.checkpoint == "sub/second.safetensors"
    stored = json.loads((engine.paths.data / "config.json").read_text(encoding="utf-8"))
    assert stored["sd_model_checkpoint"] == "sub/second.safetensors"


def test_the_stored_checkpoint_is_loaded_at_the_next_start(
    paths: Paths, executor: FakeExecutor, tokenizer: ClipTokenizer
):
    (paths.data / "config.json").write_text('{"sd_model_checkpoint": "second"}', encoding="utf-8")
    engine = Engine(paths, executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    engine.stop()
    assert executor.loaded == ["sub/second.safetensors"]


def test_the_command_line_overrides_the_stored_checkpoint(
    paths: Paths, executor: FakeExecutor, tokenizer: ClipTokenizer
):
    (paths.data / "config.json").write_text('{"sd_model_checkpoint": "first"}', encoding="utf-8")
    engine = Engine(
        paths, executor, tokenizer, builtin_registries(), {"sd_model_checkpoint": "second"}
    )
    engine.start()
    executor.wait_until_idle()
    engine.stop()
    assert executor.loaded == ["sub/second.safetensors"]


def test_settings_of_the_command_line_are_not_stored(
    paths: Paths, executor: FakeExecutor, tokenizer: ClipTokenizer
):
    engine = Engine(
        paths,
        executor,
        tokenizer,
        builtin_registries(),
        {"sd_model_checkpoint": "second", "sd_checkpoints_limit": 3},
    )
    engine.start()
    executor.wait_until_idle()
    engine.change_settings({"sd_use_ema": True})
    engine.stop()
    assert engine.settings.sd_checkpoints_limit == 3
    stored = json.loads((paths.data / "config.json").read_text(encoding="utf-8"))
    assert {k: v for k, v in stored.items() if k in Settings.model_fields} == {"sd_use_ema": True}


def test_the_command_line_may_name_a_file(
    paths: Paths, executor: FakeExecutor, tokenizer: ClipTokenizer
):
    file = paths.checkpoint_folders[0] / "sub" / "second.safetensors"
    engine = Engine(
        paths, executor, tokenizer, builtin_registries(), {"sd_model_checkpoint": str(file)}
    )
    engine.start()
    executor.wait_until_idle()
    engine.stop()
    assert executor.loaded == ["sub/second.safetensors"]


def test_an_unknown_checkpoint_is_an_error_and_never_replaced_by_another(
    engine: Engine, executor: FakeExecutor
):
    with pytest.raises(NotFound, match="There is no checkpoint named 'secnd'"):
        engine.submit(SMALL.replace(sd_model_checkpoint="secnd"))
    with pytest.raises(NotFound):
        engine.select_checkpoint("secnd")
    assert engine.settings.sd_model_checkpoint == "first.safetensors"
    assert executor.loaded == ["first.safetensors"]
    assert not (engine.paths.data / "config.json").exists()


def test_a_deleted_checkpoint_is_an_error_and_never_replaced_by_another(engine: Engine):
    engine.select_checkpoint("second")
    (engine.paths.checkpoint_folders[0] / "sub" / "second.safetensors").unlink()
    with pytest.raises(NotFound, match="is no longer at"):
        engine.submit(SMALL)
    engine.models.refresh()
    with pytest.raises(NotFound, match="There is no checkpoint named"):
        engine.submit(SMALL)


def test_a_missing_stored_checkpoint_is_shown_in_the_device_status(
    paths: Paths, executor: FakeExecutor, tokenizer: ClipTokenizer
):
    (paths.data / "config.json").write_text('{"sd_model_checkpoint": "gone"}', encoding="utf-8")
    engine = Engine(paths, executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    engine.stop()
    assert engine.device_status.phase == "failed"
    assert "There is no checkpoint named 'gone'" in engine.device_status.text
    assert executor.loaded == []


def test_a_damaged_checkpoint_is_refused_with_the_reason(engine: Engine):
    (engine.paths.checkpoint_folders[0] / "page.safetensors").write_text(
        "<!DOCTYPE html><html></html>"
    )
    engine.models.refresh()
    with pytest.raises(BadFile, match="is a web page"):
        engine.submit(SMALL.replace(sd_model_checkpoint="page"))


def test_a_checkpoint_that_fails_to_load_is_shown_in_the_device_status(
    engine: Engine, executor: FakeExecutor
):
    executor.load_failures = [BadFile("'second.safetensors' lacks weights.")]
    engine.select_checkpoint("second")
    executor.wait_until_idle()
    assert (engine.device_status.phase, engine.device_status.checkpoint) == ("failed", "")
    assert engine.device_status.text == "'second.safetensors' lacks weights."
    engine.select_checkpoint("first")
    executor.wait_until_idle()
    assert (engine.device_status.phase, engine.device_status.checkpoint) == (
        "ready",
        "first.safetensors",
    )


def test_without_any_checkpoint_the_folder_is_named(
    tmp_path: Path, executor: FakeExecutor, tokenizer: ClipTokenizer
):
    paths = Paths(tmp_path, tmp_path)
    engine = Engine(paths, executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    with pytest.raises(NotFound, match="There is no usable checkpoint") as caught:
        engine.submit(SMALL)
    engine.stop()
    assert str(tmp_path / "models" / "Stable-diffusion") in caught.value.hint
    assert engine.device_status.phase == "failed"


def test_choices_are_the_registered_names_and_the_checkpoint_titles(engine: Engine):
    assert engine.choices("samplers") == engine.samplers.names()
    assert engine.choices("schedules") == engine.schedules.names()
    assert [title.split(" [")[0] for title in engine.choices("checkpoints")] == [
        "first.safetensors",
        "sub/second.safetensors",
    ]


# Lifecycle


def test_a_job_submitted_before_the_device_is_ready_waits_for_it(idle_engine: Engine):
    job = idle_engine.submit(SMALL)
    assert job.status().state == "queued"
    idle_engine.start()
    assert finish(job).status().state == "done"


def test_a_device_that_cannot_be_opened_is_shown_in_the_device_status(
    paths: Paths, tokenizer: ClipTokenizer
):
    executor = FakeExecutor(device_info=None)
    engine = Engine(paths, executor, tokenizer, builtin_registries())
    engine.start()
    executor.wait_until_idle()
    engine.stop()
    assert (engine.device_status.phase, engine.device_status.text) == ("failed", "No device here.")


def test_stop_ends_running_and_queued_jobs_and_keeps_images(engine: Engine, executor: FakeExecutor):
    done = finish(engine.submit(SMALL)).status().images[0]
    executor.hold_at(2)
    jobs = [engine.submit(SMALL.replace(steps=1000)) for _ in range(3)]
    assert executor.held.wait(PATIENCE_S)
    executor.release_at_stop()
    engine.stop()
    assert [finish(job).status().state for job in jobs] == ["cancelled"] * 3
    assert done.path.is_file()


def test_stop_does_not_wait_for_a_step_that_never_ends(engine: Engine, executor: FakeExecutor):
    executor.hold_at(2)
    job = engine.submit(SMALL)
    assert executor.held.wait(PATIENCE_S)
    start = time.monotonic()
    engine.stop()
    assert time.monotonic() - start < PATIENCE_S  # it gives up after 1.5 s, later on a busy machine
    assert job.wait(0), "a client that waits for the job must not delay the shutdown"
    assert job.status().error == "The server was stopped."


def test_no_request_is_accepted_once_the_engine_stops(engine: Engine):
    engine.stop()
    with pytest.raises(WebUIError, match="stopping"):
        engine.submit(SMALL)


def test_unfinished_files_of_a_killed_server_are_removed_at_the_start(
    idle_engine: Engine, paths: Paths
):
    grids = paths.outputs / "txt2img-grids" / "2026-01-01"
    folders = (paths.data, grids, paths.cache, paths.queue, paths.checkpoint_folders[0])
    parts = [folder / ".config.json.1-2.part" for folder in folders]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
    with open_part(paths.queue) as being_written:
        idle_engine.start()
        for thread in threading.enumerate():
            if thread.name == "tidy":
                thread.join(PATIENCE_S)
        assert being_written.path.exists()
    assert [part for part in parts if part.exists()] == []


def test_settings_that_cannot_be_stored_apply_for_this_run_and_are_an_error(
    engine: Engine, executor: FakeExecutor, monkeypatch: pytest.MonkeyPatch
):
    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StorageError, match="apply until the server stops"):
        engine.change_settings({"jpeg_quality": 70})
    with pytest.raises(StorageError):
        engine.select_checkpoint("sub/second")
    executor.wait_until_idle()
    assert engine.settings.jpeg_quality == 70
    assert engine.find_checkpoint().name == "sub/second.safetensors"
    assert not list(engine.paths.data.glob(".*.part"))
