"""An extension in a folder: a sampler, a part of every step, their options, a recipe of the merger, a route and a tab.

Copy the folder into `extensions/` of the data folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from modules.engine.engine import Engine
from modules.engine.registries import Registries, Router, Tab
from modules.models.merging.recipes import Recipe
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.params.settings import Settings
from modules.params.settings.sampling import SamplingSettings
from modules.params.settings.sections import SettingsSection
from modules.plan.step_extensions import StepExtensionRow
from modules.sampling.protocol import NoiseSampler, SamplerGenerator, Tensor
from modules.sampling.samplers import Sampler

_SECTION = "latent_contrast"


class ContrastSettings(BaseModel):
    """The options. Those with an infotext key are written into a picture where they counted for it."""

    latent_contrast: float = param(
        0.0,
        "Latent contrast",
        help="More makes light and dark, and colours, differ more; 0 changes nothing.",
        infotext="Latent contrast",
        ge=-0.5,
        le=0.5,
        slider=(-0.5, 0.5, 0.05),
        section=_SECTION,
    )
    latent_contrast_from: float = param(
        0.0,
        "Latent contrast from",
        help="More leaves the first steps as they are, up to this share of them.",
        infotext="Latent contrast from",
        ge=0,
        le=0.9,
        slider=(0, 0.9, 0.1),
        section=_SECTION,
    )
    damping: float = param(
        0.0,
        "Damping of Euler damped",
        help="More makes each step shorter.",
        infotext="Damping",
        ge=0,
        le=0.2,
        slider=(0, 0.2, 0.01),
        section=_SECTION,
    )


def euler_damped(
    x: Tensor, sigmas: Sequence[float], noise: NoiseSampler, settings: SamplingSettings
) -> SamplerGenerator:
    """Take Euler's steps, each but the last shorter by the damping (own; Karras et al. 2022, algorithm 2, without churn)."""
    del noise
    damping: float = getattr(settings, "damping")  # noqa: B009  a field of ContrastSettings
    for sigma, next_sigma in pairwise(sigmas):
        denoised = yield x, sigma
        d = (x - denoised) / sigma  # in this order it rounds as Euler
        length = (next_sigma - sigma) * (1 - damping if next_sigma else 1)
        x = x + d * length
    return x


def make_contrast(context: Any) -> Any:
    """Return the part of every step; called in the backend, where torch is."""
    from .steps import LatentContrast  # noqa: TID252

    settings = context.settings
    return LatentContrast(settings.latent_contrast, settings.latent_contrast_from)


def has_contrast(request: GenerationRequest, settings: Settings) -> bool:
    """Return whether the contrast changes a pass."""
    del request
    return bool(getattr(settings, "latent_contrast"))  # noqa: B009  a field of ContrastSettings


def exaggerate(tensors: tuple[Any, ...], multiplier: float, name: str) -> Any:
    """Return A + (A - B) * M for one tensor of the checkpoints, in the shape and the dtype that A's and B's have together."""
    del name
    a, b = tensors
    return a + multiplier * (a - b)


def contrast_router(engine: Engine) -> APIRouter:
    """Return the route that the tab calls."""
    router = APIRouter(prefix="/latent-contrast", include_in_schema=False)

    @router.get("")
    def contrast() -> dict[str, float]:
        return {"contrast": getattr(engine.settings, "latent_contrast")}  # noqa: B009

    return router


def register(webui: Registries) -> None:
    """Add the rows; if one cannot be added, none is."""
    webui.settings_sections.add(SettingsSection(_SECTION, "Latent contrast", ContrastSettings))
    webui.samplers.add(Sampler("Euler damped", euler_damped, options=("damping",)))
    webui.step_extensions.add(
        StepExtensionRow(
            "Latent contrast",
            make_contrast,
            has_contrast,
            options=("latent_contrast", "latent_contrast_from"),
        )
    )
    webui.recipes.add(
        Recipe(
            "Model contrast",
            "A + (A - B) * M: what A has learned beyond B counts more.",
            model_count=2,
            name_format="{a} + {m}({a} - {b})",
            multiplier_label="Contrast (M)",
            formula=exaggerate,
        )
    )
    webui.routers.add(Router("latent contrast", contrast_router, is_for_page=True))
    webui.tabs.add(Tab("Latent contrast", script="panel.js"))
