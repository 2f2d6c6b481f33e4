"""GenerationRequest: the fields that every task has, named as in A1111's API, and the override settings of a request."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, cast

from pydantic import BaseModel, BeforeValidator, field_validator
from typing_extensions import Self

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.params.image import ImageField
from modules.params.param import param, round_multiples, validate
from modules.params.requests.control_unit import ControlUnit, read_units
from modules.params.requests.job_request import JobRequest, images_in
from modules.params.settings import NOT_OVERRIDABLE, Settings


def overridable_settings(settings_class: type[Settings]) -> frozenset[str]:
    """Return the names of the options that a request may override."""
    return frozenset(settings_class.model_fields) - NOT_OVERRIDABLE


def _read_overrides(value: Any, settings_class: type[Settings]) -> dict[str, Any]:
    # Any: whatever a form or a JSON body holds
    if not isinstance(value, Mapping):
        raise UserError(f"An object of options is needed, not {type(value).__name__}.")
    overrides = cast("Mapping[str, Any]", value)
    for name in overrides:
        if name in NOT_OVERRIDABLE:
            raise UserError(f"'{name}' cannot be overridden; it is not an option of a job.")
        if name not in settings_class.model_fields:
            raise UserError(
                f"There is no option '{name}'.",
                did_you_mean(str(name), overridable_settings(settings_class)),
            )
    settings = validate(settings_class, overrides)
    return {name: getattr(settings, name) for name in overrides}


# The largest seed of torch's generators, as in A1111. Of it the one of a CPU uses the low 32 bits, Philox all.
MAX_SEED = 2**64 - 1
SIZE_STEP = 8  # pixels; images have whole cells of latents, which are this large in most families

DEFAULT_SIDE = 512
MAX_BATCH_SIZE = 64


def _has_refiner(request: GenerationRequest) -> bool:
    return bool(request.refiner_checkpoint)


def _read_refiner(value: Any) -> Any:  # Any: whatever a form or a JSON body holds
    return "" if isinstance(value, str) and value.casefold() == "none" else value


# A checkpoint's name; "None", which A1111's page sends, means none.
RefinerName = Annotated[str, BeforeValidator(_read_refiner)]


def _has_variation(request: GenerationRequest) -> bool:
    return request.subseed_strength > 0


def _read_seed(value: Any) -> Any:  # Any: whatever a form or a JSON body holds
    if not isinstance(value, str):
        return value
    if not value.strip():
        return -1
    for number_type in (int, float):  # so that the error message is about a number
        with suppress(ValueError):
            return number_type(value)
    return value


def _read_control_units(
    value: Any,
) -> tuple[ControlUnit, ...]:  # Any: whatever a form or a JSON body holds
    try:
        return read_units(value)
    except UserError as error:
        raise ValueError(str(error)) from error


ControlUnits = Annotated[tuple[ControlUnit, ...], BeforeValidator(_read_control_units)]

# A whole number; an empty text means -1, as in A1111.
Seed = Annotated[int, BeforeValidator(_read_seed)]


class GenerationRequest(JobRequest):
    """The fields that every task has. `override_settings` may contain the options of its `settings_class`."""

    prompt: str = param(
        "",
        "Prompt",
        help="What the picture shows, in words; (word:1.2) makes a word count more, [word] less.",
        section="prompt",
        lines=3,
    )
    negative_prompt: str = param(
        "",
        "Negative prompt",
        help="What the picture should not show; a CFG scale of 1 ignores it.",
        section="prompt",
        lines=2,
    )
    sampler_name: str = param(
        "DPM++ 2M",
        "Sampling method",
        help="The algorithm that turns noise into the picture, step by step; another one gives another picture, some need fewer steps.",
        infotext="Sampler",
        choices="samplers",
        section="sampling",
    )
    scheduler: str = param(
        "Automatic",
        "Schedule type",
        help="How the noise that is removed is spread over the steps, which changes details; Automatic takes what suits the sampler.",
        infotext="Schedule type",
        choices="schedules",
        section="sampling",
    )
    steps: int = param(
        20,
        "Sampling steps",
        help="In how many steps noise becomes a picture; more take longer and refine it, though little beyond 30.",
        infotext="Steps",
        ge=1,
        le=1000,
        slider=(1, 150, 1),
        section="sampling",
    )
    width: int = param(
        DEFAULT_SIDE,
        "Width",
        help="Picture width in pixels, a multiple of 8; far above the size that a checkpoint was made for, things appear twice.",
        ge=64,
        le=8192,
        multiple_of=SIZE_STEP,
        slider=(64, 2048, SIZE_STEP),
        section="size",
    )
    height: int = param(
        DEFAULT_SIDE,
        "Height",
        help="Picture height in pixels, a multiple of 8; larger pictures need more time and memory.",
        ge=64,
        le=8192,
        multiple_of=SIZE_STEP,
        slider=(64, 2048, SIZE_STEP),
        section="size",
    )
    n_iter: int = param(
        1,
        "Batch count",
        help="How many batches are generated one after another; more take longer, but no more memory.",
        ge=1,
        le=1000,
        slider=(1, 100, 1),
        section="batch",
    )
    batch_size: int = param(
        1,
        "Batch size",
        help="How many pictures are generated at once; more need more memory, and less time for each on a graphics card.",
        ge=1,
        le=MAX_BATCH_SIZE,
        slider=(1, 8, 1),
        section="batch",
    )
    cfg_scale: float = param(
        7.0,
        "CFG Scale",
        help="How strictly the picture follows the prompt (classifier-free guidance): lower is freer, higher is closer and harsher, 1 turns it off.",
        infotext="CFG scale",
        ge=0,
        le=100,
        slider=(1, 30, 0.5),
        section="guidance",
    )
    seed: Seed = param(
        -1,
        "Seed",
        help="The number that the noise is drawn from: the same seed and settings give the same picture; -1 or an empty field draws a random one.",
        infotext="Seed",
        ge=-1,
        le=MAX_SEED,
        section="seed",
    )
    subseed: Seed = param(
        -1,
        "Variation seed",
        help="A second seed whose noise is blended into that of the first, for variations of a picture; -1 draws a random one.",
        infotext="Variation seed",
        when=_has_variation,
        ge=-1,
        le=MAX_SEED,
        section="variation",
    )
    subseed_strength: float = param(
        0.0,
        "Variation strength",
        help="How much of the variation seed's noise is blended in: little changes details; 0 uses the seed alone, 1 the variation seed alone.",
        infotext="Variation seed strength",
        when=_has_variation,
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="variation",
    )
    seed_resize_from_w: int = param(
        0,
        "Resize seed from width",
        help="Keeps, at another size, the composition that the seed has at this width; 0 turns it off.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="variation",
    )
    seed_resize_from_h: int = param(
        0,
        "Resize seed from height",
        help="Keeps, at another size, the composition that the seed has at this height; 0 turns it off.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="variation",
    )
    styles: tuple[str, ...] = param(
        (),
        "Styles",
        help="Saved pieces of prompts that are added to the prompt and the negative prompt.",
        choices="styles",
        section="prompt",
    )
    sd_model_checkpoint: str = param(
        "",
        "Stable Diffusion checkpoint",
        help="The file with the model that draws, by name, title or hash; empty uses the one selected on the page.",
        choices="checkpoints",
        section="model",
    )

    sd_vae: str = param(
        "",
        "SD VAE",
        help="The part that turns what the model computes into pixels: Automatic, None or a file name; empty uses the one selected on the page.",
        choices="vaes",
        section="model",
    )
    refiner_checkpoint: RefinerName = param(
        "",
        "Refiner",
        help="Checkpoint that makes the last steps; empty uses the same for all of them.",
        infotext="Refiner",
        when=_has_refiner,
        choices="checkpoints",
        section="refiner",
    )
    refiner_switch_at: float = param(
        0.8,
        "Switch at",
        help="The share of the noise that is removed when the refiner takes over; 1 never lets it, 0 leaves it everything.",
        infotext="Refiner switch at",
        when=_has_refiner,
        ge=0,
        le=1,
        slider=(0.01, 1, 0.01),
        section="refiner",
    )
    override_settings: dict[str, Any] = param(
        {},
        "Override settings",
        help="Options for this job only, in place of those in the settings.",
        section="model",
    )
    control_units: ControlUnits = param(
        (),
        "ControlNet",
        help="Control models, adapters and reference pictures that guide the result.",
        section="control",
    )

    @field_validator("override_settings", mode="before")
    @classmethod
    def _check_overrides(cls, value: Any) -> dict[str, Any]:
        """Return option names with values that are validated as the settings declare them."""
        try:
            return _read_overrides(value, cls.settings_class)
        except UserError as error:
            raise ValueError(str(error)) from error

    def input_images(self) -> dict[str, ImageField]:
        """Return the input images by field, those of units as "control_units.0.image"."""
        images = super().input_images()
        for index, unit in enumerate(self.control_units):
            images |= {
                f"control_units.{index}.{name}": image for name, image in images_in(unit).items()
            }
        return images

    def with_images(self, images: Mapping[str, ImageField]) -> Self:
        """Return a copy with input images, by field as `input_images` names them."""
        own = {name: image for name, image in images.items() if "." not in name}
        units = tuple(
            unit.with_images(
                {
                    name.split(".", 2)[2]: image
                    for name, image in images.items()
                    if name.startswith(f"control_units.{index}.")
                }
            )
            for index, unit in enumerate(self.control_units)
        )
        return super().with_images(own).model_copy(update={"control_units": units})

    def without_images(self) -> Self:
        """Return a copy without input images, those of units included."""
        units = tuple(unit.without_images() for unit in self.control_units)
        return super().without_images().model_copy(update={"control_units": units})

    @property
    def task(self) -> str:
        """Return the name of this request's task; see `tasks`."""
        return "txt2img"

    @property
    def img2img_strength(self) -> float | None:
        """Return the denoising strength of a run from an image; None for a run from noise."""
        return None

    @property
    def output_subfolder(self) -> str:
        """Return the name that A1111 gives the task's folder in outputs."""
        return "txt2img"

    @property
    def result_size(self) -> tuple[int, int]:
        """Return width and height of its images in pixels."""
        return self.width, self.height


def require_generation(request: JobRequest) -> GenerationRequest:
    """Return a request if it generates images.

    Raises:
        UserError: it asks for something else.
    """
    if not isinstance(request, GenerationRequest):
        raise UserError(f"A job of the kind '{request.task}' generates no pictures from a prompt.")
    return request


def round_sides(
    request_type: type[BaseModel], values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a request with width and height rounded down to multiples of 8, and a warning if they change.

    Args:
        request_type: Declares the fields.
        values: Fields as a client or an infotext has them: of any type, and not all of them.
    """
    rounded, changed = round_multiples(request_type, values)
    if not changed:
        return rounded, []
    old, new = (
        "x".join(str(fields.get(side, DEFAULT_SIDE)) for side in ("width", "height"))
        for fields in (values, rounded)
    )
    return rounded, [f"{old} is rounded to {new}: sides are multiples of {SIZE_STEP}."]
