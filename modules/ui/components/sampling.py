"""The input side that tabs have in common: the sampler's settings, the seed."""

from __future__ import annotations

import gradio as gr

from modules.params.results import GeneratedImage
from modules.ui.components.size import build_size_from_image
from modules.ui.forms.form import Form
from modules.ui.forms.panel import OutputPanel
from modules.ui.gradio_events import PRIVATE_EVENT

RANDOM_SEED = -1


def build_sampling_settings(form: Form) -> None:
    """Make the fields that every generation has, but for prompts and seed."""
    with gr.Row():
        form.add_field("sampler_name", min_width=140)
        form.add_field("scheduler", min_width=140)
    form.add_field("steps")
    with gr.Row(elem_classes="size"):
        with gr.Column(scale=8, min_width=200):
            width = form.add_field("width")
            height = form.add_field("height")
        swap = gr.Button(
            "⇅", elem_id=f"{form.prefix}_swap", elem_classes="tool", min_width=44, scale=0
        )
    if "init_image" in form.components:
        build_size_from_image(form)
    swap.click(lambda w, h: (h, w), [width, height], [width, height], **PRIVATE_EVENT)
    with gr.Row():
        form.add_field("n_iter", min_width=140)
        form.add_field("batch_size", min_width=140)
    form.add_field("cfg_scale")


class SeedRow:
    """The seed with its variation, a button for a random one, and one for that of the picture that is looked at."""

    def __init__(self, form: Form) -> None:
        with gr.Row(elem_classes="seed"):
            self._seed = form.add_field("seed", scale=8, min_width=160)
            self._random_button = gr.Button(
                "⚂",
                elem_id=f"{form.prefix}_random_seed",
                elem_classes="tool",
                min_width=44,
                scale=0,
            )
            self._reuse_button = gr.Button(
                "♻", elem_id=f"{form.prefix}_reuse_seed", elem_classes="tool", min_width=44, scale=0
            )
        with gr.Accordion("Extra", open=False, elem_id=f"{form.prefix}_extra_seed"):
            with gr.Row():
                form.add_field("subseed", min_width=140)
                form.add_field("subseed_strength", min_width=140)
            with gr.Row():
                form.add_field("seed_resize_from_w", min_width=140)
                form.add_field("seed_resize_from_h", min_width=140)

    def connect(self, panel: OutputPanel) -> None:
        """Wire the buttons, once the output side is there."""
        seed = self._seed
        self._random_button.click(lambda: RANDOM_SEED, outputs=seed, **PRIVATE_EVENT)
        self._reuse_button.click(
            _seed_of, [panel.images, panel.selected_index, seed], seed, **PRIVATE_EVENT
        )


def _seed_of(images: tuple[GeneratedImage, ...], selected: int, seed: int) -> int:
    """Return the seed of the picture that is looked at, or leave the box as it is."""
    return images[selected].seed if selected < len(images) else seed
