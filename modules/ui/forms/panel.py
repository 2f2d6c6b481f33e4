"""Components of a tab that are connected by other files."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class GenerateButtons:
    """Buttons that start and stop a tab's job, and fill its form."""

    generate: gr.Button
    interrupt: gr.Button
    skip: gr.Button
    paste: gr.Button  # reads the infotext in the prompt box


@dataclass(frozen=True)
class OutputPanel:
    """A tab's output: progress, images and infotext of its job."""

    prefix: str
    progress: gr.HTML
    gallery: gr.Gallery
    infotext: gr.HTML
    message: gr.HTML
    job_id: gr.Textbox
    collect: gr.Button
    images: gr.State  # the job's GeneratedImages in the gallery's order
    selected_index: gr.State  # index of the selected image
    show_process: gr.Button  # shows how that image was made
    send_buttons: dict[str, gr.Button]  # by the title of the target tab


@dataclass(frozen=True)
class StyleEditor:
    """Components that apply, save and delete a tab's styles."""

    apply: gr.Button
    name: gr.Dropdown
    save: gr.Button
    delete: gr.Button
    message: gr.HTML
