"""What the PNG Info tab shows of an image's file, and of the comparison with the image that is made again from it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.infotext_context import make_infotext_context
from modules.engine.jobs.job_status import JobStatus
from modules.engine.page.uploads import UploadStore
from modules.engine.reproduce import (
    ReproductionResult,
    compare_reproduction,
    parse_for_reproduction,
    with_control_images,
)
from modules.images.metadata import read_metadata
from modules.infotext import extract_infotext, format_infotext, interpret_infotext
from modules.params.image import ImageField
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.scripts.reproduce import REPRODUCE


@dataclass(frozen=True)
class InfotextField:
    """One row of the table.

    Args:
        key: Key of the infotext, or "Prompt" and "Negative prompt".
        value: Its text.
        reason: Why it is not applied here; "" if it is.
    """

    key: str
    value: str
    reason: str


@dataclass(frozen=True)
class ImageFacts:
    """What an image's file says about it.

    Args:
        text: The infotext as it can be pasted into a prompt box; "" if there is none.
        origin: The program that wrote it.
        fields: The table.
        missing_files: Sentences on models that are not here.
        differences: Sentences on what comes out differently here.
    """

    text: str
    origin: str = ""
    fields: tuple[InfotextField, ...] = ()
    missing_files: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()


def read_image_facts(engine: Engine, data: bytes) -> ImageFacts:
    """Return what an image's file says about it.

    Args:
        engine: Resolves the names in an infotext.
        data: The bytes of the file.

    Raises:
        UserError: the file is not an image, or is damaged.
    """
    context = make_infotext_context(engine)
    infotext = extract_infotext(read_metadata(data), context.json_formats)
    if not infotext.prompt and not infotext.pairs:
        return ImageFacts("")
    result = interpret_infotext(infotext, context, Txt2ImgRequest)
    if result.needs_init_image:
        result = interpret_infotext(infotext, context, Img2ImgRequest)
    report = result.report
    reasons = {entry.key: "this key is unknown." for entry in report.unknown_keys}
    reasons |= {entry.key: entry.reason for entry in report.unapplied_keys}
    prompts = {"Prompt": infotext.prompt, "Negative prompt": infotext.negative_prompt}
    rows = {**{key: text for key, text in prompts.items() if text}, **infotext.pairs}
    fields = [InfotextField(key, value, reasons.get(key, "")) for key, value in rows.items()]
    return ImageFacts(
        format_infotext(infotext),
        report.origin,
        tuple(fields),
        tuple(report.missing_files),
        tuple(report.differences),
    )


def start_reproduction(engine: Engine, uploads: UploadStore, upload_id: str) -> str:
    """Start a job that makes an uploaded image again, and return its id.

    Raises:
        WebUIError: its file does not say enough, or a model or an image of a ControlNet unit is missing.
    """
    metadata = read_metadata(uploads.read(upload_id))
    request = parse_for_reproduction(metadata, make_infotext_context(engine)).to_request()
    request = with_control_images(request, metadata, engine.queue.store)
    return engine.run_script(REPRODUCE.name, request, {"file": upload_id}, "page").id


@dataclass(frozen=True)
class Reproduction:
    """An image that was made again.

    Args:
        upload_id: The image that it was made from.
        result: The comparison.
    """

    upload_id: str
    result: ReproductionResult


def compare_with_upload(
    engine: Engine, uploads: UploadStore, job_id: str, status: JobStatus
) -> Reproduction:
    """Return the comparison of a finished job's image with the one that it was made from.

    Raises:
        WebUIError: the job has no image, or the one that it was made from is no longer there.
    """
    if not status.images:
        raise NotFound(status.error or "Nothing was made.")
    upload_id = engine.groups.args(job_id).get("file", "")
    data = uploads.read(upload_id)
    metadata = read_metadata(data)
    parsed = parse_for_reproduction(metadata, make_infotext_context(engine))
    made = status.images[0]
    original = ImageField.from_bytes(data).to_pil()
    with Image.open(made.path) as file:
        result = compare_reproduction(
            original, metadata, parsed, file.convert("RGB"), made.infotext
        )
    return Reproduction(upload_id, result)
