"""Plans one ControlNet unit: resolves its model, and refuses what cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modules.core.errors import NotFound, UserError
from modules.images.preprocessors.sizes import pixel_perfect_resolution
from modules.images.preprocessors.table import PREPROCESSORS
from modules.models.control.control_model import ControlModel
from modules.models.control.layouts import CONTROLNET_UNION, IP_ADAPTER, T2I_STYLE
from modules.models.index import ModelIndex
from modules.models.model_spec import ModelSpec
from modules.params.requests.base import GenerationRequest
from modules.params.requests.control_unit import NO_MODEL, NO_MODULE, ControlUnit
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.plan.units.control_types import UNION_TYPES
from modules.plan.units.image_encoder import (
    find_image_encoder,
    find_revision_encoder,
    find_style_encoder,
)
from modules.plan.units.planned_unit import PlannedUnit
from modules.plan.units.preprocessing import Preprocessing, plan_preprocessing

_MANY_SHOWN = 3


def plan_unit(
    index: int,
    unit: ControlUnit,
    request: GenerationRequest,
    checkpoint: ModelSpec,
    models: ModelIndex,
) -> PlannedUnit:
    """Return a unit with all that the backend needs of it.

    Args:
        index: Of the unit in the request.
        unit: It is enabled.
        request: Of the first pass.
        checkpoint: Likewise.
        models: Finds the control model.

    Raises:
        NotFound: it has no picture, no model, or one that does not exist.
        BadFile: its model cannot be used.
        UserError: its model was made for checkpoints of another family, or its options contradict each other.
    """
    unit = unit.model_copy(update={"module": PREPROCESSORS.get(unit.module).name})
    planned = PlannedUnit(index, unit, is_soft=unit.control_mode != "Balanced")
    if unit.image is None and not _has_init_image(request):
        raise NotFound(f"{planned.label} has no picture.", "Add one, or turn the unit off.")
    if unit.guidance_start > unit.guidance_end:
        raise UserError(
            f"{planned.label} ends at {unit.guidance_end:g} of the steps, before it begins at"
            f" {unit.guidance_start:g}.",
            "Move the ending control step behind the starting one.",
        )
    model = _find_model(planned, checkpoint, models)
    resolved = {"model": model.title if model else NO_MODEL}
    if model is not None and model.layout == CONTROLNET_UNION:
        resolved["union_control_type"] = _union_type(unit)
    planned = replace(
        planned,
        unit=unit.model_copy(update=resolved),
        model=model,
        pools=model is not None and _pools(model, models),
        preprocessing=_plan_preprocessing(unit, request, models),
    )
    check_family(planned, checkpoint, models)
    _check_options(planned)
    if planned.is_revision:
        if checkpoint.family.network_family != "SDXL":
            name, family = checkpoint.checkpoint.name, checkpoint.family.network_family
            raise UserError(
                f"{planned.label}: {planned.module} is for SDXL, and '{name}' is {family}.",
                "Use an IP-Adapter.",
            )
        encoder = find_revision_encoder(planned.label, models)
    elif planned.model is not None and planned.model.layout == IP_ADAPTER:
        encoder = find_image_encoder(planned.label, planned.model, models)
    elif planned.model is not None and planned.model.layout == T2I_STYLE:
        encoder = find_style_encoder(planned.label, planned.model, models)
    else:
        return planned
    return replace(planned, image_encoder=encoder)


def fits(planned: PlannedUnit, checkpoint: ModelSpec) -> bool:
    """Return whether a checkpoint can follow a unit."""
    if planned.model is None:
        return True
    return planned.model.fits(checkpoint.family.network_family, context_width(checkpoint))


def context_width(model: ModelSpec) -> int:
    """Return the width of the text that a checkpoint's UNet attends to, 0 if unknown."""
    widths = [info.hidden_size for info in model.checkpoint.text_encoders]
    return sum(widths) if all(widths) else 0


def check_family(planned: PlannedUnit, checkpoint: ModelSpec, models: ModelIndex) -> None:
    """Refuse a control model that was made for checkpoints of another family.

    Raises:
        UserError: with what would fit.
    """
    control = planned.model
    if control is None or fits(planned, checkpoint):
        return
    family, width = checkpoint.family.network_family, context_width(checkpoint)
    fitting = [model.title for model in models.control.fitting(family, width)]
    made_for, needed = control.family, family
    if made_for == family:  # such as the demo model, which is a small SD 1.x
        made_for += f" with texts {control.facts.context_width} wide"
        needed += f" with texts {width} wide"
    raise UserError(
        f"{planned.label}: '{control.title}' is for {made_for}, and '{checkpoint.checkpoint.name}' is {needed}.",
        f"Choose {_listing(fitting)}." if fitting else f"models/ControlNet has none for {needed}.",
    )


