"""Names and shapes of full-size control models, without weights."""

from __future__ import annotations

from modules.models.ldm.keys import UNET_PREFIX
from tests.models.model_files import shapes_of

Shapes = dict[str, list[int]]
_ENCODER = ("input_blocks.", "middle_block.", "time_embed.", "label_emb.")
_HINT_WIDTHS = (16, 16, 32, 32, 96, 96, 256)


def original(checkpoint: str, prefix: str = "control_model.") -> Shapes:
    """Return a ControlNet for a file in tests/headers, in the original layout."""
    unet = {
        name.removeprefix(UNET_PREFIX): shape
        for name, shape in shapes_of(checkpoint).items()
        if name.startswith(tuple(UNET_PREFIX + part for part in _ENCODER))
    }
    inputs = 3
    for number, width in enumerate((*_HINT_WIDTHS, 320)):
        unet[f"input_hint_block.{2 * number}.weight"] = [width, inputs, 3, 3]
        unet[f"input_hint_block.{2 * number}.bias"] = [width]
        inputs = width
    return {prefix + name: shape for name, shape in unet.items()}


DIFFUSERS: Shapes = {
    "controlnet_cond_embedding.conv_in.weight": [16, 3, 3, 3],
    "add_embedding.linear_1.weight": [1280, 2816],
}
CROSS_ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
SDXL_DIFFUSERS: Shapes = {**DIFFUSERS, CROSS_ATTENTION: [640, 2048]}
UNION: Shapes = {**SDXL_DIFFUSERS, "task_embedding": [8, 320]}
CONTROL_LORA: Shapes = {
    "lora_controlnet": [0],
    "input_hint_block.0.weight": [16, 3, 3, 3],
    "label_emb.0.0.down": [128, 2816],
    "input_blocks.4.1.transformer_blocks.0.attn2.to_k.down": [128, 2048],
}
LLLITE: Shapes = {
    "lllite_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.down.0.weight": [16, 640]
}
IP_ADAPTER: Shapes = {
    "image_proj.proj.weight": [3072, 1024],
    "ip_adapter.1.to_k_ip.weight": [320, 768],
    "ip_adapter.1.to_v_ip.weight": [320, 768],
}
T2I_STYLE: Shapes = {
    "style_embedding": [1, 8, 1024],
    "transformer_layes.0.attn.in_proj_weight": [3072, 1024],
    "proj": [1024, 768],
}
T2I_ADAPTER: Shapes = {"conv_in.weight": [320, 192, 3, 3], "body.0.block1.weight": [320, 320, 3, 3]}
