"""Declared fields to components and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from pydantic import BaseModel

from modules.engine.engine import Engine
from modules.params.param import Param, params_of


class Form:
    """The components of one request type, by field name.

    Args:
        model: The request type.
        engine: Fills the drop-down lists.
        prefix: Begins every element's id, such as "txt2img".
    """

    def __init__(self, model: type[BaseModel], engine: Engine, prefix: str) -> None:
        self.components: dict[str, Component] = {}
        self.model = model
        self.prefix = prefix
        self._engine = engine

    def field(self, name: str, **layout: Any) -> Component:
        """Make the component of one field where the page stands; `layout` goes to Gradio."""
        param = params_of(self.model)[name]
        default = self.model.model_fields[name].default
        layout = {"label": param.label, "elem_id": f"{self.prefix}_{name}", **layout}
        component = self._component(param, default, layout)
        self.components[name] = component
        return component

    def helps(self) -> dict[str, str]:
        """Return the help sentence of each component by element id."""
        params = params_of(self.model)
        return {f"{self.prefix}_{name}": params[name].help for name in self.components}

    def read(self, values: Mapping[Component, Any]) -> dict[str, Any]:
        """Return field values from what an event with these components as its set of inputs delivers."""
        return {name: values[component] for name, component in self.components.items()}

    def _component(self, param: Param, default: Any, layout: dict[str, Any]) -> Component:
        if param.choices is not None:
            return gr.Dropdown(self._engine.choices(param.choices), value=default, **layout)
        if param.slider is not None:
            low, high, step = param.slider
            return gr.Slider(low, high, value=default, step=step, **layout)
        if isinstance(default, int):
            return gr.Number(value=default, precision=0, **layout)
        return gr.Textbox(value=default, lines=param.lines, max_lines=12, **layout)
