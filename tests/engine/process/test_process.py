"""Recorded processes: their documents, and how long they are kept."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.process.documents import describe_forward, describe_reverse
from modules.engine.process.store import ProcessStore
from modules.params.events import Output
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import (
    ForwardFrame,
    ForwardRecording,
    Moments,
    RecordedStep,
    Recording,
)
from tests.engine.fake_executor import PATIENCE_S

IMAGE, LARGE = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (16, 16), "blue")
SIGMAS = np.linspace(0.03, 14.6, 1000)


def make_recording(image: Image.Image, difference: Image.Image | None = IMAGE) -> Recording:
    steps = tuple(
        RecordedStep(n, sigma, 999.0 * (1 - n), image, image, image, difference, 0.1)
        for n, sigma in enumerate((14.6, 0.5))
    )
    return Recording(steps, np.zeros(16, dtype=np.float32), SIGMAS)


def describe(engine: Engine, recording: Recording, **changes: Any) -> dict[str, Any]:
    request = Txt2ImgRequest(
        prompt="a cat", width=64, height=64, steps=2, cfg_scale=5, seed=3
    ).replace(**changes)
    job = engine.submit(request)
    assert job.wait(PATIENCE_S)
    return describe_reverse({"Euler": job.plan}, {"Euler": recording}, engine.schedules)


def test_a_frame_has_the_numbers_of_its_step(engine: Engine):
    (track,) = describe(engine, make_recording(IMAGE))["tracks"]
    first, last = track["frames"]
    assert (first["number"], last["number"], first["cfg"]) == (1, 2, 5)
    assert last["alpha_bar"] == pytest.approx(0.8)
    assert last["snr"] == pytest.approx(4)
    one_step = 1 - (1 + SIGMAS[998] ** 2) / (1 + SIGMAS[999] ** 2)
    assert first["beta"] == pytest.approx(one_step)
    assert "seed 3, 64x64" in track["facts"]
    assert list(first["images"]) == list(track["views"]) == ["x", "denoised", "noise", "difference"]
    assert "latents" in track["views"]["noise"]


def test_without_guidance_there_is_no_scale_and_no_view_of_it(engine: Engine):
    (track,) = describe(engine, make_recording(IMAGE, None))["tracks"]
    assert track["frames"][0]["cfg"] is None
    assert "difference" not in track["views"]


def test_the_second_pass_of_hires_fix_follows_the_first(engine: Engine):
    both = replace(make_recording(IMAGE), hires=make_recording(LARGE))
    document = describe(engine, both, enable_hr=True, hr_scale=2)
    (track,) = document["tracks"]
    passes = [(frame["pass"], frame["number"]) for frame in track["frames"]]
    assert passes == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert "64x64, then 128x128" in track["facts"]
    assert "Both passes" in document["remark"]
    assert document["form_remark"] == "The form makes the first one alone."


def test_a_job_joins_the_recordings_of_both_passes(engine: Engine):
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1))
    first, second = make_recording(IMAGE), make_recording(LARGE)
    for recording in (first, second):
        job.receive(Output("recording", recording))
    joined = job.take_recording()
    assert joined is not None
    assert (joined.steps, joined.hires) == (first.steps, second)


def test_a_forward_process_has_no_infinite_number():
    moments = Moments(0, 1)
    frames = tuple(
        ForwardFrame(time, 0.1, alpha, snr, IMAGE, moments, moments, moments)
        for time, alpha, snr in ((0, 1.0, math.inf), (1000, 0.0, 0.0))
    )
    recording = ForwardRecording(frames, 256, 192, np.zeros(4, dtype=np.float32), SIGMAS)
    document = describe_forward(recording, in_pixels=True)
    first, last = document["tracks"][0]["frames"]
    assert (first["snr"], first["sigma"], last["sigma"]) == (None, 0, None)
    assert "pixels" in document["tracks"][0]["views"]["x"]
    ProcessStore().add(document)


def test_the_oldest_documents_are_dropped(engine: Engine):
    document = describe(engine, make_recording(IMAGE))
    size = len(json.dumps(document, ensure_ascii=False).encode())
    store = ProcessStore(limit_bytes=2 * size + 1)
    first, second, third = (store.add(document) for _ in range(3))
    with pytest.raises(NotFound, match="Show the process again"):
        store.read(first)
    assert json.loads(store.read(second)) == json.loads(store.read(third)) == document
    small = ProcessStore(limit_bytes=1)
    assert small.read(small.add(document))


def test_an_animation_has_the_frames_of_both_passes_in_one_size(engine: Engine):
    both = replace(make_recording(IMAGE), hires=make_recording(LARGE))
    store = ProcessStore()
    process_id = store.add(describe(engine, both, enable_hr=True, hr_scale=2))
    with Image.open(io.BytesIO(store.make_animation(process_id, 0, "denoised", "GIF"))) as image:
        assert (image.size, getattr(image, "n_frames", 1) >= 2) == ((16, 16), True)


@pytest.mark.parametrize(
    ("track", "view", "format"),
    [(1, "x", "GIF"), (-1, "x", "GIF"), (0, "y", "GIF"), (0, "x", "BMP")],
)
def test_an_animation_of_nothing_is_refused(engine: Engine, track: int, view: str, format: str):
    store = ProcessStore()
    process_id = store.add(describe(engine, make_recording(IMAGE)))
    with pytest.raises(UserError, match=r"Choose"):
        store.make_animation(process_id, track, view, format)
