"""The forward half of the Diffusion process tab: an uploaded image becomes noise."""

from __future__ import annotations

import html
from typing import Any

import gradio as gr

from modules.core.errors import UserError, WebUIError
from modules.engine.engine import Engine
from modules.engine.process.documents import describe_forward
from modules.params.image import ImageField
from modules.params.requests.base import MAX_SEED
from modules.params.results import ForwardFrame, ForwardRecording, Moments
from modules.ui.forms.form import Upload, build_image_upload, read_upload_bytes
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.diffusion_process import explanations, plots
from modules.ui.tabs.diffusion_process.explanations import build_explanation
from modules.ui.tabs.diffusion_process.viewer import build_viewer, busy_script, show_script

LATENTS, PIXELS = "Latents (as Stable Diffusion does)", "Pixels"
_FRAME_COUNT = 9
_MAX_SIDE = 512
_SIDE_MULTIPLE = 8  # pixels per latent


def build_forward(engine: Engine) -> gr.Image:
    """Build the half in the current Gradio context and return its image box."""
    with gr.Row(elem_classes="process"):
        with gr.Column(min_width=300, scale=2):
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
            value_counts = gr.HTML("", elem_id="process_numbers", padding=False)
        with gr.Column(min_width=300, scale=5):
            process_id = build_viewer("forward")
    with gr.Row():
        with gr.Column(min_width=300):
            build_explanation(explanations.FORWARD)
            build_explanation(explanations.SPACES)
        with gr.Column(min_width=300):
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

    show.click(None, js=busy_script("forward"))
    show.click(
        show_process,
        [image, count, seed, space],
        [message, process_id, value_counts, moments, noise_schedule, histogram],
        preprocess=False,  # the image is validated before a pixel is unpacked
        concurrency_limit=1,
        show_progress="minimal",
        show_progress_on=[message],
        api_visibility=PRIVATE_EVENT["api_visibility"],
    ).then(None, process_id, js=show_script("forward"))
    return image


def render_forward(
    engine: Engine, upload: Upload, count: Any, seed: Any, space: str
) -> tuple[Any, ...]:
    """Return the process's id, value counts, table of moments, noise schedule and histogram of an image's forward process.

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
        engine.processes.add(describe_forward(recording, space == PIXELS)),
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
