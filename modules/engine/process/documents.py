"""Recordings as documents: frames and numbers as JSON values, which the viewer and an exported page need alone.

A document has `charts` (see `charts`) and `tracks`, one per run; a track has `views`, the labels of its images, and `frames`; a frame has its numbers
and its images as WebP in data URLs.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from PIL import Image

from modules.engine.process.charts import forward_charts, reverse_charts
from modules.images.animation import available_formats
from modules.params.results import ForwardFrame, ForwardRecording, RecordedStep, Recording
from modules.plan.plan import Plan
from modules.sampling.forward_process import ForwardProcess
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.schedules import Schedule

_QUALITY = 88
# Image attributes of a RecordedStep in the page's order, and their labels.
REVERSE_VIEWS = {
    "x": "x: the sample, decoded, scaled to the network's input",
    "denoised": "x̂₀: the predicted picture, decoded",
    "noise": "ε̂: the predicted noise; one square is one cell of the latents, in approximate colours",
    "difference": "prompt against negative prompt: black is no difference, white the largest of this pass, by cells of the latents",
}
_FORWARD_VIEWS = {True: "xₜ: the pixels with noise", False: "xₜ: the latents with noise, decoded"}

Document = dict[str, Any]  # JSON values


def describe_reverse(
    plans: Mapping[str, Plan], recordings: Mapping[str, Recording], schedules: Iterable[Schedule]
) -> Document:
    """Return the document of finished runs.

    Args:
        plans: Plans by label; at least one.
        recordings: Recordings by label.
        schedules: All schedules, which the first plan's is compared with.
    """
    plan = next(iter(plans.values()))
    remark, form_remark = _remarks(plan)
    return {
        "kind": "reverse",
        "prompt": plan.for_image(0).request.prompt,
        "remark": remark,
        "form_remark": form_remark,
        "formats": available_formats(),
        "tracks": [
            _reverse_track(label, plans[label], recording)
            for label, recording in recordings.items()
        ],
        "charts": reverse_charts(plan, next(iter(recordings.values())), schedules),
    }


def describe_forward(recording: ForwardRecording, in_pixels: bool) -> Document:
    """Return the document of a forward process.

    Args:
        recording: The process.
        in_pixels: Whether noise was added to pixels rather than to latents.
    """
    space = "pixels" if in_pixels else "latents"
    return {
        "kind": "forward",
        "prompt": "",
        "remark": "",
        "form_remark": "",
        "formats": available_formats(),
        "tracks": [
            {
                "name": f"Forward process in {space}",
                "facts": f"{recording.value_count:,} numbers, {len(recording.frames)} frames",
                "views": {"x": _FORWARD_VIEWS[in_pixels]},
                "frames": [_forward_frame(frame) for frame in recording.frames],
            }
        ],
        "charts": forward_charts(recording),
    }


def _remarks(plan: Plan) -> tuple[str, str]:
    """Return what a viewer should know of a run, and what the page's form does otherwise; empty for plain txt2img."""
    task = plan.request.task
    if task != "txt2img":
        return (
            f"This is a picture of {task}: it began with another picture, not with pure noise.",
            "The form begins with pure noise.",
        )
    if plan.hires is not None:
        return (
            "Both passes are shown: the first one, then that of hires fix on the enlarged picture.",
            "The form makes the first one alone.",
        )
    return "", ""


def _reverse_track(label: str, plan: Plan, recording: Recording) -> Document:
    request = plan.request
    frames = list(_pass_frames(1, plan, recording))
    size = f"{request.width}x{request.height}"
    if recording.hires is not None and plan.hires is not None:
        frames += _pass_frames(2, plan.hires.plan, recording.hires)
        second = plan.hires.plan.request
        size = f"{size}, then {second.width}x{second.height}"
    facts = (
        f"{plan.schedule.name}, {request.steps} steps, CFG {request.cfg_scale:g}, seed {request.seed}, "
        f"{size}, {plan.checkpoint.name}"
    )
    views = [view for view in REVERSE_VIEWS if any(view in frame["images"] for frame in frames)]
    return {
        "name": label,
        "facts": facts,
        "views": {view: REVERSE_VIEWS[view] for view in views},
        "frames": frames,
    }


def _pass_frames(number: int, plan: Plan, recording: Recording) -> Iterator[Document]:
    process = ForwardProcess(ModelSigmas(1 / (1 + recording.model_sigmas**2)))
    for step in recording.steps:
        yield _reverse_frame(number, plan, step, process)


def _reverse_frame(
    number: int, plan: Plan, step: RecordedStep, process: ForwardProcess
) -> Document:
    alpha_bar = 1 / (1 + step.sigma**2)
    time = min(max(round(step.timestep) + 1, 1), process.step_count)  # timestep 0 is one step away
    images = {view: getattr(step, view) for view in REVERSE_VIEWS}
    return {
        "pass": number,
        "number": step.index + 1,
        "sigma": step.sigma,
        "timestep": step.timestep,
        "alpha_bar": alpha_bar,
        "beta": process.beta(time),
        "snr": 1 / step.sigma**2 if step.sigma else None,
        "cfg": plan.request.cfg_scale if step.difference is not None else None,
        "distance": step.rms_to_final,
        "images": {view: _data_url(image) for view, image in images.items() if image is not None},
    }


def _forward_frame(frame: ForwardFrame) -> Document:
    alpha_bar = frame.alpha_cumprod
    return {
        "pass": 1,
        "number": frame.time,
        "sigma": math.sqrt((1 - alpha_bar) / alpha_bar) if alpha_bar else None,
        "timestep": frame.time,
        "alpha_bar": alpha_bar,
        "beta": frame.beta,
        "snr": None if math.isinf(frame.snr) else frame.snr,
        "cfg": None,
        "distance": None,
        "images": {"x": _data_url(frame.image)},
    }


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=_QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def read_images(document: Document, track: int, view: str) -> list[Image.Image]:
    """Return the images of one view of a track, in RGB; none if there is no such track or view."""
    tracks: list[Document] = document["tracks"]
    frames: list[Document] = tracks[track]["frames"] if 0 <= track < len(tracks) else []
    urls: list[str] = [frame["images"][view] for frame in frames if view in frame["images"]]
    return [
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB")
        for url in urls
    ]
