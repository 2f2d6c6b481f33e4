"""Generates an image again from its infotext and compares the two."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.engine.jobs.job_status import JobStatus
from modules.engine.reproduce import compare_reproduction, parse_for_reproduction
from modules.images.metadata import read_metadata
from modules.params.image import ImageField
from modules.ui.forms.form import Upload, read_upload_bytes
from modules.ui.notices import notice
from modules.ui.tabs.png_info.rendering import render_verdict

logger = logging.getLogger(__name__)
ReproduceJob = tuple[str, Mapping[str, Any]]  # id of a job and the upload that it reproduces


@dataclass(frozen=True)
class Reproduction:
    """Event handlers of the Reproduce button.

    Args:
        engine: Runs the job.
    """

    engine: Engine

    def submit(self, upload: Upload) -> tuple[ReproduceJob | None, str, str, str]:
        """Submit the job of an upload's infotext; return job and upload, job id, message and verdict."""
        if upload is None:
            return None, "", notice("note", "Upload a picture first."), ""
        try:
            result = parse_for_reproduction(
                read_metadata(read_upload_bytes(upload)), make_infotext_context(self.engine)
            )
            job = self.engine.submit(result.to_request())
        except WebUIError as error:
            logger.info("Refused: %s", error)
            return None, "", notice("error", str(error)), ""
        return (job.id, dict(upload)), job.id, "", ""

    def collect(self, job_id: str, reproduce_job: ReproduceJob | None) -> tuple[Any, ...]:
        """Return message, verdict and gallery of a job; the state is None if the page was reloaded meanwhile."""
        try:
            status = self.engine.job(job_id).status()
            if not status.images:
                return notice("error", status.error) if status.error else "", "", gr.skip()
            if reproduce_job is None or reproduce_job[0] != job_id:
                hint = "The page was reloaded. Press Reproduce again to compare."
                return notice("note", hint), gr.skip(), gr.skip()
            return self._compare(status, reproduce_job[1])
        except WebUIError as error:
            return notice("error", str(error)), gr.skip(), gr.skip()

    def _compare(self, status: JobStatus, upload: Mapping[str, Any]) -> tuple[Any, ...]:
        data = read_upload_bytes(upload)
        metadata = read_metadata(data)
        infotext = parse_for_reproduction(metadata, make_infotext_context(self.engine))
        (reproduced,) = status.images
        original = ImageField.from_bytes(data).to_pil()
        with Image.open(reproduced.path) as file:
            result = compare_reproduction(
                original, metadata, infotext, file.convert("RGB"), reproduced.infotext
            )
        images: list[Any] = [(upload["path"], "The picture"), (str(reproduced.path), "Made again")]
        if result.comparison is not None:
            images.append((result.comparison.difference_image, "The difference"))
        notes = "".join(notice("note", note) for note in status.notes)
        return notes, render_verdict(result), gr.Gallery(images, visible=True)
