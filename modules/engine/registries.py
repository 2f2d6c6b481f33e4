"""Registries: every table that can grow, in one object. Built-ins and extensions add to it by the same door.

The engine passes the tables down to the floors that use them. Page and API read theirs from `Engine.registries`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, cast

from modules.core.registry import Registry
from modules.engine.extensions.record import ExtensionRecord
from modules.images.filename import FilenameToken
from modules.infotext.codecs import Codec
from modules.infotext.foreign.dialects import Dialect
from modules.infotext.foreign.json_formats import JsonFormat
from modules.models.families import Family
from modules.models.kinds import ModelKind
from modules.models.merging.recipes import Recipe
from modules.models.upscaling.upscalers import Upscaler
from modules.params.requests.job_request import JobRequest
from modules.params.requests.tasks import Task
from modules.params.settings import Settings
from modules.params.settings.sections import SettingsSection, make_settings_class
from modules.plan.jobs.kinds import JobKind, find_request_class
from modules.plan.step_extensions import StepExtensionRow, no_step_extensions
from modules.plan.tables import PlanTables
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule
from modules.scripts.protocol import Script


@dataclass(frozen=True)
class Tab:
    """One tab of the page.

    Args:
        name: Its title.
        build: Called with the engine, in the tab's Gradio context. None for a generation tab.
        form: The `FormLayout` of a generation tab, which the browser builds; None for any other tab.
        script: Name of a JavaScript module in the `assets/` folder of an extension; its `mount(element, page)` fills the
            tab.
    """

    name: str
    build: Callable[[Any], None] | None = None  # Any: the engine is above this file
    form: Any = None  # layouts are the page's
    script: str = ""


@dataclass(frozen=True)
class Router:
    """Some routes of the HTTP API.

    Args:
        name: Identifies the row.
        build: Called with the engine; returns a FastAPI router.
        is_for_page: Whether the page calls it, so that it is there with `--no-api`, too.
    """

    name: str
    build: Callable[[Any], Any]  # Any: the engine is above this file, routers are FastAPI's
    is_for_page: bool = False


@dataclass(frozen=True)
class Registries:
    """The tables of one run of the program.

    Args:
        serves_page: Whether there is a page; without one Gradio is not imported.
        samplers: Sampling algorithms.
        schedules: Noise schedules.
        step_extensions: What extensions add to the steps of a run.
        upscalers: How images or latents are enlarged before the hires pass.
        families: Architectures of checkpoints; the first row that matches is used.
        kinds: Kinds of model files, with their folders.
        codecs: Infotext keys of several fields.
        dialects: Programs whose infotexts are read; the first row that matches is used.
        json_formats: Programs that write JSON into images; the first row that matches is used.
        filename_tokens: Computed tokens of filename patterns.
        tasks: What a request that generates images can ask for.
        job_kinds: The kinds of jobs that generate no images.
        scripts: Generators over requests.
        recipes: Ways of making one checkpoint of others.
        settings_sections: Sections of the Settings tab, with the options of extensions.
        tabs: Tabs of the page.
        routers: Routes of the HTTP API.
        extensions: The extensions that were found, loaded or not.
        extension_errors: Sentences about extensions that failed. It grows until the page is built.
    """

    serves_page: bool = True
    samplers: Registry[Sampler] = field(default_factory=lambda: Registry("sampler"))
    schedules: Registry[Schedule] = field(default_factory=lambda: Registry("schedule type"))
    step_extensions: Registry[StepExtensionRow] = field(default_factory=no_step_extensions)
    upscalers: Registry[Upscaler] = field(default_factory=lambda: Registry("upscaler"))
    families: Registry[Family] = field(default_factory=lambda: Registry("model family"))
    kinds: Registry[ModelKind] = field(default_factory=lambda: Registry("kind of model file"))
    codecs: Registry[Codec] = field(default_factory=lambda: Registry("infotext codec"))
    dialects: Registry[Dialect] = field(default_factory=lambda: Registry("infotext dialect"))
    json_formats: Registry[JsonFormat] = field(default_factory=lambda: Registry("JSON format"))
    filename_tokens: Registry[FilenameToken] = field(
        default_factory=lambda: Registry("filename token")
    )
    tasks: Registry[Task] = field(default_factory=lambda: Registry("task"))
    job_kinds: Registry[JobKind] = field(default_factory=lambda: Registry("kind of job"))
    scripts: Registry[Script] = field(default_factory=lambda: Registry("script"))
    recipes: Registry[Recipe] = field(default_factory=lambda: Registry("recipe"))
    settings_sections: Registry[SettingsSection] = field(
        default_factory=lambda: Registry("settings section")
    )
    tabs: Registry[Tab] = field(default_factory=lambda: Registry("tab"))
    routers: Registry[Router] = field(default_factory=lambda: Registry("router"))
    extensions: list[ExtensionRecord] = field(default_factory=list[ExtensionRecord])
    extension_errors: list[str] = field(default_factory=list[str])

    @cached_property
    def settings_class(self) -> type[Settings]:
        """Return the class of the settings, with the options of all sections registered before the first call.

        Raises:
            ValueError: an option's name is taken, or its declaration is not valid.
            UserError: a default is not valid.
        """
        return make_settings_class(self.settings_sections)

    def request_class(self, task: str) -> type[JobRequest]:
        """Return the class of the requests that ask for a task or for another kind of job.

        Raises:
            UserError: there is neither.
        """
        return find_request_class(task, self.tasks, self.job_kinds)

    def plan_tables(self) -> PlanTables:
        """Return the tables of the planner."""
        return PlanTables(
            self.samplers,
            self.schedules,
            self.upscalers,
            self.tasks,
            self.recipes,
            self.step_extensions,
        )

    def check_options(self) -> None:
        """Check the options that sections declare, and that samplers, schedules and step extensions use no others.

        Raises:
            ValueError: an option's name is taken, its declaration is not valid, or it does not exist.
            UserError: a default is not valid.
        """
        known = self.settings_class.model_fields
        for table in (self.samplers, self.schedules, self.step_extensions):
            for row in table:
                missing = next((name for name in row.options if name not in known), None)
                if missing is not None:
                    raise ValueError(
                        f"The {table.noun} '{row.name}' has the option '{missing}', which does not exist."
                    )

    def copy(self) -> Registries:
        """Return registries with the same rows, to which rows can be added independently."""
        values: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        tables = {
            name: cast("Registry[Any]", value).copy()
            for name, value in values.items()
            if isinstance(value, Registry)
        }
        return replace(self, **tables)
