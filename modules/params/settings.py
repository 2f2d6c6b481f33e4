"""What is remembered between starts, under A1111's option names."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

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

    def replace(self, **changes: Any) -> Settings:
        """Return a validated copy with some options changed."""
        return validated(Settings, {**self.model_dump(), **changes})
