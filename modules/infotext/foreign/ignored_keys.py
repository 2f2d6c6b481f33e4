"""Keys of other programs that mean something and have no effect here, and keys that only tell."""

from __future__ import annotations

from modules.infotext.codecs import Pairs

# They change nothing of the picture, or are read together with another key.
INFORMATIONAL_KEYS = frozenset(
    (
        "Version",
        "App",
        "User",
        "Model",
        "Model hash",
        "VAE",
        "VAE hash",
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
        "Civitai resources",
        "Civitai metadata",
        "Raw prompt",
        "Raw negative prompt",
        "Hires size",
        "Performance",
        "Hashes",
        "Source Identifier",
    )
)
# By what a key begins with; the first that fits counts.
_WITHOUT_EFFECT: tuple[tuple[str, str], ...] = (
    ("Refiner", "there is no refiner here."),
    ("Hires refiner", "there is no refiner here."),
    ("Face restoration", "faces are not restored here."),
    ("Lora hashes", "LoRA files are not applied here."),
    ("Lora weights", "LoRA files are not applied here."),
    ("TI hashes", "embeddings are not applied here."),
    ("Embeddings", "embeddings are not applied here."),
    ("Hypernet", "hypernetworks are not applied here."),
    ("Token merging", "tokens are not merged here."),
    ("ToMe", "tokens are not merged here."),
    ("ToDo", "tokens are not merged here."),
    ("FP8 weight", "weights are not kept in 8 bits here."),
    ("Cache FP16 weight", "weights are not kept in 8 bits here."),
    ("Script", "there are no scripts here."),
    ("X Type", "there are no scripts here."),
    ("Y Type", "there are no scripts here."),
    ("Z Type", "there are no scripts here."),
    ("X Values", "there are no scripts here."),
    ("Y Values", "there are no scripts here."),
    ("Z Values", "there are no scripts here."),
    ("Fixed ", "there are no scripts here."),
    ("SD upscale", "there are no scripts here."),
    ("ControlNet", "there is no ControlNet here."),
    ("ADetailer", "the extension ADetailer is not here."),
    ("Detailer", "there is no detailer here."),
    ("Dynamic thresholding", "the extension Dynamic thresholding is not here."),
    ("FreeU", "there is no FreeU here."),
    ("Hypertile", "there is no hypertile here."),
    ("Postprocess", "pictures are not enlarged afterwards here."),
    ("Sharpness", "it is Fooocus's own."),
    ("ADM Guidance", "it is Fooocus's own."),
    ("Adaptive CFG", "it is Fooocus's own."),
    ("Module ", "text encoders are not chosen one by one here."),
    ("Diffusion in Low Bits", "weights are kept as the device's precision asks."),
    ("Distilled CFG", "there are no distilled models here."),
    ("Hires CFG", "the second pass has the first one's CFG scale here."),
    ("Hires force", "the second pass always repaints here."),
    ("Sampler ", "it is an option of SD.Next's own samplers."),
)
# Values that say "as usual": a key with such a one is followed by doing nothing.
_USUAL: Pairs = {
    "VAE Encoder": "Full",
    "VAE Decoder": "Full",
    "FP8 weight": "Disable",
    "Face restoration": "None",
    "Refiner": "None",
}


def ignored_reason(key: str) -> str:
    """Return why a key has no effect here, as a sentence; "" when nothing here knows it."""
    if key in _USUAL and not any(key.startswith(start) for start, _ in _WITHOUT_EFFECT):
        return "only the full VAE is used here."
    return next((reason for start, reason in _WITHOUT_EFFECT if key.startswith(start)), "")


def is_informational(key: str, value: str) -> bool:
    """Return whether nothing has to be done about a key."""
    return key in INFORMATIONAL_KEYS or _USUAL.get(key, "").casefold() == value.casefold() != ""
