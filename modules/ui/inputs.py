"""The input side that tabs have in common: prompts and buttons, the sampler's settings, the seed."""

from __future__ import annotations

import gradio as gr

from modules.engine.engine import Engine
from modules.params.result import GeneratedImage
from modules.prompt.chunks import Chunker
from modules.prompt.reading import count_tokens, read_negative, read_prompt
from modules.prompt.schedule import Timeline
from modules.ui.events import QUIET
from modules.ui.form import Form
from modules.ui.output import build_buttons
from modules.ui.panel import GenerateButtons, OutputPanel
from modules.ui.picture_size import build_picture_size

RANDOM_SEED = -1
# So many steps that none of a prompt's changes is left out of the count.
_STEPS = 1000


def build_prompts(engine: Engine, form: Form) -> GenerateButtons:
    """Make both prompt boxes and, beside them, the two buttons."""
    with gr.Row(elem_classes="prompts"):
        with gr.Column(scale=6, min_width=280):
            _prompt(engine, form, "prompt", "Prompt (Ctrl+Enter generates)")
            _prompt(
                engine, form, "negative_prompt", "Negative prompt: what the picture should not show"
            )
        with gr.Column(scale=1, min_width=160):
            return build_buttons(form.prefix)


def _prompt(engine: Engine, form: Form, name: str, placeholder: str) -> None:
    with gr.Column(elem_classes="prompt"):
        box = form.field(name, placeholder=placeholder, show_label=False, container=False)
        counter = gr.HTML(
            _count(engine, name, ""), elem_id=f"{form.prefix}_{name}_counter", padding=False
        )
    box.change(  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        lambda text: _count(engine, name, text),
        inputs=box,
        outputs=counter,
        trigger_mode="always_last",
        queue=False,
        **QUIET,
    )


def _count(engine: Engine, name: str, text: str) -> str:
    if not text:
        return '<span class="counter">0/75</span>'  # the vocabulary is read when it is needed
    timeline = Timeline(_STEPS)
    strands = read_prompt(text, timeline) if name == "prompt" else (read_negative(text, timeline),)
    count = count_tokens(strands, Chunker.of(engine.tokenizer, engine.settings))
    return f'<span class="counter">{count.tokens}/{count.limit}</span>'


def build_settings(form: Form) -> None:
    """Make the fields that every generation has, but for prompts and seed."""
    with gr.Row():
        form.field("sampler_name", min_width=140)
        form.field("scheduler", min_width=140)
    form.field("steps")
    with gr.Row(elem_classes="size"):
        with gr.Column(scale=8, min_width=200):
            width = form.field("width")
            height = form.field("height")
        swap = gr.Button(
            "⇅", elem_id=f"{form.prefix}_swap", elem_classes="tool", min_width=44, scale=0
        )
    if "init_image" in form.components:
        build_picture_size(form)
    swap.click(lambda w, h: (h, w), [width, height], [width, height], **QUIET)
    with gr.Row():
        form.field("n_iter", min_width=140)
        form.field("batch_size", min_width=140)
    form.field("cfg_scale")


class SeedRow:
    """The seed, a button for a random one, and a button for that of the picture that is looked at."""

    def __init__(self, form: Form) -> None:
        with gr.Row(elem_classes="seed"):
            self._seed = form.field("seed", scale=8, min_width=160)
            self._new = gr.Button(
                "⚂",
                elem_id=f"{form.prefix}_random_seed",
                elem_classes="tool",
                min_width=44,
                scale=0,
            )
            self._last = gr.Button(
                "♻", elem_id=f"{form.prefix}_reuse_seed", elem_classes="tool", min_width=44, scale=0
            )

    def connect(self, panel: OutputPanel) -> None:
        """Wire the buttons, once the output side is there."""
        seed = self._seed
        self._new.click(lambda: RANDOM_SEED, outputs=seed, **QUIET)
        self._last.click(_seed_of, [panel.images, panel.selected, seed], seed, **QUIET)


def _seed_of(images: tuple[GeneratedImage, ...], selected: int, seed: int) -> int:
    """Return the seed of the picture that is looked at, or leave the box as it is."""
    return images[selected].seed if selected < len(images) else seed
