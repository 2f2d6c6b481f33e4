"""An extension that adds a row to each table that extensions mostly add to."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr
from fastapi import APIRouter
from pydantic import BaseModel

from modules.engine.engine import Engine
from modules.engine.registries import Registries, Router, Tab
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.params.settings.sections import SettingsSection
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

from .sampling import jump, straight  # noqa: TID252  the package's name is not known


class LoudSettings(BaseModel):
    """The options of the extension."""

    loudness: int = param(
        2, "Loudness", help="More is louder.", infotext="Loudness", ge=0, le=11, section="loud"
    )
    loud_voice: Literal["bass", "soprano"] = param(
        "bass", "Voice", help="soprano is higher.", section="loud"
    )


@dataclass(frozen=True)
class EachTwice:
    """A script that repeats a request with the next seed."""

    name: str = "Each twice"

    def run(
        self, request: GenerationRequest
    ) -> Generator[Sequence[GenerationRequest], Sequence[Any], int]:
        """Yield two requests and return the number of their results."""
        results = yield [request, request.replace(seed=request.seed + 1)]
        return len(results)


def build_tab(engine: Engine) -> None:
    """Build the tab in the current Gradio context."""
    gr.Markdown(f"Loudness: {engine.settings.loudness}", elem_id="loud_text")  # type: ignore[attr-defined]


def loud_router(engine: Engine) -> APIRouter:
    """Return a route that answers with an option."""
    router = APIRouter(prefix="/loud")

    @router.get("/level")
    def level() -> int:
        return engine.settings.loudness  # type: ignore[attr-defined]

    return router


def register(webui: Registries) -> None:
    """Add the rows."""
    webui.samplers.add(Sampler("Jump", jump, aliases=("k_jump",)))
    webui.schedules.add(Schedule("Straight", straight))
    webui.scripts.add(EachTwice())
    webui.tabs.add(Tab("Loud", build_tab))
    webui.routers.add(Router("loud", loud_router))
    webui.settings_sections.add(SettingsSection("loud", "Loudness", LoudSettings))
