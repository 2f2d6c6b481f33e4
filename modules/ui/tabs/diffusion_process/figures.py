"""Figures of a recorded run in the Diffusion process tab: the images of one step, plots, an animation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.images.animation import available_formats
from modules.params.results import Recording
from modules.plan.plan import Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice
from modules.ui.tabs.diffusion_process import explanations, frame_files, plots
from modules.ui.tabs.diffusion_process.explanations import build_explanation

_FIGURE_COUNT = 10  # Figures.outputs without the message


@dataclass(frozen=True)
class StepViews:
    """The images of one step, and the slider that selects the step."""

    step: gr.Slider
    caption: gr.HTML
    images: dict[str, gr.Image]  # by view
    frames: gr.State  # the run's Frames


@dataclass(frozen=True)
class Figures:
    """All components that show a run."""

    message: gr.HTML
    views: StepViews
    distances: gr.Plot
    schedules: gr.Plot
    histogram: gr.Plot

    @property
    def outputs(self) -> list[Component]:
        """Return all of them, in the order of `render_figures`."""
        return [
            self.message, self.views.step, self.views.caption, *self.views.images.values(), self.distances,
            self.schedules, self.histogram, self.views.frames,
        ]  # fmt: skip


def build_step_views(message: gr.HTML) -> StepViews:
    """Build slider, images and animation in the current Gradio context; the message shows errors."""
    step = gr.Slider(
        1, 2, value=1, step=1, label="Step", elem_id="process_step", interactive=True, buttons=[]
    )
    caption = gr.HTML("", elem_id="process_caption", padding=False)
    images: dict[str, gr.Image] = {}
    names = list(frame_files.VIEWS.items())
    for pair in (names[:2], names[2:]):
        with gr.Row(elem_classes="views"):
            for view, label in pair:
                images[view] = gr.Image(
                    label=label,
                    interactive=False,
                    min_width=140,
                    buttons=["fullscreen"],
                    elem_id=f"process_view_{view}",
                )
    frames = gr.State(
        None,
        time_to_live=frame_files.LIFETIME_S,
        delete_callback=frame_files.delete_frames,
    )
    _build_animation(frames, message)
    step.input(
        _render_step,
        [step, frames],
        [caption, *images.values()],
        trigger_mode="always_last",
        **PRIVATE_EVENT,
    )
    return StepViews(step, caption, images, frames)


def build_plots(message: gr.HTML, views: StepViews) -> Figures:
    """Build the plots in the current Gradio context; return them together with the step's views."""
    built: list[gr.Plot] = []
    rows = (
        ("distances", explanations.DISTANCES),
        ("schedules", explanations.SCHEDULES),
        ("histogram", explanations.HISTOGRAM),
    )
    with gr.Row():
        for name, explanation in rows:
            with gr.Column(min_width=300):
                build_explanation(explanation)
                built.append(gr.Plot(show_label=False, elem_id=f"process_{name}"))
    distances, schedules, histogram = built
    return Figures(message, views, distances, schedules, histogram)


def _build_animation(frames: gr.State, message: gr.HTML) -> None:
    with gr.Row():
        view = gr.Dropdown(
            list(frame_files.ANIMATED_VIEWS), label="Animation of the", min_width=140
        )
        format = gr.Dropdown(
            available_formats(), label="Format", min_width=100, elem_id="process_format"
        )
        save = gr.Button("Make the animation", elem_id="process_animate", min_width=140)
    file = gr.File(label="Animation", interactive=False, visible=False, elem_id="process_animation")

    def animate(frames: frame_files.Frames | None, view: str, format: str) -> tuple[Any, Any]:
        if frames is None:
            return notice("error", "There is nothing to save yet. Press Show first."), gr.skip()
        try:
            path = frames.save_animation(frame_files.ANIMATED_VIEWS[view], format)
        except WebUIError as error:
            return notice("error", str(error)), gr.skip()
        return "", gr.File(value=str(path), visible=True)

    save.click(animate, [frames, view, format], [message, file], **PRIVATE_EVENT)


def render_figures(
    engine: Engine, plans: Mapping[str, Plan], recordings: Mapping[str, Recording]
) -> tuple[Any, ...]:
    """Return the values of `Figures.outputs` for finished runs; the first one's frames are written to disk.

    Args:
        engine: Source of the schedules.
        plans: Plans by label.
        recordings: Recordings by label.
    """
    label, recording = next(iter(recordings.items()))
    plan = plans[label]
    frames = frame_files.save_frames(recording, engine.paths.gradio_temp)
    last_step = frames.count
    runs = {label: recording.steps for label, recording in recordings.items()}
    return (
        "",
        gr.Slider(minimum=1, maximum=max(2, last_step), value=last_step),
        *_render_step(last_step, frames),
        plots.draw_distances(runs),
        plots.draw_schedules(_schedule_sigmas(engine, plan, recording), plan.schedule.name),
        plots.draw_noise_histogram(recording.initial_noise),
        frames,
    )


def render_message(kind: Literal["note", "error"], text: str) -> tuple[Any, ...]:
    """Return the values of `Figures.outputs` that change only the message."""
    return (notice(kind, text), *[gr.skip()] * _FIGURE_COUNT)


def _render_step(step: float, frames: frame_files.Frames | None) -> tuple[Any, ...]:
    """Return caption and images of a step, counted from 1."""
    if frames is None:
        return ("", *[None] * len(frame_files.VIEWS))
    index = max(0, min(int(step), frames.count) - 1)
    caption = f'<p class="numbers">{frames.captions[index]}</p>'
    return (caption, *[frames.path(index, view) for view in frame_files.VIEWS])


def _schedule_sigmas(engine: Engine, plan: Plan, recording: Recording) -> dict[str, list[float]]:
    """Return the sigmas of every schedule for the run's step count, by schedule name."""
    model_sigmas = ModelSigmas(1 / (1 + recording.model_sigmas**2))
    steps = plan.request.steps
    return {
        schedule.name: schedule.sigmas(steps, model_sigmas, plan.settings)
        for schedule in engine.schedules
        if schedule.sigmas is not None
    }
