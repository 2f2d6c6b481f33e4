"""The images of a job, as the page names them, and what another form takes over from one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.results import GeneratedImage

# What A1111's "Send to" takes over; seed and size only if the settings say so.
_SENT = (
    "prompt",
    "negative_prompt",
    "styles",  # none: the prompts of an infotext contain them already
    "steps",
    "sampler_name",
    "scheduler",
    "cfg_scale",
)


def find_image(engine: Engine, job_id: str, position: int) -> GeneratedImage:
    """Return an image of a job or of a group of jobs, whose file is still there.

    Raises:
        NotFound: there is no such job or image, or its file is no longer in a folder of images.
    """
    images = engine.status(job_id).images
    if not 0 <= position < len(images):
        raise NotFound("There is no such image.", "GET /api/v1/jobs lists the ids.")
    image = images[position]
    if not _is_file_of(engine, image.path):
        raise NotFound("The image file is no longer in the outputs folder.")
    return image


def find_grid(engine: Engine, job_id: str) -> Path | None:
    """Return the grid of a job of this run, if the settings show it and its file is still there."""
    try:
        grid = engine.queue.job(job_id).grid_path
    except NotFound:
        return None
    is_shown = grid is not None and engine.settings.return_grid and _is_file_of(engine, grid)
    return grid if is_shown else None


def find_depth_map(engine: Engine, job_id: str) -> bytes:
    """Return the depth map of a job of this run as PNG; b"" if there is none."""
    try:
        return engine.job(job_id).depth_map()
    except NotFound:
        return b""


def image_size(image: GeneratedImage) -> tuple[int, int]:
    """Return width and height of an image; 0x0 if its file is damaged."""
    if all(image.size):
        return image.size
    try:
        with Image.open(image.path) as file:
            return file.size
    except (OSError, ValueError, SyntaxError):
        return 0, 0


def expected_size(engine: Engine, job_id: str) -> tuple[int, int]:
    """Return width and height of the images that a job of this run makes; 0x0 for any other job."""
    try:
        return engine.job(job_id).request.result_size
    except NotFound:
        return 0, 0


def values_to_send(engine: Engine, job_id: str, position: int) -> dict[str, Any]:
    """Return the values of an image that another form takes over, by field name.

    The image's own infotext is read, as A1111 does: its prompt has the styles in it, its seed is that of this image.

    Raises:
        NotFound: there is no such image.
    """
    image = find_image(engine, job_id, position)
    parsed = read_infotext(engine, image.infotext, Txt2ImgRequest)
    found: Mapping[str, Any] = parsed.values if "Steps" in parsed.infotext.pairs else {}
    values = {name: found[name] for name in _SENT if name in found}
    if engine.settings.send_seed and found:
        values["seed"] = image.seed
    if engine.settings.send_size and all(image_size(image)):
        values["width"], values["height"] = image_size(image)
        if image.kind == "grid":  # its infotext describes the cells
            values |= {name: found[name] for name in ("width", "height") if name in found}
    return values


def _is_file_of(engine: Engine, path: Path) -> bool:
    folders = (folder.resolve() for folder in engine.image_saver.image_dirs)
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in folders) and resolved.is_file()
