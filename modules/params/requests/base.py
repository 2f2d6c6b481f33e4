"""What one generation is asked to do, in the names of the A1111 API."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict
from typing_extensions import Self

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.params.image import is_image_field
from modules.params.param import param, validate
from modules.params.settings import NOT_OVERRIDABLE, Settings


def overridable_settings() -> frozenset[str]:
    """Return the names of the options that a request may set for itself."""
    return frozenset(Settings.model_fields) - NOT_OVERRIDABLE


def _read_overrides(value: Any) -> dict[str, Any]:  # whatever a form or a JSON body holds
    try:
        if not isinstance(value, Mapping):
            raise UserError(f"An object of options is needed, not {type(value).__name__}.")
        given = cast("Mapping[str, Any]", value)
        for name in given:
            if name in NOT_OVERRIDABLE:
                raise UserError(f"'{name}' cannot be overridden; it is no option of a single job.")
            if name not in Settings.model_fields:
                raise UserError(
                    f"There is no option '{name}'.", did_you_mean(str(name), overridable_settings())
                )
        checked = validate(Settings, given)
        return {name: getattr(checked, name) for name in given}
    except UserError as error:
        raise ValueError(str(error)) from error


# The type of a request's field: option names to values, each checked as the option's declaration says.
OverrideSettings = Annotated[dict[str, Any], BeforeValidator(_read_overrides)]

Task = Literal["txt2img", "img2img", "inpaint", "depth2img"]
# A seed passes through JavaScript on the page, which holds whole numbers exactly only up to 2^53.
MAX_SEED = 2**53 - 1


def _has_variation(request: GenerationRequest) -> bool:
    return request.subseed_strength > 0


def _read_seed(value: Any) -> Any:  # whatever a form or a JSON body holds
    if not isinstance(value, str):
        return value
    if not value.strip():
        return -1
    for kind in (int, float):  # as numbers, so that messages speak of numbers
        with suppress(ValueError):
            return kind(value)
    return value


# A whole number; an empty text stands for -1, as in A1111.
Seed = Annotated[int, BeforeValidator(_read_seed)]


class GenerationRequest(BaseModel):
    """The fields that every task has. Frozen: `replace` makes a changed copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = param("", "Prompt", help="What the picture shows.", section="prompt", lines=3)
    negative_prompt: str = param(
        "", "Negative prompt", help="What the picture should not show.", section="prompt", lines=2
    )
    sampler_name: str = param(
        "DPM++ 2M",
        "Sampling method",
        help="How the picture is walked out of the noise.",
        infotext="Sampler",
        choices="samplers",
        section="sampling",
    )
    scheduler: str = param(
        "Automatic",
        "Schedule type",
        help="How the noise levels are spread over the steps; Automatic takes the sampler's own.",
        infotext="Schedule type",
        choices="schedules",
        section="sampling",
    )
    steps: int = param(
        20,
        "Sampling steps",
        help="More steps take longer and refine the picture.",
        infotext="Steps",
        ge=1,
        le=1000,
        slider=(1, 150, 1),
        section="sampling",
    )
    width: int = param(
        512,
        "Width",
        help="Picture width in pixels, a multiple of 8.",
        ge=64,
        le=8192,
        multiple_of=8,
        slider=(64, 2048, 8),
        section="size",
    )
    height: int = param(
        512,
        "Height",
        help="Picture height in pixels, a multiple of 8.",
        ge=64,
        le=8192,
        multiple_of=8,
        slider=(64, 2048, 8),
        section="size",
    )
    n_iter: int = param(
        1,
        "Batch count",
        help="How many batches are made one after another.",
        ge=1,
        le=1000,
        slider=(1, 100, 1),
        section="batch",
    )
    batch_size: int = param(
        1,
        "Batch size",
        help="How many pictures are made at once; more need more memory.",
        ge=1,
        le=64,
        slider=(1, 8, 1),
        section="batch",
    )
    cfg_scale: float = param(
        7.0,
        "CFG Scale",
        help="How strictly the picture follows the prompt; 1 turns guidance off.",
        infotext="CFG scale",
        ge=0,
        le=100,
        slider=(1, 30, 0.5),
        section="guidance",
    )
    seed: Seed = param(
        -1,
        "Seed",
        help="The same seed and settings give the same picture; -1, or nothing, draws a new one.",
        infotext="Seed",
        ge=-1,
        le=MAX_SEED,
        section="seed",
    )
    subseed: Seed = param(
        -1,
        "Variation seed",
        help="The seed of the picture that variations lead to; -1 draws a new one.",
        infotext="Variation seed",
        when=_has_variation,
        ge=-1,
        le=MAX_SEED,
        section="variation",
    )
    subseed_strength: float = param(
        0.0,
        "Variation strength",
        help="How far the noise goes from the seed's to the variation seed's.",
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
        help="Keeps the composition of the seed's picture of this width; 0 turns it off.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="variation",
    )
    seed_resize_from_h: int = param(
        0,
        "Resize seed from height",
        help="Keeps the composition of the seed's picture of this height; 0 turns it off.",
        ge=0,
        le=8192,
        slider=(0, 2048, 8),
        section="variation",
    )
    styles: tuple[str, ...] = param(
        (),
        "Styles",
        help="Names of saved prompts that are added to the prompt.",
        choices="styles",
        section="prompt",
    )
    sd_model_checkpoint: str = param(
        "",
        "Stable Diffusion checkpoint",
        help="Name, title or hash of the checkpoint; empty takes the one chosen on the page.",
        choices="checkpoints",
        section="model",
    )

    sd_vae: str = param(
        "",
        "SD VAE",
        help="Automatic, None or a file's name; empty takes what is chosen on the page.",
        choices="vaes",
        section="model",
    )
    override_settings: OverrideSettings = param(
        {},
        "Override settings",
        help="Options of this job alone, whatever the settings say.",
        section="model",
    )

    @property
    def task(self) -> Task:
        """Return what kind of generation this is."""
        return "txt2img"

    @property
    def output_subfolder(self) -> str:
        """Return A1111's word for the kind of picture, which names its folder in outputs."""
        return "txt2img"

    def without_images(self) -> Self:
        """Return what is left to be remembered of a request that has been carried out."""
        fields = type(self).model_fields
        return self.model_copy(
            update={k: None for k, field in fields.items() if is_image_field(field)}
        )

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        return validate(type(self), {**dict(self), **changes})
