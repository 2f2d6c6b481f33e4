"""What is remembered between starts, under A1111's option names."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from modules.core.flags import MOST_CHECKPOINTS
from modules.params.param import param, validated


class Settings(BaseModel):
    """Every option. Frozen: the engine swaps the whole object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sd_model_checkpoint: str = param(
        "",
        "Stable Diffusion checkpoint",
        help="Name of the checkpoint that new jobs use; empty takes the first one found.",
        choices="checkpoints",
        section="model",
    )

    sd_vae: str = param(
        "Automatic",
        "SD VAE",
        help="Automatic takes the VAE named like the checkpoint, None the one inside it; else a file's name.",
        choices="vaes",
        section="model",
    )
    CLIP_stop_at_last_layers: int = param(
        1,
        "Clip skip",
        help="2 reads the prompt at the text encoder's layer before the last; without effect on SD 2.x.",
        infotext="Clip skip",
        ge=1,
        le=12,
        slider=(1, 12, 1),
        section="model",
    )
    sd_checkpoints_limit: int = param(
        1,
        "Checkpoints kept loaded",
        help="More make a change between checkpoints faster and need more memory.",
        ge=1,
        le=MOST_CHECKPOINTS,
        slider=(1, MOST_CHECKPOINTS, 1),
        section="model",
    )
    sd_use_ema: bool = param(
        False,
        "Use EMA weights",
        help="Takes the training's moving average where a checkpoint holds both.",
        section="model",
    )
    sd_predictions: dict[str, Literal["epsilon", "v_prediction"]] = param(
        {},
        "Predictions",
        help="What the networks of single checkpoints predict, by name, where it is not found out by itself.",
        section="model",
    )

    def replace(self, **changes: Any) -> Settings:
        """Return a validated copy with some options changed."""
        return validated(Settings, {**self.model_dump(), **changes})
