"""Infotext keys of other programs that have no effect here, and informational keys."""

from __future__ import annotations

from modules.infotext.codecs import Pairs

# They do not affect the image, or are read together with another key.
INFORMATIONAL_KEYS = frozenset(
    (
        "Version",
        "App",
        "User",
        "Model",
        "Model hash",
        "VAE",
        "VAE hash",
        "Lora hashes",
        "TI hashes",
        "Init image hash",
        "Init image size",
        "Batch size",
        "Batch pos",
        "Batch",
        "Index",
        "Operations",
        "Pipeline",
        "Parser",
        "Comment",
        "Created Date",
        # of the script that "Script" names
        *(f"{axis} {key}" for axis in "XYZ" for key in ("Type", "Values")),
        *(f"Fixed {axis} Values" for axis in "XYZ"),
        "Civitai resources",
        "Civitai metadata",
        "Template",
        "Negative Template",
        "Hires Template",
        "Hires Negative Template",
        "Raw prompt",
        "Raw negative prompt",
        "Hires size",
        "Performance",
        "Hashes",
        "Source Identifier",
    )
)
# Reasons by key prefix; the first match is used.
_REASONS: tuple[tuple[str, str], ...] = (
    ("Face restoration", "face restoration is not supported."),
    ("Embeddings", "embeddings are read from the prompt."),
    ("Token merging", "token merging is not supported."),
    ("ToMe", "token merging is not supported."),
    ("ToDo", "token merging is not supported."),
    ("Cache FP16 weight", "LoRA files are added to 8-bit weights as they are."),
    ("Script", "the script is chosen in the form."),
    ("SD upscale", "the script is chosen in the form."),
    ("ADetailer", "the extension ADetailer is not supported."),
    ("Detailer", "the detailer is not supported."),
    ("Dynamic thresholding", "the extension Dynamic thresholding is not supported."),
    ("FreeU", "FreeU is not supported."),
    ("Hypertile", "hypertile is not supported."),
    ("Postprocess", "pictures are not upscaled after generation."),
    ("Sharpness", "it is specific to Fooocus."),
    ("ADM Guidance", "it is specific to Fooocus."),
    ("Adaptive CFG", "it is specific to Fooocus."),
    ("Module ", "text encoders cannot be chosen individually."),
    ("Diffusion in Low Bits", "the precision of the weights depends on the device."),
    ("Distilled CFG", "distilled models are not supported."),
    ("Hires CFG", "the second pass uses the CFG scale of the first."),
    ("Hires force", "the second pass always repaints."),
    ("Sampler ", "it is an option of SD.Next's samplers."),
)
# Default values: a key with its value listed here needs no report.
_DEFAULTS: Pairs = {
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "Face restoration": "None",
}


def ignored_reason(key: str) -> str:
    """Return why a key has no effect here, as a sentence; "" for an unknown key."""
    if key in _DEFAULTS and not any(key.startswith(prefix) for prefix, _ in _REASONS):
        return "only the full VAE is supported."
    return next((reason for prefix, reason in _REASONS if key.startswith(prefix)), "")


def is_informational(key: str, value: str) -> bool:
    """Return whether a key does not have to be applied or reported."""
    return key in INFORMATIONAL_KEYS or _DEFAULTS.get(key, "").casefold() == value.casefold() != ""
