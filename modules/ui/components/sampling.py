"""Fields of every generation tab: sampler, size, batch, CFG scale, seed."""

from __future__ import annotations

import gradio as gr

from modules.params.results import GeneratedImage
from modules.ui.components.size import build_size_from_image
from modules.ui.forms.form import Form
from modules.ui.forms.panel import OutputPanel
from modules.ui.gradio_events import PRIVATE_EVENT

RANDOM_SEED = -1


def build_sampling_settings(form: Form) -> None:
    """Build the fields that every generation has, except prompts and seed, in the current Gradio context."""
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
    """Seed and variation seed, with buttons for a random seed and for the seed of the selected image."""

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
        """Connect the buttons' events; the output panel must exist already."""
        seed = self._seed
        self._random_button.click(lambda: RANDOM_SEED, outputs=seed, **PRIVATE_EVENT)
        self._reuse_button.click(
            _selected_seed, [panel.images, panel.selected_index, seed], seed, **PRIVATE_EVENT
        )


def _selected_seed(
    images: tuple[GeneratedImage, ...], selected_index: int, current_seed: int
) -> int:
    """Return the seed of the selected image, or the current seed if there is none."""
    return images[selected_index].seed if selected_index < len(images) else current_seed
