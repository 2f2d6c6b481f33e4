"""The depth that a job of the Depth tab would use: an uploaded or an estimated map, with the adjustments applied."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from modules.core.atomic import open_writer
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.page.requests import validate_fields
from modules.engine.page.uploads import make_upload_store
from modules.images.depth_levels import DepthLevels
from modules.images.resize import scale_size
from modules.params.image import ImageField
from modules.params.image_kinds import DEPTH, to_rgb
from modules.params.param import params_of
from modules.params.requests.depth import DepthRequest

_LONGEST_SIDE = 768  # of a preview; the estimator's input has 384
_ADJUSTMENTS = ("depth_contrast", "depth_near", "depth_far", "depth_invert")


def estimate_depth(engine: Engine, upload_id: str) -> None:
    """Estimate the depth of an uploaded image and keep it; blocks until it is done.

    Raises:
        UserError: there is no image, or the checkpoint has no estimator.
        NotFound: the image is no longer there.
    """
    if not upload_id:
        raise UserError("There is no picture whose depth could be estimated.", "Upload one.")
    image = ImageField.from_bytes(make_upload_store(engine).read(upload_id))
    factor = min(1.0, _LONGEST_SIDE / max(image.size))
    size = scale_size(image.size, factor, params_of(DepthRequest)["width"])
    depth = engine.estimate_depth(image, size)
    path = _estimate_path(engine, upload_id)
    with open_writer(path) as file:
        depth.save(file, format="PNG")


def preview_depth(engine: Engine, values: Mapping[str, Any]) -> bytes:
    """Return the depth map with the adjustments as a PNG of at most 768 pixels a side; empty if there is no depth yet.

    Args:
        engine: Has the uploads.
        values: Those of the form: `init_image` and `depth_map` as ids of uploads, and the adjustments.

    Raises:
        UserError: the depth map is not an image, or an adjustment is not valid.
        NotFound: an image is no longer there.
    """
    depth = _find_depth(engine, values)
    if depth is None:
        return b""
    fields = {name: values[name] for name in _ADJUSTMENTS if name in values}
    request: DepthRequest = validate_fields(DepthRequest, fields)
    if request.depth_near <= request.depth_far:
        raise UserError("Depth near is not larger than depth far.", "Move them apart.")
    depth.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    DepthLevels.from_request(request).adjust_image(depth).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _find_depth(engine: Engine, values: Mapping[str, Any]) -> Image.Image | None:
    """Return the uploaded depth map, else the init image's estimate, in L; None if there is neither."""
    if values.get("depth_map"):
        data = make_upload_store(engine).read(str(values["depth_map"]))
        return to_rgb(ImageField.from_bytes(data, DEPTH).to_pil()).convert("L")
    if not values.get("init_image"):
        return None
    path = _estimate_path(engine, str(values["init_image"]))
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.convert("L")


def _estimate_path(engine: Engine, upload_id: str) -> Path:
    """Return the path of an upload's estimate, next to the upload.

    Raises:
        NotFound: the upload is no longer there.
    """
    return make_upload_store(engine).path(upload_id).with_suffix(".depth")
