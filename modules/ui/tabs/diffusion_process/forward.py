"""The forward half of the Diffusion process tab: an uploaded image becomes noise."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

import gradio as gr
from PIL import Image

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.params.requests.base import MAX_SEED
from modules.params.results import ForwardFrame, ForwardRecording, Moments
from modules.ui.forms.form import Upload, build_image_upload, read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.diffusion_process import explanations, plots
from modules.ui.tabs.diffusion_process.explanations import build_explanation

LATENTS, PIXELS = "Latents (as Stable Diffusion does)", "Pixels"
_FRAME_COUNT = 9
_MAX_SIDE = 512
_SIDE_MULTIPLE = 8  # pixels per latent


def build_forward(engine: Engine) -> gr.Image:
    """Build the half in the current Gradio context and return its image box."""
    with gr.Row(elem_classes="process"):
        with gr.Column(min_width=300):
            image = build_image_upload(label="Picture", height=240, elem_id="process_picture")
            space = gr.Radio(
                [LATENTS, PIXELS], value=LATENTS, label="Noise is added to", elem_id="process_space"
            )
            with gr.Row():
                count = gr.Number(
                    _FRAME_COUNT,
                    precision=0,
                    label="Timesteps shown",
                    elem_id="process_count",
                    min_width=120,
                )
                # A number box would round a seed beyond 2^53.
                seed = gr.Textbox(
                    "0", max_lines=1, label="Seed", elem_id="process_noise_seed", min_width=120
                )
            show = gr.Button(
                "Show the forward process", variant="primary", elem_id="process_forward"
            )
            message = gr.HTML("", elem_id="process_forward_message", padding=False)
        with gr.Column(min_width=300):
            build_explanation(explanations.FORWARD)
            build_explanation(explanations.SPACES)
            value_counts = gr.HTML("", elem_id="process_numbers", padding=False)
    strip = gr.HTML("", elem_id="process_strip", padding=False)
    build_explanation(explanations.MOMENTS)
    moments = gr.HTML("", elem_id="process_moments", padding=False)
    with gr.Row():
        with gr.Column(min_width=300):
            build_explanation(explanations.TRAINED)
            noise_schedule = gr.Plot(show_label=False, elem_id="process_trained")
        with gr.Column(min_width=300):
            build_explanation(explanations.HISTOGRAM)
            histogram = gr.Plot(show_label=False, elem_id="process_forward_histogram")

    def show_process(upload: Upload, count: Any, seed: Any, space: str) -> tuple[Any, ...]:
        try:
            return ("", *render_forward(engine, upload, count, seed, space))
        except WebUIError as error:  # keeps the last figures
            return (notice("error", str(error)), *[gr.skip()] * 5)

    show.click(
        show_process,
        [image, count, seed, space],
        [message, strip, value_counts, moments, noise_schedule, histogram],
        preprocess=False,  # the image is validated before a pixel is unpacked
        concurrency_limit=1,
        show_progress="minimal",
        api_visibility=PRIVATE_EVENT["api_visibility"],
    )
    return image


def render_forward(
    engine: Engine, upload: Upload, count: Any, seed: Any, space: str
) -> tuple[Any, ...]:
    """Return strip, value counts, table of moments, noise schedule and histogram of an image's forward process.

    Raises:
        UserError: there is no image, or a number is invalid.
    """
    if upload is None:
        raise UserError("There is no picture.", "Upload one.")
    image = ImageField.from_bytes(read_upload_bytes(upload))
    size = display_size(*image.size)
    recording = engine.show_forward_process(
        image,
        size,
        _parse_integer(count, "Timesteps shown"),
        _parse_integer(seed, "Seed"),
        space == PIXELS,
    )
    return (
        _render_strip(recording.frames),
        _render_value_counts(recording),
        _render_moments(recording.frames),
        plots.draw_noise_schedule(recording.model_sigmas),
        plots.draw_noise_histogram(recording.final_sample),
    )


def display_size(width: int, height: int) -> tuple[int, int]:
    """Return the size at which an image is shown: its proportions, at most 512, multiples of 8."""
    scale = min(1.0, _MAX_SIDE / max(width, height))
    sides = (
        max(_SIDE_MULTIPLE, round(side * scale / _SIDE_MULTIPLE) * _SIDE_MULTIPLE)
        for side in (width, height)
    )
    return next(sides), next(sides)


def _parse_integer(value: Any, label: str) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise UserError(f"{label} is {value!r}; a whole number is needed.")
    if label == "Seed" and not 0 <= value <= MAX_SEED:
        raise UserError(f"Seed is {value!r}; use 0 to {MAX_SEED}.")
    return int(value)


def _render_strip(frames: tuple[ForwardFrame, ...]) -> str:
    """Return the frames with their numbers as one HTML string, images included: they are not saved."""
    figures = "".join(
        f'<figure><img src="{_data_url(frame.image)}" alt="The picture after {frame.time} steps">'
        f"<figcaption><b>t = {frame.time}</b><br>β = {frame.beta:.5f}<br>ᾱ = {frame.alpha_cumprod:.4f}<br>"
        f"SNR = {frame.snr:.3g}</figcaption></figure>"
        for frame in frames
    )
    return f'<div class="strip">{figures}</div>'


def _data_url(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=85)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _render_value_counts(recording: ForwardRecording) -> str:
    ratio = recording.pixel_value_count / recording.value_count
    fewer = f": {ratio:.0f} times fewer" if ratio > 1 else ", each of them a pixel's colour"
    return (
        f'<p class="numbers">The picture has {recording.pixel_value_count:,} numbers; noise was added to '
        f"{recording.value_count:,}{fewer}.</p>"
    )


def _render_moments(frames: tuple[ForwardFrame, ...]) -> str:
    rows = "".join(
        f"<tr><td>{frame.time}</td>{_cells(frame.expected)}{_cells(frame.closed_form)}{_cells(frame.step_by_step)}</tr>"
        for frame in frames
    )
    heads = "<th>mean</th><th>variance</th>"
    return (
        '<div class="scrolls"><table class="moments"><thead>'
        '<tr><th rowspan="2">t</th><th colspan="2">formula</th><th colspan="2">at once</th>'
        f'<th colspan="2">step by step</th></tr><tr>{heads * 3}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _cells(moments: Moments) -> str:
    return "".join(
        f"<td>{html.escape(f'{value:.3f}')}</td>" for value in (moments.mean, moments.variance)
    )
