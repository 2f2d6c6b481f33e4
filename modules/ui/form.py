"""Declared fields to components and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import gradio as gr
from gradio.components import Component
from pydantic.fields import FieldInfo

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.params.image import is_picture
from modules.params.param import Param, params_of
from modules.params.request import GenerationRequest

# Fields of every request that are chosen once for the whole page, or made by a tab in its own way.
SHARED = frozenset(("sd_model_checkpoint", "sd_vae", "override_settings"))


class Form:
    """The components of one request type, by field name.

    Args:
        model: The request type.
        engine: Fills the drop-down lists.
        prefix: Begins every element's id, such as "txt2img".
    """

    def __init__(self, model: type[GenerationRequest], engine: Engine, prefix: str) -> None:
        self.components: dict[str, Component] = {}
        self.pictures: set[str] = set()  # names of the fields that hold one
        # What the browser keeps. To be rendered outside the tab: Gradio reads it only where it is in the page.
        self.states: list[gr.BrowserState] = []
        self.model = model
        self.prefix = prefix
        self._engine = engine

    def field(self, name: str, **layout: Any) -> Component:
        """Make the component of one field where the page stands; `layout` goes to Gradio."""
        param = params_of(self.model)[name]
        field = self.model.model_fields[name]
        layout = {"label": param.label, "elem_id": f"{self.prefix}_{name}", **layout}
        if is_picture(field):
            component = gr.Image(
                type="filepath", image_mode=None, sources=["upload", "clipboard"], **layout
            )
            self.pictures.add(name)
        else:
            component = self._component(param, field, layout)
        self.components[name] = component
        return component

    def helps(self) -> dict[str, str]:
        """Return the help sentence of each component by element id."""
        params = params_of(self.model)
        return {f"{self.prefix}_{name}": params[name].help for name in self.components}

    @property
    def settings(self) -> dict[str, Component]:
        """Return the components that are no pictures, by field name."""
        return {k: one for k, one in self.components.items() if k not in self.pictures}

    def read(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return field values from what an event with these components as its set of inputs delivers.

        The event has to be one with `preprocess=False`: pictures then come as what the browser says of an upload
        rather than decoded, so that they are checked before a pixel is unpacked, and errors are told in our words.

        Raises:
            UserError: a picture is no longer there.
        """
        read = self.read_settings(values)
        for name in self.pictures:
            file = values[self.components[name]]
            read[name] = None if file is None else _bytes(file)
        return read

    def read_settings(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return the values of the fields that hold no picture."""
        return {name: values[component] for name, component in self.settings.items()}

    def remaining(self) -> None:
        """Make the components of all fields that have none yet, but for those that the whole page shares."""
        for name in params_of(self.model):
            if name not in self.components and name not in SHARED:
                self.field(name)

    def _component(self, param: Param, field: FieldInfo, layout: dict[str, Any]) -> Component:
        default = field.default
        if param.choices is not None:
            several = isinstance(default, tuple)
            same = [("The same", "")] if default == "" else []
            return gr.Dropdown(
                [*same, *self._engine.choices(param.choices)],
                value=list(default) if several else default,
                multiselect=several,
                **layout,
            )
        if get_origin(field.annotation) is Literal:
            return gr.Dropdown(list(get_args(field.annotation)), value=default, **layout)
        if isinstance(default, bool):
            return gr.Checkbox(value=default, **layout)
        if param.slider is not None:
            low, high, step = param.slider
            return gr.Slider(low, high, value=default, step=step, **layout)
        if isinstance(default, int):
            return gr.Number(value=default, precision=0, **layout)
        return gr.Textbox(value=default, lines=param.lines, max_lines=12, **layout)


def _bytes(file: Mapping[str, Any]) -> bytes:
    """Return the content of an upload, which Gradio has checked to be one."""
    try:
        return Path(file["path"] or "").read_bytes()
    except OSError:
        raise UserError("The picture is no longer on the server.", "Put it in again.") from None
