"""ControlNet units from the values of a form: uploads become images, strokes a drawing or a mask."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, cast

from modules.core.errors import UserError
from modules.engine.page.uploads import UploadStore
from modules.images.strokes import parse_strokes
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.control_unit import UNIT_IMAGES, ControlUnit

# Values of a unit's form that are no fields: what was painted on its picture, whether that is its mask, and whether its model
# takes further pictures, which a form keeps for when one that does is chosen again.
STROKES, PAINTS_MASK, TAKES_SEVERAL = "image_strokes", "paints_mask", "takes_several"
_OTHERS = ControlUnit.model_fields.keys() - set(UNIT_IMAGES)


def read_unit_uploads(uploads: UploadStore, values: Any) -> Any:  # JSON: anything
    """Return the units of a form with images in place of the ids of uploads; what is no list of units as it is.

    Units that are off have none, so that a picture that is gone stops nobody; where all are, there are none.

    Raises:
        NotFound: an image is no longer there.
        UserError: an image or what was painted cannot be read.
    """
    if not isinstance(values, list):
        return values
    units = cast("list[Any]", values)
    if all(
        isinstance(unit, Mapping) and not cast("Mapping[str, Any]", unit).get("enabled")
        for unit in units
    ):
        return []
    return [
        _read_unit(uploads, number, cast("Mapping[str, Any]", unit))
        if isinstance(unit, Mapping)
        else unit
        for number, unit in enumerate(units)
    ]


def paint_upload(uploads: UploadStore, upload_id: str, strokes: str) -> str:
    """Return the id of an upload with strokes painted on it: that of the upload itself where nothing is painted.

    Raises:
        NotFound: the image is no longer there.
        UserError: the strokes cannot be read.
    """
    if not upload_id or not strokes:
        return upload_id
    image = ImageField.from_bytes(uploads.read(upload_id))
    painted = parse_strokes(strokes, image.size)
    if not painted.strokes:
        return upload_id
    buffer = io.BytesIO()
    painted.paint_over(image.to_pil()).save(buffer, "PNG", compress_level=1)
    return uploads.add(buffer.getvalue()).id


def without_unit_uploads(values: Any) -> Any:  # JSON: anything
    """Return the units of a form without images and what is no field; what is no list of units as it is."""
    if not isinstance(values, list):
        return values
    return [
        {name: value for name, value in cast("Mapping[str, Any]", unit).items() if name in _OTHERS}
        if isinstance(unit, Mapping)
        else unit
        for unit in cast("list[Any]", values)
    ]


def _read_unit(uploads: UploadStore, number: int, unit: Mapping[str, Any]) -> dict[str, Any]:
    (fields,) = without_unit_uploads([unit])
    if not unit.get("enabled"):
        return fields
    present = {name: unit[name] for name in UNIT_IMAGES if unit.get(name)}
    if not unit.get(TAKES_SEVERAL, True):
        present.pop("more_images", None)
    read: dict[str, Any] = {
        name: list(map(uploads.read, map(str, cast("list[Any]", value))))
        if isinstance(value, list)
        else uploads.read(str(value))
        for name, value in present.items()
    }
    strokes = str(unit.get(STROKES) or "")
    if not strokes or "image" not in read:
        return {**fields, **read}
    image = ImageField.from_bytes(read["image"])
    try:
        painted = parse_strokes(strokes, image.size)
    except UserError as error:
        raise UserError(f"ControlNet unit {number}: {error}") from error
    if not painted.strokes:
        return {**fields, **read}
    if unit.get(PAINTS_MASK):
        return {**fields, **read, "mask": ImageField.from_pil(painted.to_mask(), MASK)}
    return {**fields, **read, "image": ImageField.from_pil(painted.paint_over(image.to_pil()))}
