"""Curves of a recorded process, as JSON values: the viewer draws them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.params.results import ForwardRecording, Recording
from modules.plan.plan import Plan
from modules.sampling.forward_process import ForwardProcess
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.schedules import Schedule

Chart = dict[
    str, Any
]  # `title`, `axis` (its name and both ends), `lines` (`name`, `values`), `is_logarithmic`

_REACH = 4.5  # standard deviations at both sides of a histogram
_BINS = 60


def forward_charts(recording: ForwardRecording) -> list[Chart]:
    """Return what the checkpoint was trained with, and the histogram of the sample at the end."""
    process = ForwardProcess(ModelSigmas(1 / (1 + recording.model_sigmas**2)))
    alphas = process.alphas_cumprod
    axis = ("t: trained timestep", 1, process.step_count)
    curves = {
        "β: noise that a trained step adds": process.betas,
        "ᾱ: share of the picture that is left": alphas,
        "log SNR: signal against noise": np.log(alphas / (1 - alphas)),
    }
    charts = [_chart(title, axis, {"": curve.tolist()}) for title, curve in curves.items()]
    return [*charts, histogram_chart(recording.final_sample)]


def reverse_charts(plan: Plan, recording: Recording, schedules: Iterable[Schedule]) -> list[Chart]:
    """Return the sigmas of every schedule for the run's steps, the run's own first, and the histogram of its noise."""
    model_sigmas = ModelSigmas(1 / (1 + recording.model_sigmas**2))
    steps = plan.request.steps
    curves = {
        schedule.name: schedule.sigmas(steps, model_sigmas, plan.settings)
        for schedule in sorted(schedules, key=lambda row: row.name != plan.schedule.name)
        if schedule.sigmas is not None
    }
    title = f"sigma of every schedule (logarithmic); {plan.schedule.name} is the run's"
    chart = _chart(title, ("step", 0, steps), curves, is_logarithmic=True)
    return [chart, histogram_chart(recording.initial_noise)]


def histogram_chart(sample: NDArray[np.float32]) -> Chart:
    """Return the density of a sample's values and that of the normal distribution."""
    density, edges = np.histogram(sample, bins=_BINS, range=(-_REACH, _REACH), density=True)
    centres = (edges[:-1] + edges[1:]) / 2
    normal = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi)
    lines = {"x_T": density.tolist(), "N(0, 1)": normal.tolist()}
    return _chart("Values of x_T, beside N(0, 1)", ("value", -_REACH, _REACH), lines)


def _chart(
    title: str,
    axis: tuple[str, float, float],
    lines: Mapping[str, Sequence[float]],
    *,
    is_logarithmic: bool = False,
) -> Chart:
    return {
        "title": title,
        "axis": list(axis),
        "lines": [{"name": name, "values": list(values)} for name, values in lines.items()],
        "is_logarithmic": is_logarithmic,
    }
