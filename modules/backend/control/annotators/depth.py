"""Depth by MiDaS's DPT hybrid, of its own file or of a depth checkpoint, of which nothing else is read."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import DPTForDepthEstimation

from modules.backend.conditioning.depth import estimate_at_size
from modules.backend.control.annotators.weights import to_tensor
from modules.backend.loading.depth_keys import depth_key
from modules.backend.loading.empty_models import make_empty_depth_estimator
from modules.backend.loading.state_dict import read_state_dict
from modules.backend.loading.weight_loader import Destination, StateDictSource, WeightLoader
from modules.core.errors import BadFile
from modules.images.preprocessors.sizes import Pixels
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile
from modules.models.ldm.depth import DEPTH_CLASS_TOKEN, HEAD_WIDTH, DepthConfig, read_depth_config
from modules.models.ldm.keys import DEPTH_PREFIX
from modules.models.ldm.yaml import read_yaml


def load_estimator(file: ModelFile, device: torch.device) -> DPTForDepthEstimation:
    """Return the estimator of depth in a file, in 32-bit floats.

    Raises:
        NotFound: there is no such file.
        BadFile: it cannot be read, or has no estimator.
    """
    header = read_header(file.path)
    state_dict: dict[str, Tensor] = dict(read_state_dict(file.path, header))
    if DEPTH_CLASS_TOKEN not in state_dict:  # MiDaS's own file has no prefix
        state_dict = {DEPTH_PREFIX + name: tensor for name, tensor in state_dict.items()}
    try:
        config = DepthConfig(max(1, state_dict[DEPTH_CLASS_TOKEN].shape[-1] // HEAD_WIDTH))
        if file.config is not None:
            params = read_yaml(file.config).section("model").section("params")
            config = read_depth_config(params, header) or config
        empty = make_empty_depth_estimator(state_dict, config)
    except KeyError as error:
        raise BadFile(
            f"'{file.file_name}' is not MiDaS's DPT hybrid: it lacks {error}.",
            "Download it again.",
        ) from error
    source = StateDictSource(state_dict, file.file_name, file.path)
    return WeightLoader(source, Destination(device)).load_into(empty, depth_key, torch.float32)


def estimate_depth(estimator: DPTForDepthEstimation, image: Pixels) -> NDArray[np.float32]:
    """Return the inverse depth of each pixel, float32 [height, width].

    Args:
        estimator: The network.
        image: uint8 [height, width, 3]; both sides multiples of 32, as sd-webui-controlnet has them at once.
    """
    pixels = to_tensor(image, estimator.device) / 127.5 - 1
    return estimate_at_size(estimator, pixels)[0].cpu().numpy()
