"""Plots of the Diffusion process tab, drawn with Plotly; Gradio ships its script, so nothing is fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from modules.sampling.forward_process import ForwardProcess
from modules.sampling.model_sigmas import ModelSigmas

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Readable in the light and in the dark theme.
_INK = "#8a94a6"
_GRID = "rgba(138, 148, 166, 0.25)"
_COLOURS = ("#ea580c", "#2563eb", "#16a34a", "#9333ea", "#ca8a04", "#0891b2", "#db2777", "#65a30d")
_CONTEXT = "rgba(138, 148, 166, 0.55)"  # of lines drawn for comparison
_HEIGHT = 300
_BINS = 60


def draw_noise_schedule(sigmas: NDArray[np.float64]) -> Figure:
    """Return beta, alpha bar and the logarithm of the signal-to-noise ratio over the trained timesteps.

    Args:
        sigmas: float64 [timesteps], the sigma of every trained timestep.
    """
    from plotly.subplots import make_subplots

    process = ForwardProcess(ModelSigmas(1 / (1 + sigmas**2)))
    timesteps = np.arange(1, process.step_count + 1)
    alphas = process.alphas_cumprod
    figure = make_subplots(
        rows=1, cols=3, subplot_titles=("β<sub>t</sub>", "ᾱ<sub>t</sub>", "log SNR")
    )
    curves = (process.betas, alphas, np.log(alphas / (1 - alphas)))
    for column, (curve, colour) in enumerate(zip(curves, _COLOURS, strict=False), start=1):
        figure.add_scatter(
            x=timesteps, y=curve, line_color=colour, showlegend=False, row=1, col=column
        )
    figure.update_xaxes(title_text="t")
    return _apply_style(figure)


def draw_schedules(curves: Mapping[str, Sequence[float]], chosen: str) -> Figure:
    """Return the sigmas of every schedule over the steps, with the chosen schedule in front.

    Args:
        curves: Sigmas by schedule name.
        chosen: Name of the highlighted schedule.
    """
    figure = _figure()
    for name in sorted(curves, key=lambda name: name == chosen):  # the chosen one is drawn last
        is_chosen = name == chosen
        figure.add_scatter(
            y=[sigma or None for sigma in curves[name]],  # a logarithmic axis has no 0
            name=name,
            mode="lines+markers" if is_chosen else "lines",
            line={
                "color": _COLOURS[0] if is_chosen else _CONTEXT,
                "width": 3 if is_chosen else 1,
            },
        )
    figure.update_yaxes(type="log", title_text="sigma")
    figure.update_xaxes(title_text="step")
    return _apply_style(figure)


def draw_noise_histogram(sample: NDArray[np.float32]) -> Figure:
    """Return the histogram of a sample's values, and the normal distribution for comparison."""
    reach = 4.5
    density, edges = np.histogram(sample, bins=_BINS, range=(-reach, reach), density=True)
    centres = (edges[:-1] + edges[1:]) / 2
    normal = np.linspace(-reach, reach, 181)
    figure = _figure()
    figure.add_bar(
        x=centres, y=density, name="x<sub>T</sub>", marker_color=_COLOURS[1], opacity=0.6
    )
    figure.add_scatter(
        x=normal,
        y=np.exp(-(normal**2) / 2) / np.sqrt(2 * np.pi),
        name="N(0, 1)",
        line_color=_COLOURS[0],
    )
    figure.update_xaxes(title_text="value")
    figure.update_yaxes(title_text="density")
    figure.update_layout(bargap=0)
    return _apply_style(figure)


def _figure() -> Figure:
    from plotly.graph_objects import Figure

    return Figure()


def _apply_style(figure: Figure) -> Figure:
    figure.update_layout(
        height=_HEIGHT,
        margin={"l": 50, "r": 10, "t": 30, "b": 40},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        font_color=_INK,
        colorway=_COLOURS,
        legend={"orientation": "h", "y": -0.3, "yanchor": "top"},
        dragmode=False,
    )
    figure.update_xaxes(gridcolor=_GRID, zerolinecolor=_GRID)
    figure.update_yaxes(gridcolor=_GRID, zerolinecolor=_GRID)
    return figure
