"""The txt2img tab: a picture from words alone."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from modules.engine.engine import Engine
from modules.params.request import Txt2ImgRequest
from modules.params.result import GeneratedImage
from modules.ui.form import Form
from modules.ui.output import build_buttons, build_output, connect

PREFIX = "txt2img"
RANDOM_SEED = -1


def build(engine: Engine) -> Form:
    """Make the tab where the page stands and return its form."""
    form = Form(Txt2ImgRequest, engine, PREFIX)
    with gr.Row(elem_classes="prompts"):
        with gr.Column(scale=6, min_width=280):
            _prompt(engine, form, "prompt", "Prompt (Ctrl+Enter generates)")
            _prompt(
                engine, form, "negative_prompt", "Negative prompt: what the picture should not show"
            )
        with gr.Column(scale=1, min_width=160):
            buttons = build_buttons(PREFIX)
    with gr.Row(elem_classes="workbench"):
        with gr.Column(elem_classes="settings", min_width=320):
            _settings(form)
            seed, last_seed, new_seed = _seed_row(form)
        with gr.Column(elem_classes="output", min_width=320):
            panel = build_output(PREFIX)
    connect(engine, Txt2ImgRequest, form, buttons, panel)
    new_seed.click(
        lambda: RANDOM_SEED, outputs=seed, show_progress="hidden", api_visibility="private"
    )
    last_seed.click(
        _seed_of,
        inputs=[panel.images, panel.selected, seed],
        outputs=seed,
        show_progress="hidden",
        api_visibility="private",
    )
    return form


def _prompt(engine: Engine, form: Form, name: str, placeholder: str) -> None:
    with gr.Column(elem_classes="prompt"):
        box = form.field(name, placeholder=placeholder, show_label=False, container=False)
        counter = gr.HTML(_count(engine, ""), elem_id=f"{PREFIX}_{name}_counter", padding=False)
    box.change(  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        lambda text: _count(engine, text),
        inputs=box,
        outputs=counter,
        show_progress="hidden",
        trigger_mode="always_last",
        queue=False,
        api_visibility="private",
    )


def _count(engine: Engine, text: str) -> str:
    if not text:
        return '<span class="counter">0/75</span>'  # the vocabulary is read when it is needed
    count = engine.tokenizer.count(text)
    return f'<span class="counter">{count.tokens}/{count.limit}</span>'


def _settings(form: Form) -> None:
    with gr.Row():
        form.field("sampler_name", min_width=140)
        form.field("scheduler", min_width=140)
    form.field("steps")
    with gr.Row(elem_classes="size"):
        with gr.Column(scale=8, min_width=200):
            width = form.field("width")
            height = form.field("height")
        swap = gr.Button("⇅", elem_id=f"{PREFIX}_swap", elem_classes="tool", min_width=44, scale=0)
    swap.click(
        lambda w, h: (h, w), inputs=[width, height], outputs=[width, height],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    with gr.Row():
        form.field("n_iter", min_width=140)
        form.field("batch_size", min_width=140)
    form.field("cfg_scale")


def _seed_row(form: Form) -> tuple[Component, gr.Button, gr.Button]:
    with gr.Row(elem_classes="seed"):
        seed = form.field("seed", scale=8, min_width=160)
        new_seed = gr.Button(
            "⚂", elem_id=f"{PREFIX}_random_seed", elem_classes="tool", min_width=44, scale=0
        )
        last_seed = gr.Button(
            "♻", elem_id=f"{PREFIX}_reuse_seed", elem_classes="tool", min_width=44, scale=0
        )
    return seed, last_seed, new_seed


def _seed_of(images: tuple[GeneratedImage, ...], selected: int, seed: int) -> int:
    """Return the seed of the picture that is looked at, or leave the box as it is."""
    return images[selected].seed if selected < len(images) else seed
