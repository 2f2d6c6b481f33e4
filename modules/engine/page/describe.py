"""Describes an image as a prompt, if the user has a captioning model."""

from __future__ import annotations

from pathlib import Path

from modules.core.errors import NotFound
from modules.engine.engine import Engine
from modules.params.image import ImageField
from modules.plan.work import DescribeImage

_FOLDER = "BLIP"
_MODEL = "Salesforce/blip-image-captioning-base"


def describe_image(engine: Engine, data: bytes) -> str:
    """Return a caption of an image; blocks until it is done.

    Args:
        engine: Runs the model between its jobs.
        data: The bytes of the image's file.

    Raises:
        NotFound: there is no captioning model; the sentence says which to install and where.
        WebUIError: the image or the model cannot be read.
    """
    folder = find_captioning_model(engine)
    image = ImageField.from_bytes(data)
    engine.queue.raise_if_stopping()
    return engine.executor.submit(DescribeImage(folder, image)).result()


def find_captioning_model(engine: Engine) -> Path:
    """Return the folder of the captioning model: models/BLIP itself, or the first one below it.

    Raises:
        NotFound: there is none.
    """
    (folder,) = engine.paths.model_folders(_FOLDER)
    configs = [*folder.glob("config.json"), *sorted(folder.glob("*/config.json"))]
    if not configs:
        raise NotFound(
            f"There is no model that describes pictures: put all files of {_MODEL} (Hugging Face) into models/{_FOLDER}.",
            "A picture made by a WebUI needs none: PNG Info reads its prompt.",
        )
    return configs[0].parent
