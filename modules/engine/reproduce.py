"""A picture made again from its own metadata, and the verdict on how alike the two are."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from modules.core.errors import UserError
from modules.core.version import VERSION
from modules.engine.jobs.job import Job
from modules.engine.jobs.queue import JobQueue
from modules.engine.jobs.stored_request import deserialize
from modules.images.compare import Comparison, compare
from modules.images.metadata import Metadata
from modules.infotext import (
    Infotext,
    InfotextContext,
    InfotextResult,
    extract_infotext,
    interpret_infotext,
    parse_infotext,
)
from modules.params.requests.txt2img import Txt2ImgRequest

# What decides most of a picture: without any of these there is nothing to compare.
_NEEDED = ("Steps", "Sampler", "Schedule type", "Seed", "Size", "CFG scale")
_HASHES = ("Model hash", "VAE hash")
_LOSSY = ("JPEG", "WEBP", "AVIF", "GIF")
# Levels of 255: what another device's rounding changes; what a look does not tell apart.
_ROUNDING, _LOOK = 2, 4.0


@dataclass(frozen=True)
class ReproductionResult:
    """How alike a picture and its reproduction are.

    Args:
        sentence: The verdict.
        caveats: What could not be done as it was done then, as sentences.
        comparison: The pictures pixel by pixel; None when they differ in size.
    """

    sentence: str
    caveats: tuple[str, ...]
    comparison: Comparison | None


def parse_for_reproduction(metadata: Metadata, context: InfotextContext) -> InfotextResult:
    """Return what a picture's metadata ask for, if it is enough to make it again.

    Raises:
        UserError: it is not; the sentence says what is missing.
    """
    words = extract_infotext(metadata)
    if not words.pairs:
        raise UserError(
            "The picture's file does not tell how it was made.",
            "Many websites take that out; use the file as it was saved.",
        )
    reading = interpret_infotext(words, context, Txt2ImgRequest)
    if reading.needs_init_image:
        raise UserError(
            "The picture was made from another picture, which is not in its file.",
            "Send its settings to img2img or Inpaint, and put that picture in there.",
        )
    refused = [one for one in reading.report.unapplied_keys if one.key in _NEEDED]
    if refused:
        raise UserError(f"The picture cannot be made again here. {refused[0]}")
    missing = [key for key in _NEEDED if key not in reading.infotext.pairs]
    if missing:
        raise UserError(
            f"The picture's file does not tell enough to make it again: {', '.join(missing)}."
        )
    return reading


def compare_reproduction(
    original: Image.Image,
    metadata: Metadata,
    parsed: InfotextResult,
    reproduction: Image.Image,
    text: str,
) -> ReproductionResult:
    """Return how alike a picture and its reproduction are.

    Args:
        original: The picture, in RGB.
        metadata: Of its file.
        parsed: What was read of it.
        reproduction: The reproduction.
        text: The infotext of the reproduction.
    """
    unmatched = [*parsed.report.messages(), *_other_files(parsed.infotext, parse_infotext(text))]
    version = writer_version(parsed)
    if version not in ("", VERSION):
        unmatched.append(f"It was made with version {version}; this is {VERSION}.")
    if original.size != reproduction.size:
        sizes = [f"{picture.width}x{picture.height}" for picture in (original, reproduction)]
        said = f"Not the same: the picture has {sizes[0]} pixels and the new one {sizes[1]}; it was resized after it was made."
        return ReproductionResult(said, tuple(unmatched), None)
    found = compare(original, reproduction)
    if not found.is_identical and parsed.infotext.pairs.get("RNG", "GPU") == "GPU":
        unmatched.append("The noise was drawn on a graphics card; an NVIDIA card's is assumed.")
    return ReproductionResult(_sentence(found, metadata.format), tuple(unmatched), found)


def writer_version(parsed: InfotextResult) -> str:
    """Return the version of this program that wrote an infotext; "" when it was another program."""
    origin, _, version = parsed.report.origin.rpartition(" ")
    return version if origin == "this WebUI" else ""


def _other_files(told: Infotext, now: Infotext) -> list[str]:
    """Return where a file that was used is another than the one that was told."""
    return [
        f"{key} is {now.pairs[key]} here and was {told.pairs[key]}."
        for key in _HASHES
        if told.pairs.get(key) and now.pairs.get(key) and told.pairs[key] != now.pairs[key]
    ]


def _sentence(found: Comparison, format: str) -> str:
    if found.is_identical:
        return f"Identical: all {found.pixel_count} pixels are the same."
    numbers = (
        f"the largest difference is {found.max_difference} of 255, the mean {found.mean_difference:.2f}, and {found.differing_fraction:.1%} of the "
        "pixels differ"
    )
    if found.max_difference <= _ROUNDING:
        return f"The same but for rounding: {numbers}."
    if format in _LOSSY and found.mean_difference < _LOOK:
        return f"As alike as a {format} file can tell, which keeps no exact pixels: {numbers}."
    if found.mean_difference < _LOOK:
        return f"Nearly the same: {numbers}."
    return f"Not the same: {numbers}."


def rerun_image(queue: JobQueue, job_id: str, index: int) -> Job:
    """Return a new, recorded job for one picture of a job that may be long past.

    Args:
        queue: Knows the job and takes the new one.
        job_id: The job's name.
        index: The picture's place among the job's, from 0.

    Raises:
        NotFound: the job is not known, or a picture that it repainted is no longer kept.
    """
    row = queue.store.record(job_id)
    request, settings = deserialize(row.stored_request, queue.store.input_image)
    step = 0 if request.subseed_strength else 1
    seeds = {"seed": request.seed + step * index, "subseed": request.subseed + index}
    alone = request.replace(n_iter=1, batch_size=1, **seeds)
    return queue.submit(alone, settings, row.queue_position.source, with_recording=True)