def _has_init_image(request: GenerationRequest) -> bool:
    return isinstance(request, InitImageRequest) and request.init_image is not None


def _find_model(
    planned: PlannedUnit, checkpoint: ModelSpec, models: ModelIndex
) -> ControlModel | None:
    name = planned.unit.model.strip()
    if planned.is_reference or planned.is_revision:
        return None
    if name and name.casefold() != NO_MODEL.casefold():
        return models.control.find(name)
    if not PREPROCESSORS.get(planned.unit.module).needs_model:
        return None
    family = checkpoint.family.network_family
    fitting = models.control.fitting(family, context_width(checkpoint))
    titles = [model.title for model in fitting]
    hint = (
        f"Choose {_listing(titles)}." if titles else f"Put one for {family} into models/ControlNet."
    )
    raise NotFound(f"{planned.label} has no control model.", hint)


def _plan_preprocessing(
    unit: ControlUnit, request: GenerationRequest, models: ModelIndex
) -> Preprocessing | None:
    """Return how the control image of a unit is made, None where its picture is taken as it is."""
    row = PREPROCESSORS.get(unit.module)
    if row.name == NO_MODULE or not (row.makes_image or row.unavailable):
        return None
    numbers = unit.processor_res, unit.threshold_a, unit.threshold_b
    preprocessing = plan_preprocessing(models, row.name, numbers, (request.seed, request.subseed))
    if not unit.pixel_perfect:
        return preprocessing
    image = unit.image or (request.init_image if isinstance(request, InitImageRequest) else None)
    size = request.width, request.height
    resolution = pixel_perfect_resolution(image.size if image else size, size, unit.resize_mode)
    return preprocessing.with_resolution(resolution)


def _union_type(unit: ControlUnit) -> str:
    """Return the union control type of a unit, that of its preprocessor where it names none; "Unknown" if neither does."""
    if unit.union_control_type != "Unknown":
        return unit.union_control_type
    types = PREPROCESSORS.get(unit.module).control_types
    found = {UNION_TYPES[name] for name in types if name in UNION_TYPES}
    return found.pop() if len(found) == 1 else "Unknown"


def _pools(model: ControlModel, models: ModelIndex) -> bool:
    """Return whether a model's outputs are reduced to their means: its .yaml says so, or its name.

    Raises:
        UserError: the .yaml cannot be read.
    """
    # The key of github.com/lllyasviel/ControlNet; sd-webui-controlnet recognizes such a model by its name, too.
    is_named_so = "shuffle" in model.stem.lower()
    if model.config is None:
        return is_named_so
    params = models.yaml_cache.read(model.config).at("model.params")
    return params.boolean("global_average_pooling", is_named_so)


def _check_options(planned: PlannedUnit) -> None:
    """Refuse options that a unit's model cannot follow.

    Raises:
        UserError: there is one.
    """
    unit, model = planned.unit, planned.model
    if unit.more_images and (model is None or not model.takes_several):
        name = planned.module if model is None else model.title
        raise UserError(
            f"{planned.label} has {len(unit.more_images) + 1} pictures, and '{name}' takes one.",
            "Only an IP-Adapter takes several; use a unit for each.",
        )
    if model is None:
        return
    if model.layout == CONTROLNET_UNION and unit.union_control_type == "Unknown":
        raise UserError(
            f"{planned.label}: '{model.title}' is for several types of control pictures.",
            "Choose the union control type of this picture, such as Depth: its preprocessor does not tell.",
        )
    weights, count = unit.advanced_weighting, model.facts.output_count
    if weights is not None and count and len(weights) != count:
        raise UserError(
            f"{planned.label} has {len(weights)} advanced weights, and '{model.title}' has {count} outputs.",
            f"Give {count} numbers, or none.",
        )


def proportions_note(planned: PlannedUnit, request: GenerationRequest) -> str:
    """Return what becomes of a control picture whose proportions are not those of the result, "" for nothing."""
    image = planned.unit.image
    if image is None or (isinstance(request, Img2ImgRequest) and request.inpaint_full_res):
        return ""
    width, height = image.size
    if width * request.height == height * request.width:
        return ""
    fate = {
        "Just Resize": "it was stretched",
        "Crop and Resize": "its edges were cropped",
        "Resize and Fill": "its sides were filled",
    }[planned.unit.resize_mode]
    return f"{planned.label}: its picture is {width}x{height} and the result {request.width}x{request.height}; {fate}."


def _listing(titles: Sequence[str]) -> str:
    shown = [f"'{title}'" for title in titles[:_MANY_SHOWN]]
    if len(titles) > _MANY_SHOWN:
        return f"{', '.join(shown)} or another one"
    return " or ".join(shown)
