"""The model of a job: a checkpoint and everything that is chosen about it, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from modules.core.errors import WebUIError
from modules.models.families import Family
from modules.models.manager import Checkpoint, ModelManager
from modules.models.predictions import Prediction, remembered
from modules.models.text_encoders import TextEncoderFile
from modules.models.vaes import VaeFile
from modules.models.yaml_section import Section
from modules.params.settings import Settings

PIXELS_PER_LATENT = 8
USUAL_LATENT_SIZE = 64


@dataclass(frozen=True)
class ModelPlan:
    """What is loaded, and how.

    Args:
        checkpoint: The file.
        config: The LDM .yaml that describes it.
        prediction: What the UNet predicts; None as the .yaml says, "probe" when nobody knows yet.
        vae: Another VAE than the checkpoint's own.
        text_encoder: Where the text encoder comes from; None when the checkpoint has its own.
        averaged: Whether the training's moving average is wanted where the file has it.
        limit: How many checkpoints may stay loaded.
        memory: Folder in which what is found out is remembered.
    """

    checkpoint: Checkpoint
    config: Path
    prediction: Prediction | Literal["probe"] | None
    vae: VaeFile | None
    text_encoder: TextEncoderFile | None
    averaged: bool
    limit: int
    memory: Path

    @property
    def borrows(self) -> str:
        """Return the sentence that says where a missing text encoder comes from, or ""."""
        if self.text_encoder is None:
            return ""
        name = self.checkpoint.name
        return f"'{name}' has no text encoder; the one of '{self.text_encoder.name}' is used."


def plan_model(models: ModelManager, checkpoint: Checkpoint, settings: Settings) -> ModelPlan:
    """Return the model that a checkpoint and the settings make.

    Raises:
        BadFile: the checkpoint or the VAE cannot be loaded, or there is no text encoder for it.
        NotFound: there is no VAE of that name.
    """
    return ModelPlan(
        checkpoint=checkpoint,
        config=models.config_of(checkpoint),
        prediction=prediction_of(models, checkpoint, settings),
        vae=models.vaes.choose(settings.sd_vae, checkpoint.path),
        text_encoder=models.text_encoder_of(checkpoint),
        averaged=settings.sd_use_ema,
        limit=settings.sd_checkpoints_limit,
        memory=models.memory,
    )


def native_size(plan: ModelPlan, models: ModelManager) -> int:
    """Return the width and height in pixels that a model was made for.

    Args:
        plan: The model.
        models: Knows its family and has read its .yaml.
    """
    family = models.family_of(plan.checkpoint)
    try:
        params = models.sections.read(plan.config).section("model").section("params")
        return _size_of(params, plan, family)
    except WebUIError:  # what is wrong with it is told when it is loaded
        return family.native_size


def _size_of(params: Section, plan: ModelPlan, family: Family) -> int:
    unet = params.section("unet_config").section("params")
    latent_size = params.integer("image_size", unet.integer("image_size", USUAL_LATENT_SIZE))
    if (
        latent_size != USUAL_LATENT_SIZE
    ):  # the published .yaml files all say 64, even for 768 pixels
        return PIXELS_PER_LATENT * latent_size
    said = "v_prediction" if params.text("parameterization", "eps") == "v" else "epsilon"
    predicts_v = (plan.prediction or said) == "v_prediction"
    return family.v_native_size if predicts_v and family.v_native_size else family.native_size


def prediction_of(
    models: ModelManager, checkpoint: Checkpoint, settings: Settings
) -> Prediction | Literal["probe"] | None:
    """Return what the UNet predicts: the user's choice, else the .yaml's, else what was found out."""
    chosen = settings.sd_predictions.get(checkpoint.name)
    if chosen is not None:
        return chosen
    if checkpoint.config is not None or not models.family_of(checkpoint).undecided:
        return None
    return remembered(models.memory, checkpoint.stamp) or "probe"
