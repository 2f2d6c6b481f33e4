"""Reproduces an image from its own metadata and compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from PIL import Image

from modules.core.errors import NotFound, UserError
from modules.core.version import VERSION
from modules.engine.jobs.job import Job
from modules.engine.jobs.queue import JobQueue
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import with_seeds_from
from modules.images.compare import Comparison, compare
from modules.images.metadata import PARAMETERS_KEY, Metadata
from modules.infotext import (
    Infotext,
    InfotextContext,
    InfotextResult,
    extract_infotext,
    interpret_infotext,
    parse_infotext,
)
from modules.params.image import ImageField
from modules.params.param import params_of
from modules.params.requests.base import GenerationRequest, require_generation
from modules.params.requests.control_unit import ControlUnit
from modules.params.requests.txt2img import Txt2ImgRequest

# What determines most of an image: without any of these there is nothing to compare.
_REQUIRED_KEYS = ("Steps", "Sampler", "Schedule type", "Seed", "Size", "CFG scale")
_HASH_KEYS = ("Model hash", "VAE hash", "Lora hashes", "TI hashes")
_ADD_CONTROL_IMAGE = (
    "Send its settings to a tab, add that picture to the ControlNet unit there, and generate."
)
_LOSSY_FORMATS = ("JPEG", "WEBP", "AVIF", "GIF")
# Pixel values of 255: what another device's rounding changes; what the eye cannot distinguish.
_ROUNDING_DIFFERENCE, _VISIBLE_MEAN_DIFFERENCE = 2, 4.0


@dataclass(frozen=True)
class ReproductionResult:
    """How similar an image and its reproduction are.

    Args:
        sentence: The verdict.
        caveats: What could not be matched to the original run, as sentences.
        comparison: The pixel comparison; None if the sizes differ.
    """

    sentence: str
    caveats: tuple[str, ...]
    comparison: Comparison | None


def parse_for_reproduction(metadata: Metadata, context: InfotextContext) -> InfotextResult:
    """Return the parsed infotext of an image's metadata, if it is enough to reproduce the image.

    Raises:
        UserError: it is not; the message names what is missing.
    """
    infotext = extract_infotext(metadata, context.json_formats)
    if not infotext.pairs:
        raise UserError(
            "The picture's file contains no generation parameters.",
            "Many websites remove them; use the original file.",
        )
    parsed = interpret_infotext(infotext, context, Txt2ImgRequest)
    if parsed.needs_init_image:
        raise UserError(
            "The picture was made from another picture, which is not in its file.",
            "Send its settings to img2img or Inpaint, and upload that picture there.",
        )
    unapplied = [entry for entry in parsed.report.unapplied_keys if entry.key in _REQUIRED_KEYS]
    if unapplied:
        raise UserError(f"The picture cannot be reproduced here. {unapplied[0]}")
    missing = [key for key in _REQUIRED_KEYS if key not in parsed.infotext.pairs]
    if missing:
        raise UserError(
            f"The picture's file lacks parameters that are needed to reproduce it: {', '.join(missing)}."
        )
    # The prompt has what was drawn; what looks like a template there was text.
    return replace(parsed, override_settings={**parsed.override_settings, "dynamic_prompts": False})


def with_control_images(
    request: GenerationRequest, metadata: Metadata, store: JobStore
) -> GenerationRequest:
    """Return the request of an image with the images of its ControlNet units, which no file holds but its job may.

    Args:
        request: Of the image's infotext.
        metadata: Of its file.
        store: Knows the jobs of this server.

    Raises:
        UserError: an image of a unit is not here; the message says which.
    """
    numbers = [number for number, unit in enumerate(request.control_units) if unit.enabled]
    if not numbers:
        return request
    record = store.find_image_job(metadata.items.get(PARAMETERS_KEY, ""))
    if record is None:
        raise UserError(
            "The picture was made with a control picture, which is not in its file, and no job of this server made it.",
            _ADD_CONTROL_IMAGE,
        )
    names = record.stored_request.image_names
    # Without an init image a unit has a picture.
    needed = dict.fromkeys(f"control_units.{number}.image" for number in numbers)
    units = tuple(f"control_units.{number}." for number in numbers)
    places = [place for place in {**needed, **names} if place.startswith(units)]
    return request.with_images({place: _stored_image(store, names, place) for place in places})


def _stored_image(store: JobStore, names: Mapping[str, str], place: str) -> ImageField:
    """Return an image of a unit from those of a job.

    Raises:
        UserError: it is no longer stored.
    """
    try:
        if place in names:
            return store.input_image(names[place])
    except NotFound:
        pass
    number, field = place.split(".")[1:3]
    label = params_of(ControlUnit)[field].label.lower()
    raise UserError(
        f"The {label} of ControlNet unit {number} is no longer on this server, and not in the picture's file.",
        _ADD_CONTROL_IMAGE,
    )


def compare_reproduction(
    original: Image.Image,
    metadata: Metadata,
    parsed: InfotextResult,
    reproduction: Image.Image,
    text: str,
) -> ReproductionResult:
    """Return how similar an image and its reproduction are.

    Args:
        original: The image, in RGB.
        metadata: The metadata of its file.
        parsed: Their parsed infotext.
        reproduction: The reproduced image.
        text: The infotext of the reproduction.
    """
    caveats = [*parsed.report.messages(), *_differing_files(parsed.infotext, parse_infotext(text))]
    version = writer_version(parsed)
    if version not in ("", VERSION):
        caveats.append(f"It was made with version {version}; this is {VERSION}.")
    if original.size != reproduction.size:
        sizes = [f"{image.width}x{image.height}" for image in (original, reproduction)]
        sentence = f"Not the same: the picture has {sizes[0]} pixels and the new one {sizes[1]}; it was resized after it was made."
        return ReproductionResult(sentence, tuple(caveats), None)
    comparison = compare(original, reproduction)
    if not comparison.is_identical and parsed.infotext.pairs.get("RNG", "GPU") == "GPU":
        caveats.append("The noise was generated on a graphics card; an NVIDIA card is assumed.")
    return ReproductionResult(_sentence(comparison, metadata.format), tuple(caveats), comparison)


def writer_version(parsed: InfotextResult) -> str:
    """Return the version of this program that wrote an infotext; "" if another program wrote it."""
    origin, _, version = parsed.report.origin.rpartition(" ")
    return version if origin == "this WebUI" else ""


def _differing_files(before: Infotext, now: Infotext) -> list[str]:
    """Return one sentence for each file whose hash differs from the original's."""
    return [
        f"{key} is {now.pairs[key]} here and was {before.pairs[key]}."
        for key in _HASH_KEYS
        if before.pairs.get(key) and now.pairs.get(key) and before.pairs[key] != now.pairs[key]
    ]


