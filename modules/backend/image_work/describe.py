"""Captions an image by BLIP (Li et al., 2022, arXiv:2201.12086), the first part of A1111's CLIP interrogator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from modules.core.errors import BadFile

# As A1111 asks BLIP for a caption.
_BEAMS, _MIN_TOKENS, _MAX_TOKENS = 1, 24, 48


def describe(folder: Path, image: Image.Image, device: torch.device) -> str:
    """Return a caption. The model is loaded for it and dropped afterwards: it is as large as half a checkpoint.

    Args:
        folder: config.json, weights, and the files of the processor and the tokenizer.
        image: Any mode and size.
        device: Where it runs, in float32.

    Raises:
        BadFile: the files are incomplete or of another kind of model.
    """
    try:
        # Any: transformers types its classes loosely.
        processor: Any = BlipProcessor.from_pretrained(folder, local_files_only=True)
        model: Any = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(
            f"The captioning model in {folder} cannot be loaded: {str(error).splitlines()[0]}",
            "Download its folder again, all files of it.",
        ) from error
    inputs = processor(images=image.convert("RGB"), return_tensors="pt").to(device)
    model = model.to(device).eval()
    with torch.inference_mode():
        tokens = model.generate(
            **inputs,
            do_sample=False,
            num_beams=_BEAMS,
            min_new_tokens=_MIN_TOKENS,
            max_new_tokens=_MAX_TOKENS,
        )
    return processor.decode(tokens[0], skip_special_tokens=True).strip()
