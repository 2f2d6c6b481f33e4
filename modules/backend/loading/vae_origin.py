"""Tells a separate VAE that was made for another family: those of SD and of SDXL have the same tensors, with other values."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn.functional import cosine_similarity

from modules.backend.loading.state_dict import FileStateDict, read_state_dict
from modules.models.files.header import read_header
from modules.models.ldm.keys import VAE_ENCODER_INPUT_KEY, find_key

# The VAEs of SD 1.x and 2.x were all trained on from one, and SDXL's from new weights (Podell et al. 2023, section 2.4). What was
# trained on keeps the first layer of its encoder nearly as it was; of unrelated layers the cosine is 0, give or take 0.02.
_LEAST_COSINE = 0.5


def describe_unrelated_vae(state_dict: FileStateDict, vae: Path, name: str) -> str:
    """Return a note where a separate VAE has no weights in common with the checkpoint's own one; "" otherwise.

    Args:
        state_dict: Of the checkpoint, perhaps without a VAE.
        vae: The separate file.
        name: Of the checkpoint.

    Raises:
        BadFile: one of the files has become shorter since it was listed.
    """
    other = read_state_dict(vae, read_header(vae))
    first, second = _encoder_input(state_dict), _encoder_input(other)
    if first is None or second is None or first.shape != second.shape:
        return ""
    if float(cosine_similarity(first.flatten(), second.flatten(), dim=0)) >= _LEAST_COSINE:
        return ""
    return (
        f"The VAE '{vae.name}' was not made from that of '{name}': if colours are wrong, it is one for another family;"
        " choose Automatic or None."
    )


def _encoder_input(state_dict: FileStateDict) -> Tensor | None:
    key = find_key(state_dict, VAE_ENCODER_INPUT_KEY)
    return None if key is None else state_dict.read(state_dict[key]).float()
