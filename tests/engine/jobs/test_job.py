from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from modules.engine.engine import Engine
from modules.engine.jobs.job import Job
from modules.params.events import BatchStarted, Note, Output, Phase, Preview, Progress
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import GeneratedImage
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from tests.conftest import write_listed_depth

WARNING = "The disk is full."


def save(plan: Plan, index: int, image: Image.Image, announce: Any) -> GeneratedImage:
    return GeneratedImage(index, index + 1, "text", Path("nowhere"), WARNING)


@pytest.fixture
def job(idle_engine: Engine) -> Job:
    engine = idle_engine
    request = Txt2ImgRequest(n_iter=2, seed=1)
    plan = make_plan(
        request,
        engine.models,
        engine.models.find_checkpoint("first"),
        engine.settings,
    )
    return Job(plan, save)


def test_a_new_job_is_queued(job: Job):
    status = job.status()
    assert (status.state, status.phase, status.image_count, status.images) == (
        "queued",
        "Waiting",
        2,
        (),
    )
    assert not status.has_ended
    assert not job.wait(0)


def test_the_first_phase_marks_the_job_as_running(job: Job):
    job.receive(Phase("Sampling"))
    job.receive(Progress(3, 40, 2.0))
    status = job.status()
    assert (status.state, status.phase, status.progress.step) == ("running", "Sampling", 3)


@pytest.mark.parametrize("state", ["done", "failed", "cancelled"])
def test_an_ended_job_wakes_waiting_threads(job: Job, state: Any):
    job.finish(state, "reason")
    assert job.wait(0)
    assert (job.status().state, job.status().error, job.status().phase) == (state, "reason", "")
    assert job.status().has_ended


def test_done_callbacks_are_called_once_even_if_added_late(job: Job):
    calls: list[str] = []
    job.add_done_callback(lambda: calls.append("before"))
    job.finish("done")
    job.finish("failed")
    job.add_done_callback(lambda: calls.append("after"))
    assert calls == ["before", "after"]


def test_images_are_listed_in_order_and_a_warning_only_once(job: Job):
    for index in range(2):
        job.receive(Output("image", Image.new("RGB", (8, 8)), index))
    assert [image.seed for image in job.status().images] == [1, 2]
    assert job.status().notes == (WARNING,)


def test_a_note_is_listed_once(job: Job):
    for _ in range(3):
        job.receive(Note("Made again."))
    assert job.status().notes == ("Made again.",)


def test_interrupting_sets_the_flag_and_notifies_the_queue(job: Job):
    calls: list[bool] = []
    job.on_interrupt = lambda: calls.append(True)
    assert not job.cancel.is_interrupted()
    job.interrupt()
    assert job.cancel.is_interrupted()
    assert calls == [True]


def test_a_preview_is_wanted_only_while_a_client_watches(job: Job):
    assert not job.cancel.wants_preview()
    job.watch()
    assert job.cancel.wants_preview()


def test_previews_are_not_made_in_quick_succession(job: Job):
    job.watch()
    job.receive(Preview(Image.new("RGB", (8, 8))))
    assert not job.cancel.wants_preview(pause_s=60)


def test_a_preview_is_enlarged(job: Job):
    job.receive(Preview(Image.new("RGB", (64, 32), "red")))
    with Image.open(io.BytesIO(job.preview())) as image:
        assert (image.format, image.size) == ("JPEG", (512, 256))
    assert job.status().preview_number == 1


def test_the_preview_of_a_large_batch_is_made_smaller(job: Job):
    job.receive(Preview(Image.new("RGB", (4096, 512))))
    with Image.open(io.BytesIO(job.preview())) as image:
        assert image.size == (2048, 256)


def test_each_job_has_a_unique_id(job: Job):
    assert Job(job.plan, save).id != job.id


def test_an_ended_job_drops_its_input_images(idle_engine: Engine):
    engine, folder = idle_engine, idle_engine.paths.checkpoint_folders[0]
    write_listed_depth(folder / "depth.safetensors")
    engine.models.refresh()
    image = ImageField.from_pil(Image.linear_gradient("L"))
    request = DepthRequest(init_image=image, depth_map=image, seed=1)
    plan = make_plan(
        request,
        engine.models,
        engine.models.find_checkpoint("depth"),
    )
    job = Job(plan, save)
    assert job.plan.request == plan.request
    job.finish("done")
    assert job.plan.request == plan.request.replace(init_image=None, depth_map=None)
    assert job.plan.images == plan.images


def test_the_depth_map_of_a_job_is_stored_as_png(job: Job):
    assert job.depth_map() == b""
    job.receive(Output("depth map", Image.new("L", (8, 8), 255)))
    with Image.open(io.BytesIO(job.depth_map())) as shown:
        assert (shown.format, shown.mode, shown.size) == ("PNG", "L", (8, 8))


def test_a_skip_applies_to_the_running_batch_only(job: Job):
    job.skip()
    assert not job.cancel.is_batch_skipped(), "the job is not running yet"
    job.receive(Phase("Sampling"))
    job.receive(BatchStarted(0))
    job.skip()
    assert job.cancel.is_batch_skipped()
    job.receive(BatchStarted(1))
    assert not job.cancel.is_batch_skipped()


def test_a_job_that_stops_after_the_image_also_stops_after_a_skipped_one(job: Job):
    job.receive(BatchStarted(0))
    job.stop_after_image()
    assert not job.cancel.is_interrupted()
    job.receive(BatchStarted(1))
    assert job.cancel.is_interrupted()


@dataclass(frozen=True)
class Temperature:
    """An event that only a worker of another version knows."""

    degrees: int


def test_an_unknown_event_is_noted_and_keeps_the_finished_images(job: Job):
    unknown: list[Any] = [Temperature(80), Output("video", b""), Temperature(81)]  # pyright: ignore
    job.receive(Output("image", Image.new("RGB", (8, 8)), 0))
    for event in unknown:
        job.receive(event)
    job.receive(Output("image", Image.new("RGB", (8, 8)), 1))
    job.finish("done")
    assert [image.index for image in job.status().images] == [0, 1]
    assert job.status().notes[1:] == (
        "The device reported something that this version does not know (Temperature); "
        "the finished pictures are kept.",
        "The device reported something that this version does not know (video); "
        "the finished pictures are kept.",
    )
