"""MergeRequest: one checkpoint made of others. The fields have the names of A1111's function."""

from __future__ import annotations

from typing import Literal

from modules.params.param import param
from modules.params.requests.job_request import JobRequest

# By `config_source`.
CONFIG_SOURCES = ("A, B or C", "B", "C", "None")
NO_VAE = "None"
CheckpointFormat = Literal["safetensors", "ckpt"]


class MergeRequest(JobRequest):
    """What is merged and how."""

    interp_method: str = param(
        "Weighted sum",
        "Interpolation method",
        help="How the result is made of the checkpoints; another one needs other checkpoints.",
        choices="merge recipes",
        section="recipe",
    )
    primary_model_name: str = param(
        "",
        "Primary model (A)",
        help="The checkpoint that the others are merged into; the result has its layers.",
        choices="checkpoints",
        section="models",
    )
    secondary_model_name: str = param(
        "",
        "Secondary model (B)",
        help="The checkpoint whose weights are merged into A's.",
        choices="checkpoints",
        section="models",
    )
    tertiary_model_name: str = param(
        "",
        "Tertiary model (C)",
        help="The checkpoint that B was trained from: what B has beyond it is added to A.",
        choices="checkpoints",
        section="models",
    )
    multiplier: float = param(
        0.3,
        "Multiplier (M)",
        help="Higher values give more of B; 0 gives A.",
        ge=0,
        le=1,
        slider=(0, 1, 0.05),
        section="recipe",
    )
    loras: str = param(
        "",
        "LoRAs",
        help="Tags as in a prompt, such as <lora:name:0.8>; a higher weight makes a LoRA count more.",
        section="recipe",
        lines=2,
    )
    bake_in_vae: str = param(
        NO_VAE,
        "Bake in VAE",
        help="The VAE that takes the place of A's; None keeps A's.",
        choices="merge vaes",
        section="result",
    )
    save_as_half: bool = param(
        False,
        "Save as float16",
        help="On makes files of 32-bit floats half as large; what is copied from A alone is only converted without"
        " interpolation.",
        section="result",
    )
    checkpoint_format: CheckpointFormat = param(
        "safetensors",
        "Checkpoint format",
        help="A .ckpt is for programs that read nothing else; it has no metadata.",
        section="result",
    )
    custom_name: str = param(
        "",
        "Custom name",
        help="The file's name; empty makes one of the recipe.",
        section="result",
    )
    discard_weights: str = param(
        "",
        "Discard weights with matching name",
        help="A regular expression; tensors in whose names it is found are left out, such as model_ema or"
        " first_stage_model.",
        section="result",
    )
    config_source: int = param(
        0,
        "Copy config from",
        help="Whose .yaml, if it has one, is copied for the result: of the first of A, B and C that has one, of B, of C, or"
        " nobody's.",
        ge=0,
        le=3,
        labels=CONFIG_SOURCES,
        section="result",
    )
    save_metadata: bool = param(
        True,
        "Save metadata",
        help="Off writes nothing but the tensors.",
        section="metadata",
    )
    add_merge_recipe: bool = param(
        True,
        "Add merge recipe",
        help="On writes names and hashes of the checkpoints and the recipe into the metadata.",
        section="metadata",
    )
    copy_metadata_fields: bool = param(
        True,
        "Copy metadata",
        help="On copies the metadata of A, B and C, where the later ones win.",
        section="metadata",
    )
    metadata_json: str = param(
        "{}",
        "Metadata in JSON format",
        help="Further metadata of the result, which win over those that are copied.",
        section="metadata",
        lines=4,
    )

    @property
    def task(self) -> str:
        """Return "merge"."""
        return "merge"
