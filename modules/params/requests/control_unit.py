"""ControlUnit: what one ControlNet, adapter or reference picture adds to a request; a request has several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict
from typing_extensions import Self

from modules.core.errors import UserError
from modules.params.image import InputImage, Mask
from modules.params.param import param, validate

# Names and values are those of sd-webui-controlnet's API.
ResizeMode = Literal["Just Resize", "Crop and Resize", "Resize and Fill"]
ControlMode = Literal["Balanced", "My prompt is more important", "ControlNet is more important"]
HiresOption = Literal["Both", "Low res only", "High res only"]
UnionControlType = Literal[
    "Unknown",
    "OpenPose",
    "Depth",
    "Soft Edge",
    "Hard Edge",
    "Normal Map",
    "Segmentation",
    "Tile",
    "Inpaint",
]
# What a Union model's embeddings of control types mean, in their order.
UNION_CONTROL_TYPES = {name: index - 1 for index, name in enumerate(get_args(UnionControlType))}
NO_MODULE, NO_MODEL = "none", "None"
MODULE_DEFAULT = -1  # of resolution and thresholds: what the preprocessor has


class ControlUnit(BaseModel):
    """One unit. Frozen: `replace` returns a changed copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = param(
        False,
        "Enable",
        help="Whether this unit takes part; a unit that is off keeps its values.",
    )
    image: InputImage = param(
        None,
        "Control picture",
        help="The picture that guides the result; without one, that of img2img is taken.",
    )
    mask: Mask = param(
        None,
        "Control mask",
        help="White where the preprocessor counts, for inpainting where the picture is new; without one the mask of the request is taken.",
    )
    module: str = param(
        NO_MODULE,
        "Preprocessor",
        help="Turns the picture into what the model was trained on, such as outlines or depth; none takes the picture as it is.",
        choices="preprocessors",
    )
    model: str = param(
        NO_MODEL,
        "Control model",
        help="File of models/ControlNet, by name, with or without its hash; it must be of the checkpoint's family.",
        choices="control_models",
    )
    weight: float = param(
        1.0,
        "Control weight",
        help="How strongly the unit counts; 0 turns it off, above 1 may harm the picture.",
        ge=0,
        le=2,
        slider=(0, 2, 0.05),
    )
    guidance_start: float = param(
        0.0,
        "Starting control step",
        help="The share of the steps after which the unit begins to count; later leaves the composition free.",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )
    guidance_end: float = param(
        1.0,
        "Ending control step",
        help="The share of the steps after which the unit no longer counts; earlier leaves the details free.",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )
    control_mode: ControlMode = param(
        "Balanced",
        "Control mode",
        help="Which counts more where prompt and control picture disagree.",
    )
    resize_mode: ResizeMode = param(
        "Crop and Resize",
        "Resize mode",
        help="How a control picture of other proportions is brought to the size of the result.",
    )
    pixel_perfect: bool = param(
        False,
        "Pixel Perfect",
        help="Computes the preprocessor's resolution from the sizes of picture and result.",
    )
    processor_res: int = param(
        MODULE_DEFAULT,
        "Preprocessor resolution",
        help="Shorter side, in pixels, of the picture that the preprocessor gets; -1 takes the preprocessor's default.",
        ge=-1,
        le=4096,
        slider=(64, 2048, 1),
    )
    threshold_a: float = param(
        MODULE_DEFAULT,
        "Threshold A",
        help="The preprocessor's first value, such as the lower threshold of canny; -1 takes its default.",
    )
    threshold_b: float = param(
        MODULE_DEFAULT,
        "Threshold B",
        help="The preprocessor's second value, such as the upper threshold of canny; -1 takes its default.",
    )
    hr_option: HiresOption = param(
        "Both",
        "Hires-fix option",
        help="In which of the passes the unit counts.",
    )
    inpaint_crop_input_image: bool = param(
        True,
        "Crop input image by the mask",
        help="With 'Only masked', the control picture is cropped as the picture is.",
    )
    union_control_type: UnionControlType = param(
        "Unknown",
        "Union control type",
        help="What the control picture shows, for a model of several types; Unknown lets it find out.",
    )
    effective_region_mask: Mask = param(
        None,
        "Effective region mask",
        help="White where the unit counts; without one it counts everywhere.",
    )
    advanced_weighting: tuple[float, ...] | None = param(
        None,
        "Advanced weighting",
        help="A weight for each output of the model: 13 for SD 1.x and 2.x, 10 for SDXL; they replace those of the control mode.",
    )
    save_detected_map: bool = param(
        True,
        "Save detected map",
        help="Whether the API appends what the preprocessor made to the results.",
    )

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return validate(type(self), {**dict(self), **changes})


def read_units(value: Any) -> tuple[ControlUnit, ...]:  # Any: whatever a form or a JSON body holds
    """Return the units of a request.

    Raises:
        UserError: a value is not valid; the message names unit, field and value.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise UserError(f"A list of ControlNet units is needed, not {type(value).__name__}.")
    return tuple(
        _read_unit(item, number) for number, item in enumerate(cast("Sequence[Any]", value))
    )


def _read_unit(value: Any, number: int) -> ControlUnit:
    if isinstance(value, ControlUnit):
        return value
    if not isinstance(value, Mapping):
        raise UserError(
            f"ControlNet unit {number} is {type(value).__name__}; an object of its fields is needed."
        )
    try:
        return validate(ControlUnit, cast("Mapping[str, Any]", value))
    except UserError as error:
        raise UserError(f"ControlNet unit {number}: {error}") from error
