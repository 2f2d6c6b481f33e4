"""Makes a control image for the page's preview and the API's detection: at once, or between the jobs of the device."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.page.uploads import Upload, make_upload_store
from modules.images.preprocessors.sizes import ResizeMode, pixel_perfect_resolution
from modules.params.image import ImageField
from modules.plan.units.preprocessing import ControlImage, Preprocessing, plan_preprocessing
from modules.plan.work import MakeControlImage


@dataclass(frozen=True)
class PixelPerfect:
    """What pixel perfect needs.

    Args:
        size: Width and height of the image that is to be generated.
        resize_mode: Of the unit.
    """

    size: tuple[int, int]
    resize_mode: ResizeMode


def make_control_image(
    engine: Engine, preprocessing: Preprocessing, image: ImageField
) -> ControlImage:
    """Return the control image of a picture; blocks until it is done.

    Raises:
        BadFile: a file of the preprocessor's network cannot be used.
    """
    if not preprocessing.needs_device:
        pixels = np.asarray(image.to_pil().convert("RGB"), np.uint8)
        return ControlImage(Image.fromarray(preprocessing.compute(pixels)))
    engine.queue.raise_if_stopping()
    return engine.executor.submit(MakeControlImage(preprocessing, image)).result()


def preview_control_image(
    engine: Engine,
    upload_id: str,
    module: str,
    numbers: tuple[int, float, float],
    pixel_perfect: PixelPerfect | None = None,
) -> tuple[Upload, ControlImage]:
    """Return the control image of an uploaded picture, kept as an upload of its own.

    Args:
        engine: Has the uploads.
        upload_id: Of the picture.
        module: Of the unit.
        numbers: Its resolution, threshold a and threshold b.
        pixel_perfect: Where the resolution follows from the sizes.

    Raises:
        UserError: there is no picture.
        NotFound: it is no longer there, or there is no such preprocessor.
        Unsupported: the preprocessor cannot be used, or makes no picture.
    """
    if not upload_id:
        raise UserError(
            "There is no picture to make a control picture of.", "Put one into the unit."
        )
    preprocessing = plan_preprocessing(engine.models, module, numbers)
    store = make_upload_store(engine)
    image = ImageField.from_bytes(store.read(upload_id))
    if pixel_perfect is not None:
        resolution = pixel_perfect_resolution(
            image.size, pixel_perfect.size, pixel_perfect.resize_mode
        )
        preprocessing = preprocessing.with_resolution(resolution)
    made = make_control_image(engine, preprocessing, image)
    buffer = io.BytesIO()
    made.image.save(buffer, "PNG", compress_level=1)
    return store.add(buffer.getvalue()), made
