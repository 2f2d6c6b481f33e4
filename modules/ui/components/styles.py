"""Styles in a tab: chosen for the next image, applied to the prompts, saved, deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.prompt.styles import Style, apply_style
from modules.ui.forms.form import Form
from modules.ui.forms.panel import StyleEditor
from modules.ui.gradio_events import PRIVATE_EVENT
from modules.ui.notices import notice


def build_styles(engine: Engine, form: Form) -> None:
    """Build the list of styles and, hidden until Edit is pressed, the editor in the current Gradio context."""
    prefix = form.prefix
    with gr.Row(elem_classes="styles"):
        form.add_field("styles", scale=8, min_width=160)
        apply = gr.Button("Apply", elem_id=f"{prefix}_apply_styles", min_width=70, scale=0)
        edit = gr.Button("Edit", elem_id=f"{prefix}_edit_styles", min_width=70, scale=0)
    with gr.Row(visible=False, elem_id=f"{prefix}_style_editor", elem_classes="styles") as editor:
        name = gr.Dropdown(
            engine.styles.names(),
            value=None,
            label="Name of the style",
            allow_custom_value=True,
            scale=4,
            min_width=160,
            elem_id=f"{prefix}_style_name",
        )
        save = gr.Button("Save", elem_id=f"{prefix}_save_style", scale=1, min_width=80)
        delete = gr.Button("Delete", elem_id=f"{prefix}_delete_style", scale=1, min_width=80)
    message = gr.HTML("", elem_id=f"{prefix}_style_message", padding=False)
    form.style_editor = StyleEditor(apply, name, save, delete, message)
    is_open = gr.State(False)
    edit.click(
        lambda was_open: (not was_open, gr.Row(visible=not was_open)),
        inputs=is_open,
        outputs=[is_open, editor],
        **PRIVATE_EVENT,
    )


def connect_styles(engine: Engine, forms: list[Form], page: gr.Blocks) -> None:
    """Connect the styles of all tabs: a style saved in one of them is offered in the others."""
    forms_with_styles = [form for form in forms if form.style_editor is not None]
    lists = [form.components["styles"] for form in forms_with_styles]
    names = [form.style_editor.name for form in forms_with_styles if form.style_editor]
    dropdowns = [*lists, *names]
    actions = StyleActions(engine, len(dropdowns))
    page.load(actions.dropdown_updates, outputs=dropdowns, **PRIVATE_EVENT)
    for form in forms_with_styles:
        editor = form.style_editor
        assert editor is not None
        prompts = [form.components["prompt"], form.components["negative_prompt"]]
        chosen = form.components["styles"]
        editor.apply.click(
            actions.apply,
            inputs=[*prompts, chosen],
            outputs=[*prompts, chosen, editor.message],
            preprocess=False,  # a style may have been deleted since the page was built
            **PRIVATE_EVENT,
        )
        for button, action in ((editor.save, actions.save), (editor.delete, actions.delete)):
            button.click(
                action,
                inputs=[editor.name, *prompts],
                outputs=[editor.message, *dropdowns],
                preprocess=False,
                **PRIVATE_EVENT,
            )


@dataclass(frozen=True)
class StyleActions:
    """Event handlers of the style buttons.

    Args:
        engine: Holds the styles.
        dropdown_count: How many dropdowns on the page list the styles.
    """

    engine: Engine
    dropdown_count: int

    def apply(self, prompt: str, negative_prompt: str, names: list[str]) -> tuple[Any, ...]:
        """Return prompt, negative prompt, chosen styles and message with the styles applied to the prompts."""
        try:
            for style in [self.engine.styles.get(name) for name in names or ()]:
                prompt = apply_style(prompt, style.prompt)
                negative_prompt = apply_style(negative_prompt, style.negative_prompt)
        except WebUIError as error:
            return gr.skip(), gr.skip(), gr.skip(), notice("error", str(error))
        return prompt, negative_prompt, [], ""

    def save(self, name: str | None, prompt: str, negative_prompt: str) -> list[Any]:
        """Save the prompts as a style; return the message and updates of all dropdowns."""
        style = Style((name or "").strip(), prompt, negative_prompt)
        return self._change(
            lambda: self.engine.styles.save(style), f"Saved the prompts as '{style.name}'."
        )

    def delete(self, name: str | None, prompt: str, negative_prompt: str) -> list[Any]:
        """Delete the style of that name; return the message and updates of all dropdowns."""
        style = Style((name or "").strip(), prompt, negative_prompt)
        return self._change(
            lambda: self.engine.styles.delete(style.name), f"Deleted the style '{style.name}'."
        )

    def dropdown_updates(self) -> list[Any]:
        """Return updates of all dropdowns to the current styles."""
        return [gr.Dropdown(choices=self.engine.styles.names())] * self.dropdown_count

    def _change(self, change: Callable[[], str], success: str) -> list[Any]:
        try:
            remark = change()
            message = notice("note", f"{success} {remark}".strip())
        except WebUIError as error:
            message = notice("error", str(error))
        return [message, *self.dropdown_updates()]
