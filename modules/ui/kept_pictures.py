"""A form's pictures survive a reload: the browser keeps where each lies on the server, and the server checks that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gradio as gr

from modules.engine.engine import Engine
from modules.ui.events import QUIET
from modules.ui.form import Form


def remember_pictures(engine: Engine, form: Form, page: gr.Blocks) -> None:
    """Store where a form's pictures lie whenever one is put in or taken out, and show them again on load."""
    if not form.pictures:
        return
    names = sorted(form.pictures)
    boxes = [form.components[name] for name in names]
    stored = gr.BrowserState(
        [], storage_key=f"webui-pictures-{form.prefix}", secret="webui", render=False
    )
    form.states.append(stored)
    folders = (engine.paths.gradio_temp, engine.paths.outputs)

    def shown(paths: Any) -> Any:
        """Return each picture's path where it may be shown; else what the box holds stays."""
        given = (
            paths if isinstance(paths, list) and len(paths) == len(names) else [None] * len(names)
        )
        found = [shown_again(path, folders) for path in given]
        answer = [path or gr.skip() for path in found]
        return answer if len(answer) > 1 else answer[0]

    page.load(shown, stored, boxes, **QUIET)
    gr.on(
        [box.change for box in boxes],  # pyright: ignore[reportAttributeAccessIssue] - Gradio adds events at run time
        None,
        boxes,
        stored,
        js="(...files) => [files.map((file) => file?.path ?? null)]",
        **QUIET,
    )


def shown_again(path: object, folders: Iterable[Path]) -> str | None:
    """Return the path that a browser has kept of a picture, if a file lies there in one of the folders; else None."""
    if not isinstance(path, str):
        return None
    try:
        found = Path(path).resolve(strict=True)
    except (OSError, ValueError):  # gone, or nothing that a file could be called
        return None
    inside = any(found.is_relative_to(folder.resolve()) for folder in folders)
    return str(found) if inside and found.is_file() else None
