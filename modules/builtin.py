"""Registers everything that is built in, through the same door as extensions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from modules.api.routes import ROUTERS
from modules.core.paths import Paths
from modules.core.registry import Registry, Row
from modules.engine.registries import Registries
from modules.images.filename import FILENAME_TOKENS
from modules.infotext.codecs import CODECS
from modules.infotext.foreign.dialects import DIALECTS
from modules.infotext.foreign.json_formats import JSON_FORMATS
from modules.models.families import FAMILIES
from modules.models.kinds import KINDS
from modules.models.merging.recipes import RECIPES
from modules.models.upscaling.upscalers import UPSCALERS
from modules.params.requests.tasks import TASKS
from modules.params.settings.sections import SECTIONS
from modules.plan.jobs.kinds import JOB_KINDS
from modules.prompt.dynamic.wildcards import WildcardLibrary
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from modules.scripts.combinatorial_prompts import combinatorial_prompts
from modules.scripts.registry import SCRIPTS

R = TypeVar("R", bound=Row)


def register(webui: Registries) -> None:
    """Add the built-in rows of every table."""
    _add(webui.samplers, SAMPLERS)
    _add(webui.schedules, SCHEDULES)
    _add(webui.upscalers, UPSCALERS)
    _add(webui.families, FAMILIES)
    _add(webui.kinds, KINDS)
    _add(webui.codecs, CODECS)
    _add(webui.dialects, DIALECTS)
    _add(webui.json_formats, JSON_FORMATS)
    _add(webui.filename_tokens, FILENAME_TOKENS)
    _add(webui.tasks, TASKS)
    _add(webui.job_kinds, JOB_KINDS)
    _add(webui.scripts, SCRIPTS)
    _add(webui.recipes, RECIPES)
    _add(webui.settings_sections, SECTIONS)
    _add(webui.routers, ROUTERS)
    if webui.serves_page:
        from modules.ui.page import TABS  # imports Gradio

        _add(webui.tabs, TABS)


def register_with_files(webui: Registries, paths: Paths) -> None:
    """Add the built-in rows that read files of the user."""
    webui.scripts.add(combinatorial_prompts(WildcardLibrary(paths.wildcards)))


def _add(registry: Registry[R], rows: Iterable[R]) -> None:
    for row in rows:
        registry.add(row)