def _sentence(comparison: Comparison, format: str) -> str:
    if comparison.is_identical:
        return f"Identical: all {comparison.pixel_count} pixels are the same."
    numbers = (
        f"the largest difference is {comparison.max_difference} of 255, the mean {comparison.mean_difference:.2f}, and {comparison.differing_fraction:.1%} of the "
        "pixels differ"
    )
    if comparison.max_difference <= _ROUNDING_DIFFERENCE:
        return f"The same except for rounding: {numbers}."
    if format in _LOSSY_FORMATS and comparison.mean_difference < _VISIBLE_MEAN_DIFFERENCE:
        return (
            f"As similar as a {format} file can show, because its compression is lossy: {numbers}."
        )
    if comparison.mean_difference < _VISIBLE_MEAN_DIFFERENCE:
        return f"Nearly the same: {numbers}."
    return f"Not the same: {numbers}."


def rerun_image(queue: JobQueue, job_id: str, index: int) -> Job:
    """Return a new, recorded job for one image of a job, which may have ended long ago.

    Args:
        queue: Stores the job and accepts the new one.
        job_id: The job's id.
        index: The image's index within the job, from 0.

    Raises:
        NotFound: the job is unknown, or an input image of it is no longer stored.
        UserError: it did not generate its images.
    """
    record = queue.store.record(job_id)
    request, settings = queue.store.restore_request(record.stored_request)
    single = with_seeds_from(require_generation(request), index, 1)
    return queue.submit(single, settings, record.queue_position.source, with_recording=True)


def find_image_request(queue: JobQueue, job_id: str, index: int) -> GenerationRequest:
    """Return the request of one image of a job alone.

    Args:
        queue: Stores the job.
        job_id: The job's id.
        index: The image's index within the job, from 0.

    Raises:
        NotFound: the job is unknown, or an input image of it is no longer stored.
        UserError: it did not generate its images.
    """
    request, _ = queue.store.restore_request(queue.store.record(job_id).stored_request)
    return require_generation(with_seeds_from(request, index, 1))
