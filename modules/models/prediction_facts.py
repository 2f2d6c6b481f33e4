"""What a checkpoint file itself says about what its UNet predicts: keys that trainers leave in it, and its metadata."""

from __future__ import annotations

from typing import Literal, NamedTuple

from modules.models.files.header import Header

PredictionType = Literal["epsilon", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
# Empty tensors, as NoobAI has them; ComfyUI and the later forks of A1111 read them.
_V_KEY, _ZERO_TERMINAL_SNR_KEY = "v_pred", "ztsnr"
# Of the modelspec metadata (github.com/Stability-AI/ModelSpec), which trainers write.
_METADATA_KEY = "modelspec.prediction_type"
_METADATA_VALUES: dict[str, PredictionType] = {
    "epsilon": "epsilon",
    "v": "v_prediction",
    "v_prediction": "v_prediction",
    "v-prediction": "v_prediction",
}


class PredictionFacts(NamedTuple):
    """What a file says about the prediction of its UNet.

    Args:
        has_v_key: Whether a key says that it predicts v, whatever a .yaml says.
        stated: What the metadata says; "" without.
        is_zero_terminal_snr: Whether a key says that it was trained from pure noise on (Lin et al. 2023).
    """

    has_v_key: bool = False
    stated: PredictionType | Literal[""] = ""
    is_zero_terminal_snr: bool = False


def read_prediction_facts(header: Header) -> PredictionFacts:
    """Return what the header of a checkpoint says about its prediction."""
    stated = header.metadata.get(_METADATA_KEY, "").strip().casefold()
    return PredictionFacts(
        _V_KEY in header.tensors,
        _METADATA_VALUES.get(stated, ""),
        _ZERO_TERMINAL_SNR_KEY in header.tensors,
    )
