"""Figures of a recorded run in the Diffusion process tab: what the viewer shows, and plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from gradio.components import Component

from modules.engine.engine import Engine
from modules.engine.process.documents import describe_reverse
from modules.params.results import Recording
from modules.plan.plan import Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.ui.notices import notice
from modules.ui.tabs.diffusion_process import explanations, plots
from modules.ui.tabs.diffusion_process.explanations import build_explanation

_FIGURE_COUNT = 3  # Figures.outputs without the message


@dataclass(frozen=True)
class Figures:
    """All components that show a run."""

    message: gr.HTML
    schedules: gr.Plot
    histogram: gr.Plot
    process_id: gr.Textbox  # what the viewer shows

    @property
    def outputs(self) -> list[Component]:
        """Return all of them, in the order of `render_figures`."""
        return [self.message, self.schedules, self.histogram, self.process_id]


def build_plots(message: gr.HTML, process_id: gr.Textbox) -> Figures:
    """Build the plots in the current Gradio context; return them together with the viewer's id."""
    built: list[gr.Plot] = []
    rows = (
        ("schedules", explanations.SCHEDULES),
        ("histogram", explanations.HISTOGRAM),
    )
    with gr.Row(elem_classes="process-plots"):
        for name, explanation in rows:
            with gr.Column(min_width=300):
                build_explanation(explanation)
                built.append(gr.Plot(show_label=False, elem_id=f"process_{name}"))
    schedules, histogram = built
    return Figures(message, schedules, histogram, process_id)


def render_figures(
    engine: Engine, plans: Mapping[str, Plan], recordings: Mapping[str, Recording]
) -> tuple[Any, ...]:
    """Return the values of `Figures.outputs` for finished runs; the engine keeps their frames for the viewer.

    Args:
        engine: Source of the schedules.
        plans: Plans by label.
        recordings: Recordings by label.
    """
    label, recording = next(iter(recordings.items()))
    plan = plans[label]
    return (
        "",
        plots.draw_schedules(_schedule_sigmas(engine, plan, recording), plan.schedule.name),
        plots.draw_noise_histogram(recording.initial_noise),
        engine.processes.add(describe_reverse(plans, recordings)),
    )


def render_message(kind: Literal["note", "error"], text: str) -> tuple[Any, ...]:
    """Return the values of `Figures.outputs` that change only the message."""
    return (notice(kind, text), *[gr.skip()] * _FIGURE_COUNT)


def _schedule_sigmas(engine: Engine, plan: Plan, recording: Recording) -> dict[str, list[float]]:
    """Return the sigmas of every schedule for the run's step count, by schedule name."""
    model_sigmas = ModelSigmas(1 / (1 + recording.model_sigmas**2))
    steps = plan.request.steps
    return {
        schedule.name: schedule.sigmas(steps, model_sigmas, plan.settings)
        for schedule in engine.schedules
        if schedule.sigmas is not None
    }
