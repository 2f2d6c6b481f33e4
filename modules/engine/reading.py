"""Infotexts read with what an engine knows: its tables, its files, its settings."""

from __future__ import annotations

from modules.engine.engine import Engine
from modules.infotext import Known, Reading, interpret, parse
from modules.params.requests.base import GenerationRequest


def known(engine: Engine) -> Known:
    """Return what names can mean here and now."""
    return Known(engine.samplers, engine.schedules, engine.models, engine.settings, engine.choices)


def read_infotext(engine: Engine, text: str, model: type[GenerationRequest]) -> Reading:
    """Return what an infotext asks for, as a request of that type, and what of it cannot be followed."""
    return interpret(parse(text), known(engine), model)
