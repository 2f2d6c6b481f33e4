"""Builds Gradio components for the declared fields of a request and reads the request's values back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.components import Component
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.image import is_image_field
from modules.params.param import Param, params_of
from modules.params.requests.base import MAX_JAVASCRIPT_INTEGER, GenerationRequest
from modules.ui.forms.override_settings import OVERRIDE_SETTINGS, parse_overrides
from modules.ui.forms.panel import OutputPanel, StyleEditor

# Fields of every request that are set once for the whole page, or whose component is built elsewhere.
PAGE_WIDE_FIELDS = frozenset(("sd_model_checkpoint", "sd_vae", "override_settings"))


class Form:
    """The components of one request type, by field name.

    Args:
        request_type: The request type.
        engine: Source of the dropdown choices and of the current settings.
        prefix: Prefix of every element id, such as "txt2img".
        excluded_sections: Sections of the request without components; their fields keep their defaults.
    """

    def __init__(
        self,
        request_type: type[GenerationRequest],
        engine: Engine,
        prefix: str,
        excluded_sections: Iterable[str] = (),
    ) -> None:
        self.components: dict[str, Component] = {}
        self.image_fields: set[str] = set()  # names of the fields that hold an image
        # Components that are not request fields.
        self.extra_components: dict[str, Component] = {}
        self.transient: dict[str, Component] = {}  # extras that do not survive a reload
        # Settings that are sent as the request's override settings.
        self.override_components: dict[str, Component] = {}
        # Converts the raw values, extras included, to the request's values.
        self.to_request_values: Callable[[dict[str, Any]], dict[str, Any]] = lambda values: values
        # Further handlers of a new width or height, with their inputs and output: see `follow_native_size`.
        self.size_listeners: list[tuple[Callable[..., str], list[Component], Component]] = []
        self.output_panel: OutputPanel | None = None  # None until a tab builds its panel
        self.token_counters: dict[str, gr.HTML] = {}  # by the prompt field's name
        self.style_editor: StyleEditor | None = None
        # Must be rendered outside the tab: Gradio reads a BrowserState only where it is in the page.
        self.browser_states: list[gr.BrowserState] = []
        self.request_type = request_type.with_settings(type(engine.settings))
        self.task = request_type().task  # the task that the chosen checkpoint must support
        self.prefix = prefix
        self._engine = engine
        self._excluded_sections = frozenset(excluded_sections)

    def add_field(self, name: str, **layout: Any) -> Component:
        """Build the component of one field in the current Gradio context; `layout` is passed to the component."""
        param = params_of(self.request_type)[name]
        field = self.request_type.model_fields[name]
        layout = {"label": param.label, "elem_id": f"{self.prefix}_{name}", **layout}
        if is_image_field(field):
            component = build_image_upload(**layout)
            self.image_fields.add(name)
        else:
            component = self._make_component(param, field, layout)
        self.components[name] = component
        return component

    def add_override(self, name: str, **layout: Any) -> Component:
        """Build the component of one setting, which then applies to this form's requests only."""
        settings_class = self.request_type.settings_class
        param = params_of(settings_class)[name]
        layout = {"label": param.label, "elem_id": f"{self.prefix}_{name}", **layout}
        component = self._make_component(param, settings_class.model_fields[name], layout)
        component.value = getattr(self._engine.settings, name)
        self.override_components[name] = component
        return component

    def tooltips(self) -> dict[str, str]:
        """Return the help text of each component by element id."""
        params = {**params_of(self.request_type.settings_class), **params_of(self.request_type)}
        names = [*self.components, *self.override_components]
        return {f"{self.prefix}_{name}": params[name].help for name in names}

    @property
    def non_image_components(self) -> dict[str, Component]:
        """Return the components that hold no image, by field name."""
        return {
            name: component
            for name, component in self.components.items()
            if name not in self.image_fields
        }

    def read(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return the request's values from the values of an event whose set of inputs are these components.

        The event needs `preprocess=False`: an image then arrives as the browser's description of the upload instead
        of decoded, so that it is validated before a pixel is unpacked, and errors are raised in our wording.

        Raises:
            UserError: an uploaded image no longer exists, or the tab cannot build a request from the values.
        """
        return self.request_values(self.read_raw(values))

    def read_raw(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return all values of the form, extras included, images as the bytes of their files.

        Raises:
            UserError: an uploaded image no longer exists, or an override setting is unknown or invalid.
        """
        transient = {name: values[component] for name, component in self.transient.items()}
        raw = {**self.read_persisted(values), **transient}
        for name in self.image_fields:
            file = values[self.components[name]]
            raw[name] = None if file is None else read_upload_bytes(file)
        overrides = {name: raw.pop(name) for name in self.override_components}
        model_fields, settings = parse_overrides(
            raw.pop(OVERRIDE_SETTINGS, None) or (), self.request_type.settings_class
        )
        raw.update(model_fields)
        overrides |= settings
        if overrides:
            raw["override_settings"] = {**raw.get("override_settings", {}), **overrides}
        return raw

    def request_values(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request's values from the form's raw values, converted by the tab.

        Raises:
            UserError: the tab cannot build a request from them.
        """
        fields = self.request_type.model_fields
        return {
            name: value
            for name, value in self.to_request_values(dict(raw)).items()
            if name in fields
        }

    def read_non_image_fields(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return the values of the fields that hold no image."""
        return {name: values[component] for name, component in self.non_image_components.items()}

    def read_persisted(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return the values that the browser stores."""
        return {name: values[component] for name, component in self.persisted.items()}

    @property
    def all_components(self) -> list[Component]:
        """Return every component whose value `read` needs."""
        groups = (self.components, self.extra_components, self.transient, self.override_components)
        return [component for group in groups for component in group.values()]

    @property
    def persisted(self) -> dict[str, Component]:
        """Return the components whose values the browser stores, by name."""
        return {**self.non_image_components, **self.override_components, **self.extra_components}

    def add_section(self, name: str, **layout: Any) -> None:
        """Build the components of all fields of a section that have none yet."""
        for field, param in params_of(self.request_type).items():
            if param.section == name and field not in self.components:
                self.add_field(field, **layout)

    def add_remaining_fields(self) -> None:
        """Build the components of all fields that have none yet, except those in PAGE_WIDE_FIELDS."""
        for name, param in params_of(self.request_type).items():
            if (
                name not in self.components
                and name not in PAGE_WIDE_FIELDS
                and param.section not in self._excluded_sections
            ):
                self.add_field(name)

    def _make_component(self, param: Param, field: FieldInfo, layout: dict[str, Any]) -> Component:
        default = field.default
        if param.choices is not None:
            same = [("The same", "")] if default == "" else []
            return gr.Dropdown(
                [*same, *self._engine.choices(param.choices)],
                value=component_value(default),
                multiselect=isinstance(default, tuple),
                **layout,
            )
        if param.labels:
            choices = [(label, type(default)(value)) for value, label in enumerate(param.labels)]
            return gr.Radio(choices, value=default, **layout)
        if get_origin(field.annotation) is Literal:
            return gr.Dropdown(list(get_args(field.annotation)), value=default, **layout)
        if isinstance(default, bool):
            return gr.Checkbox(value=default, **layout)
        if param.slider is not None:
            low, high, step = param.slider
            return gr.Slider(low, high, value=default, step=step, **layout)
        if isinstance(default, int) and (param.le or 0) > MAX_JAVASCRIPT_INTEGER:
            # A number box would round larger values.
            return gr.Textbox(value=str(default), lines=1, max_lines=1, **layout)
        if isinstance(default, int):
            return gr.Number(value=default, precision=0, **layout)
        return gr.Textbox(value=default, lines=param.lines, max_lines=12, **layout)


def build_image_upload(**layout: Any) -> gr.Image:
    """Build an image box for uploads and the clipboard; its value is the file as it was uploaded."""
    return gr.Image(type="filepath", image_mode=None, sources=["upload", "clipboard"], **layout)


def read_upload_bytes(upload: Mapping[str, Any]) -> bytes:
    """Return the content of an uploaded file; Gradio has checked that the path is an upload's.

    Raises:
        UserError: the file no longer exists.
    """
    try:
        return Path(upload["path"] or "").read_bytes()
    except OSError:
        raise UserError("The picture is no longer on the server.", "Upload it again.") from None


def component_value(value: Any) -> Any:
    """Return a field's value as its component expects it: Gradio would take a tuple for a single choice."""
    return list(value) if isinstance(value, tuple) else value


def coerce_integers(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with whole floats as integers where the field is an integer: sliders send 20.0."""
    fields = model.model_fields
    return {
        name: int(value)
        if fields[name].annotation is int and isinstance(value, float) and value.is_integer()
        else value
        for name, value in values.items()
    }


Upload = Mapping[str, Any] | None  # the browser's description of an uploaded image; see Form.read
