"""Generates an image again from its infotext and compares the two."""

from __future__ import annotations

import logging
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
from modules.scripts.reproduce import REPRODUCE
from modules.ui.forms.form import Upload, read_upload_bytes
from modules.ui.notices import notice
from modules.ui.tabs.png_info.rendering import render_verdict

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reproduction:
    """Event handlers of the Reproduce button.

    Args:
        engine: Runs the job.
    """

    engine: Engine

    def submit(self, upload: Upload) -> tuple[str, str, str]:
        """Submit the job of an upload's infotext; return its id, message and verdict."""
        if upload is None:
            return "", notice("note", "Upload a picture first."), ""
        try:
            result = parse_for_reproduction(
                read_metadata(read_upload_bytes(upload)), make_infotext_context(self.engine)
            )
            args = {"file": upload["path"]}
            job = self.engine.run_script(REPRODUCE.name, result.to_request(), args, "page")
        except WebUIError as error:
            logger.info("Refused: %s", error)
            return "", notice("error", str(error)), ""
        return job.id, "", ""

    def collect(self, job_id: str) -> tuple[Any, ...]:
        """Return message, verdict and gallery of a job."""
        try:
            status = self.engine.status(job_id)
            if not status.images:
                return notice("error", status.error) if status.error else "", "", gr.skip()
            return self._compare(status, self.engine.groups.args(job_id).get("file", ""))
        except WebUIError as error:
            return notice("error", str(error)), gr.skip(), gr.skip()

    def _compare(self, status: JobStatus, path: str) -> tuple[Any, ...]:
        data = read_upload_bytes({"path": path})
        metadata = read_metadata(data)
        infotext = parse_for_reproduction(metadata, make_infotext_context(self.engine))
        reproduced = status.images[0]
        original = ImageField.from_bytes(data).to_pil()
        with Image.open(reproduced.path) as file:
            result = compare_reproduction(
                original, metadata, infotext, file.convert("RGB"), reproduced.infotext
            )
        images: list[Any] = [(path, "The picture"), (str(reproduced.path), "Made again")]
        if result.comparison is not None:
            images.append((result.comparison.difference_image, "The difference"))
        notes = "".join(notice("note", note) for note in status.notes)
        return notes, render_verdict(result), gr.Gallery(images, visible=True)
