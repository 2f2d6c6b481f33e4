"""ControlUnit: what one ControlNet, adapter or reference picture adds to a request; a request has several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import Self

from modules.core.errors import UserError
from modules.params.image import ImageField, InputImage, InputImages, Mask, is_image_field
from modules.params.param import param, validate

# Names and values are those of sd-webui-controlnet's API.
_RESIZE_MODES = Literal["Just Resize", "Crop and Resize", "Resize and Fill"]
_CONTROL_MODES = Literal["Balanced", "My prompt is more important", "ControlNet is more important"]
_HIRES_OPTIONS = Literal["Both", "Low res only", "High res only"]
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
# What other versions and programs write, in lower case.
_OTHER_NAMES: Mapping[str, str] = {
    "resize": "Just Resize",
    "just resize (latent upscale)": "Just Resize",
    "inner fit (scale to fit)": "Crop and Resize",
    "scale to fit (inner fit)": "Crop and Resize",
    "inner_fit": "Crop and Resize",
    "outer fit (shrink to fit)": "Resize and Fill",
    "envelope (outer fit)": "Resize and Fill",
    "outer_fit": "Resize and Fill",
    "prompt": "My prompt is more important",
    "control": "ControlNet is more important",
    "low_res_only": "Low res only",
    "high_res_only": "High res only",
}


def _make_choice_reader(choices: Any) -> Callable[[Any], Any]:
    """Return a validator that takes a number for the name in that place, and names in any case and of other programs."""
    names = get_args(choices)
    by_name = {name.casefold(): name for name in names}

    def read(value: Any) -> Any:  # Any: whatever a form or a JSON body holds
        if isinstance(value, str):
            folded = value.strip().casefold()
            return by_name.get(folded) or _OTHER_NAMES.get(folded, value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
            return names[value]
        return value

    return read


ResizeMode = Annotated[_RESIZE_MODES, BeforeValidator(_make_choice_reader(_RESIZE_MODES))]
ControlMode = Annotated[_CONTROL_MODES, BeforeValidator(_make_choice_reader(_CONTROL_MODES))]
HiresOption = Annotated[_HIRES_OPTIONS, BeforeValidator(_make_choice_reader(_HIRES_OPTIONS))]
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
    more_images: InputImages = param(
        (),
        "More control pictures",
        help="Further pictures for an IP-Adapter, besides the control picture; what it sees in all of them is averaged.",
    )
    module: str = param(
        NO_MODULE,
        "Preprocessor",
        help="Turns the picture into what the model was trained on, such as outlines or depth; none takes the picture as it is.",
        infotext="Module",
        choices="preprocessors",
    )
    model: str = param(
        NO_MODEL,
        "Control model",
        help="File of models/ControlNet, by name, with or without its hash; it must be of the checkpoint's family.",
        infotext="Model",
        choices="control models",
    )
    weight: float = param(
        1.0,
        "Control weight",
        help="How strongly the unit counts; 0 turns it off, above 1 may harm the picture.",
        infotext="Weight",
        ge=0,
        le=2,
        slider=(0, 2, 0.05),
    )
    guidance_start: float = param(
        0.0,
        "Starting control step",
        help="The share of the steps after which the unit begins to count; later leaves the composition free.",
        infotext="Guidance Start",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )
    guidance_end: float = param(
        1.0,
        "Ending control step",
        help="The share of the steps after which the unit no longer counts; earlier leaves the details free.",
        infotext="Guidance End",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )
    control_mode: ControlMode = param(
        "Balanced",
        "Control mode",
        help="Which counts more where prompt and control picture disagree.",
        infotext="Control Mode",
    )
    resize_mode: ResizeMode = param(
        "Crop and Resize",
        "Resize mode",
        help="How a control picture of other proportions is brought to the size of the result.",
        infotext="Resize Mode",
    )
    pixel_perfect: bool = param(
        False,
        "Pixel Perfect",
        help="Computes the preprocessor's resolution from the sizes of picture and result.",
        infotext="Pixel Perfect",
    )
    processor_res: int = param(
        MODULE_DEFAULT,
        "Preprocessor resolution",
        help="Shorter side, in pixels, of the picture that the preprocessor gets; -1 takes the preprocessor's default.",
        infotext="Processor Res",
        ge=-1,
        le=4096,
        slider=(64, 2048, 1),
    )
    threshold_a: float = param(
        MODULE_DEFAULT,
        "Threshold A",
        help="The preprocessor's first value, such as the lower threshold of canny; -1 takes its default.",
        infotext="Threshold A",
    )
    threshold_b: float = param(
        MODULE_DEFAULT,
        "Threshold B",
        help="The preprocessor's second value, such as the upper threshold of canny; -1 takes its default.",
        infotext="Threshold B",
    )
    hr_option: HiresOption = param(
        "Both",
        "Hires-fix option",
        help="In which of the passes the unit counts.",
        infotext="Hr Option",
        omit_default=True,
    )
    inpaint_crop_input_image: bool = param(
        True,
        "Crop input image by the mask",
        help="With 'Only masked', the control picture is cropped as the picture is.",
        infotext="Inpaint Crop Input Image",
        omit_default=True,
    )
    union_control_type: UnionControlType = param(
        "Unknown",
        "Union control type",
        help="What the control picture shows, which a model for several types (Union) needs; others ignore it.",
        infotext="Union Control Type",
        omit_default=True,
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
        infotext="Advanced Weighting",
        omit_default=True,
        section="api",
    )
    save_detected_map: bool = param(
        True,
        "Save detected map",
        help="Whether what the preprocessor made is kept beside the results.",
        section="api",
    )

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return validate(type(self), {**dict(self), **changes})

    def with_images(self, images: Mapping[str, ImageField]) -> Self:
        """Return a copy with images by field, those of a list as "more_images.0"."""
        changes: dict[str, Any] = {}
        for place, image in sorted(images.items(), key=lambda item: _natural(item[0])):
            name, _, number = place.partition(".")
            changes[name] = (*changes.get(name, ()), image) if number else image
        return self.model_copy(update=changes)

    def without_images(self) -> Self:
        """Return a copy without images."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in UNIT_IMAGES})


UNIT_IMAGES = tuple(name for name, it in ControlUnit.model_fields.items() if is_image_field(it))


def _natural(place: str) -> tuple[str, int]:
    name, _, number = place.partition(".")
    return name, int(number or 0)


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
