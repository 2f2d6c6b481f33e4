"""The parts of a tab that others wire, by name."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class GenerateButtons:
    """Starts and stops a tab's job, and fills its form."""

    generate: gr.Button
    interrupt: gr.Button
    skip: gr.Button
    paste: gr.Button  # the infotext in the prompt box


@dataclass(frozen=True)
class OutputPanel:
    """What a tab shows of its job."""

    prefix: str
    progress: gr.HTML
    gallery: gr.Gallery
    infotext: gr.HTML
    message: gr.HTML
    job_id: gr.Textbox
    collect: gr.Button
    images: gr.State  # the job's GeneratedImages in the gallery's order
    selected_index: gr.State  # index of the picture that is looked at
    show_process: gr.Button  # shows how that picture was made
    send_buttons: dict[str, gr.Button]  # by the title of the tab that the picture is sent to


@dataclass(frozen=True)
class StyleEditor:
    """What changes a tab's styles."""

    apply: gr.Button
    name: gr.Dropdown
    save: gr.Button
    delete: gr.Button
    message: gr.HTML
