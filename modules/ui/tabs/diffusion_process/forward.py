"""The forward half of the Diffusion process tab: a picture of one's own becomes noise."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from typing import Any

import gradio as gr
from PIL import Image

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.results import ForwardFrame, ForwardRecording, Moments
from modules.ui.forms.form import read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.diffusion_process import explanations, plots
from modules.ui.tabs.diffusion_process.explanations import build_explanation

LATENTS, PIXELS = "Latents (as Stable Diffusion does)", "Pixels"
_FRAMES = 9
_LARGEST_SIDE = 512
_CELL = 8


def build_forward(engine: Engine) -> gr.Image:
    """Make the half where the page stands and return its picture."""
    with gr.Row(elem_classes="process"):
        with gr.Column(min_width=300):
            picture = gr.Image(
                label="Picture",
                type="filepath",
                image_mode=None,
                sources=["upload", "clipboard"],
                height=240,
                elem_id="process_picture",
            )
            space = gr.Radio(
                [LATENTS, PIXELS], value=LATENTS, label="Noise is added to", elem_id="process_space"
            )
            with gr.Row():
                count = gr.Number(
                    _FRAMES,
                    precision=0,
                    label="Timesteps shown",
                    elem_id="process_count",
                    min_width=120,
                )
                seed = gr.Number(
                    0, precision=0, label="Seed", elem_id="process_noise_seed", min_width=120
                )
            show = gr.Button(
                "Show the forward process", variant="primary", elem_id="process_forward"
            )
            message = gr.HTML("", elem_id="process_forward_message", padding=False)
        with gr.Column(min_width=300):
            build_explanation(explanations.FORWARD)
            build_explanation(explanations.SPACES)
            numbers = gr.HTML("", elem_id="process_numbers", padding=False)
    strip = gr.HTML("", elem_id="process_strip", padding=False)
    build_explanation(explanations.MOMENTS)
    table = gr.HTML("", elem_id="process_moments", padding=False)
    with gr.Row():
        with gr.Column(min_width=300):
            build_explanation(explanations.TRAINED)
            trained = gr.Plot(show_label=False, elem_id="process_trained")
        with gr.Column(min_width=300):
            build_explanation(explanations.HISTOGRAM)
            histogram = gr.Plot(show_label=False, elem_id="process_forward_histogram")
    show.click(
        _shower(engine),
        [picture, count, seed, space],
        [message, strip, numbers, table, trained, histogram],
        preprocess=False,  # the picture is checked by us before a pixel is unpacked
        concurrency_limit=1,
        show_progress="minimal",
        api_visibility=PRIVATE_EVENT["api_visibility"],
    )
    return picture


def _shower(engine: Engine) -> Callable[..., tuple[Any, ...]]:
    def show(file: Any, count: Any, seed: Any, space: str) -> tuple[Any, ...]:
        try:
            if file is None:
                raise UserError("There is no picture.", "Put one in.")
            image = ImageField.from_bytes(read_upload_bytes(file))
            size = display_size(*image.size)
            shown = engine.show_forward_process(
                image, size, _whole(count, "Timesteps shown"), _whole(seed, "Seed"), space == PIXELS
            )
        except WebUIError as error:  # what is drawn already stays
            return (notice("error", str(error)), *[gr.skip()] * 5)
        return (
            "",
            _strip(shown.frames),
            _sizes(shown),
            _table(shown.frames),
            plots.draw_noise_schedule(shown.model_sigmas),
            plots.draw_noise_histogram(shown.final_sample),
        )

    return show


def display_size(width: int, height: int) -> tuple[int, int]:
    """Return the size at which a picture is shown: its own proportions, at most 512, multiples of 8."""
    scale = min(1.0, _LARGEST_SIDE / max(width, height))
    sides = (max(_CELL, round(side * scale / _CELL) * _CELL) for side in (width, height))
    return next(sides), next(sides)


def _whole(value: Any, label: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise UserError(f"{label} is {value!r}; a whole number is needed.")
    if label == "Seed" and not 0 <= value < 2**63:
        raise UserError(f"Seed is {value!r}; use 0 or more.")
    return int(value)


def _strip(frames: tuple[ForwardFrame, ...]) -> str:
    """Return the frames with their numbers, in one piece: they are looked at together and saved nowhere."""
    figures = "".join(
        f'<figure><img src="{_address(frame.image)}" alt="The picture after {frame.time} steps">'
        f"<figcaption><b>t = {frame.time}</b><br>β = {frame.beta:.5f}<br>ᾱ = {frame.alpha_cumprod:.4f}<br>"
        f"SNR = {frame.snr:.3g}</figcaption></figure>"
        for frame in frames
    )
    return f'<div class="strip">{figures}</div>'


def _address(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _sizes(shown: ForwardRecording) -> str:
    ratio = shown.pixel_value_count / shown.value_count
    fewer = f": {ratio:.0f} times fewer" if ratio > 1 else ", each of them a pixel's colour"
    return (
        f'<p class="numbers">The picture has {shown.pixel_value_count:,} numbers; noise was added to '
        f"{shown.value_count:,}{fewer}.</p>"
    )


def _table(frames: tuple[ForwardFrame, ...]) -> str:
    rows = "".join(
        f"<tr><td>{frame.time}</td>{_cells(frame.expected)}{_cells(frame.closed_form)}{_cells(frame.step_by_step)}</tr>"
        for frame in frames
    )
    pair = "<th>mean</th><th>variance</th>"
    return (
        '<div class="scrolls"><table class="moments"><thead>'
        '<tr><th rowspan="2">t</th><th colspan="2">formula</th><th colspan="2">at once</th>'
        f'<th colspan="2">step by step</th></tr><tr>{pair * 3}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cells(moments: Moments) -> str:
    return "".join(
        f"<td>{html.escape(f'{value:.3f}')}</td>" for value in (moments.mean, moments.variance)
    )
