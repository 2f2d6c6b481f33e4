"""An extension that adds a row to each table that extensions mostly add to."""

from __future__ import annotations

from typing import Literal

import gradio as gr
from fastapi import APIRouter
from pydantic import BaseModel

from modules.engine.engine import Engine
from modules.engine.registries import Registries, Router, Tab
from modules.params.param import param
from modules.params.requests.tasks import Task
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings.sections import SettingsSection
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun

from .sampling import jump, straight  # noqa: TID252  the package's name is not known


class LoudSettings(BaseModel):
    """The options of the extension."""

    loudness: int = param(
        2, "Loudness", help="More is louder.", infotext="Loudness", ge=0, le=11, section="loud"
    )
    loud_voice: Literal["bass", "soprano"] = param(
        "bass", "Voice", help="soprano is higher.", section="loud"
    )
    jump_length: float = param(
        1.0, "Jump length", help="More jumps further.", infotext="Jump length", section="loud"
    )
    line_slope: float = param(
        1.0, "Line slope", help="More falls faster.", infotext="Line slope", section="loud"
    )


class PosterRequest(Txt2ImgRequest):
    """A task of its own: txt2img with a slogan."""

    slogan: str = param("", "Slogan", help="What the poster says.", infotext="Slogan")

    @property
    def task(self) -> str:
        """Return the name of its row."""
        return "poster"


class TwiceArguments(BaseModel, frozen=True, extra="forbid"):
    """The argument of the script."""

    seed_step: int = param(1, "Seed step", help="Difference of the two seeds.", ge=1, le=100)


def run_twice(request: Txt2ImgRequest, args: TwiceArguments) -> ScriptRun:
    """Repeat a request with another seed."""
    results = yield [
        Cell("first", lambda: request),
        Cell("second", lambda: request.replace(seed=request.seed + args.seed_step)),
    ]
    return ScriptResult((f"{len(results)} cells have ended.",))


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
    webui.samplers.add(Sampler("Jump", jump, aliases=("k_jump",), options=("jump_length",)))
    webui.schedules.add(Schedule("Straight", straight, options=("line_slope",)))
    webui.tasks.add(Task("poster", PosterRequest, refuses={"depth": "cannot draw a poster"}))
    webui.scripts.add(
        Script(
            "Each twice",
            run_twice,
            TwiceArguments,
            cell_count=lambda args: 2,
            has_one_seed=True,
            tasks=frozenset(("txt2img", "poster")),
        )
    )
    webui.tabs.add(Tab("Loud", build_tab))
    webui.routers.add(Router("loud", loud_router))
    webui.settings_sections.add(SettingsSection("loud", "Loudness", LoudSettings))
