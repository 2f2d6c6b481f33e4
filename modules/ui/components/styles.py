"""Saved prompts in a tab: chosen for the next picture, written into the prompts, saved, deleted."""

from __future__ import annotations

from collections.abc import Callable
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
    """Make the list of styles and, hidden behind a button, what changes them."""
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
    shown = gr.State(False)
    edit.click(
        lambda was: (not was, gr.Row(visible=not was)),
        inputs=shown,
        outputs=[shown, editor],
        **PRIVATE_EVENT,
    )


def connect_styles(engine: Engine, forms: list[Form], page: gr.Blocks) -> None:
    """Wire the styles of all tabs: what one of them saves is there in the others."""
    with_styles = [form for form in forms if form.style_editor is not None]
    lists = [form.components["styles"] for form in with_styles]
    names = [form.style_editor.name for form in with_styles if form.style_editor]
    both = [*lists, *names]
    page.load(lambda: _choices(engine, len(both)), outputs=both, **PRIVATE_EVENT)
    for form in with_styles:
        editor = form.style_editor
        assert editor is not None
        prompts = [form.components["prompt"], form.components["negative_prompt"]]
        chosen = form.components["styles"]
        editor.apply.click(
            _applier(engine),
            inputs=[*prompts, chosen],
            outputs=[*prompts, chosen, editor.message],
            preprocess=False,  # a style may have gone since the page was made
            **PRIVATE_EVENT,
        )
        for button, act in ((editor.save, _saver(engine)), (editor.delete, _deleter(engine))):
            button.click(
                _then_listed(engine, act, len(both)),
                inputs=[editor.name, *prompts],
                outputs=[editor.message, *both],
                preprocess=False,
                **PRIVATE_EVENT,
            )


def _choices(engine: Engine, count: int) -> list[Any]:
    return [gr.Dropdown(choices=engine.styles.names())] * count


def _applier(engine: Engine) -> Callable[..., tuple[Any, ...]]:
    def apply(prompt: str, negative: str, names: list[str]) -> tuple[Any, ...]:
        try:
            for style in [engine.styles.get(name) for name in names or ()]:
                prompt = apply_style(prompt, style.prompt)
                negative = apply_style(negative, style.negative_prompt)
        except WebUIError as error:
            return gr.skip(), gr.skip(), gr.skip(), notice("error", str(error))
        return prompt, negative, [], ""

    return apply


def _saver(engine: Engine) -> Callable[[Style], str]:
    def save(style: Style) -> str:
        engine.styles.save(style)
        return f"Saved the prompts as '{style.name}'."

    return save


def _deleter(engine: Engine) -> Callable[[Style], str]:
    def delete(style: Style) -> str:
        engine.styles.delete(style.name)
        return f"Deleted the style '{style.name}'."

    return delete


def _then_listed(
    engine: Engine, act: Callable[[Style], str], count: int
) -> Callable[[str | None, str, str], list[Any]]:
    def change(name: str | None, prompt: str, negative: str) -> list[Any]:
        try:
            said = notice("note", act(Style((name or "").strip(), prompt, negative)))
        except WebUIError as error:
            said = notice("error", str(error))
        return [said, *_choices(engine, count)]

    return change
