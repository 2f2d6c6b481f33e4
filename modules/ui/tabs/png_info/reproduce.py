"""The PNG Info tab: what a picture's file tells, sent to a form or carried out again and compared."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr
from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.engine.jobs.job import JobStatus
from modules.engine.reproduce import compare_reproduction, parse_for_reproduction
from modules.images.metadata import read_metadata
from modules.params.image import ImageField
from modules.ui.forms.form import Upload, read_upload_bytes
from modules.ui.notices import notice
from modules.ui.tabs.png_info.rendering import (
    render_verdict,
)

logger = logging.getLogger(__name__)
ReproduceJob = tuple[str, Mapping[str, Any]]  # a job and the upload that it makes again


def _submitter(engine: Engine) -> Callable[[Upload], tuple[ReproduceJob | None, str, str, str]]:
    def submit(upload: Upload) -> tuple[ReproduceJob | None, str, str, str]:
        if upload is None:
            return None, "", notice("note", "Put a picture in first."), ""
        try:
            reading = parse_for_reproduction(
                read_metadata(read_upload_bytes(upload)), make_infotext_context(engine)
            )
            job = engine.submit(reading.to_request())
        except WebUIError as error:
            logger.info("Refused: %s", error)
            return None, "", notice("error", str(error)), ""
        return (job.id, dict(upload)), job.id, "", ""

    return submit


def _collector(engine: Engine) -> Callable[[str, ReproduceJob | None], tuple[Any, ...]]:
    def collect(job_id: str, asked: ReproduceJob | None) -> tuple[Any, ...]:
        try:
            status = engine.job(job_id).status()
            if not status.images:
                return notice("error", status.error) if status.error else "", "", gr.skip()
            if asked is None or asked[0] != job_id:
                said = "The page was loaded anew; press Reproduce again to compare."
                return notice("note", said), gr.skip(), gr.skip()
            return _compared(engine, status, asked[1])
        except WebUIError as error:
            return notice("error", str(error)), gr.skip(), gr.skip()

    return collect


def _compared(engine: Engine, status: JobStatus, upload: Mapping[str, Any]) -> tuple[Any, ...]:
    data = read_upload_bytes(upload)
    metadata = read_metadata(data)
    reading = parse_for_reproduction(metadata, make_infotext_context(engine))
    (made,) = status.images
    original = ImageField.from_bytes(data).to_pil()
    with Image.open(made.path) as again:
        verdict = compare_reproduction(
            original, metadata, reading, again.convert("RGB"), made.infotext
        )
    pictures: list[Any] = [(upload["path"], "The picture"), (str(made.path), "Made again")]
    if verdict.comparison is not None:
        pictures.append((verdict.comparison.difference_image, "The difference"))
    notes = "".join(notice("note", note) for note in status.notes)
    return notes, render_verdict(verdict), gr.Gallery(pictures, visible=True)
