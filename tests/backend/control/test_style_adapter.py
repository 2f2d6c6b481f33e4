"""T2I-Adapter's style adapter: its network by its definition, and where its tokens go."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from modules.backend.control.adapters.clip_vision import encode_images, to_pixel_values
from modules.backend.control.adapters.style_adapter import (
    ImageStyles,
    StyleExtension,
    load_style_adapter,
)
from modules.backend.denoise.step_extensions import UNetCall
from modules.core.errors import BadFile
from tests.backend.control.adapter_files import (
    CONTEXT,
    VISION_WIDTH,
    random,
    random_image,
    save,
    vision_encoder,
)

CPU = torch.device("cpu")
TOKENS, LAYERS, HEADS = 8, 3, 8


def style_weights() -> dict[str, Tensor]:
    """Return a small style adapter by the names of the published file."""
    width = VISION_WIDTH
    shapes: dict[str, tuple[int, ...]] = {
        "style_embedding": (1, TOKENS, width),
        "proj": (width, CONTEXT),
    }
    norms = ["ln_pre", "ln_post"]
    for number in range(LAYERS):
        block = f"transformer_layes.{number}."
        norms += [f"{block}ln_1", f"{block}ln_2"]
        shapes |= {
            f"{block}attn.in_proj_weight": (3 * width, width),
            f"{block}attn.in_proj_bias": (3 * width,),
            f"{block}attn.out_proj.weight": (width, width),
            f"{block}attn.out_proj.bias": (width,),
            f"{block}mlp.c_fc.weight": (4 * width, width),
            f"{block}mlp.c_fc.bias": (4 * width,),
            f"{block}mlp.c_proj.weight": (width, 4 * width),
            f"{block}mlp.c_proj.bias": (width,),
        }
    for norm in norms:
        shapes |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    return {
        name: random(*shape, seed=number) for number, (name, shape) in enumerate(shapes.items())
    }


def compute(weights: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """Return the tokens of an image as the adapter's paper defines them, written down step by step."""

    def layer(x: Tensor, name: str) -> Tensor:
        return functional.linear(x, weights[name + ".weight"], weights[name + ".bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(
            x, (VISION_WIDTH,), weights[name + ".weight"], weights[name + ".bias"]
        )

    x = norm(torch.cat((hidden, weights["style_embedding"]), 1), "ln_pre")
    for number in range(LAYERS):
        block = f"transformer_layes.{number}."
        joined = functional.linear(
            norm(x, block + "ln_1"),
            weights[block + "attn.in_proj_weight"],
            weights[block + "attn.in_proj_bias"],
        )
        q, k, v = joined.reshape(1, -1, 3, HEADS, VISION_WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = ((q @ k.mT) / (VISION_WIDTH // HEADS) ** 0.5).softmax(-1) @ v
        mixed = mixed.transpose(1, 2).reshape(1, -1, VISION_WIDTH)
        x = x + layer(mixed, block + "attn.out_proj")
        wide = layer(norm(x, block + "ln_2"), block + "mlp.c_fc")
        x = x + layer(wide * (1.702 * wide).sigmoid(), block + "mlp.c_proj")
    return norm(x[:, -TOKENS:], "ln_post") @ weights["proj"]


@torch.inference_mode()
def test_tokens_are_made_of_what_the_encoder_sees_after_its_last_layer(tmp_path: Path) -> None:
    weights, encoder = style_weights(), vision_encoder()
    adapter = load_style_adapter(save(tmp_path / "style.pth", weights), torch.float32, CPU)
    image = random_image()
    pixels = to_pixel_values(image, 28)[None]
    hidden = encoder.vision_model(pixels).last_hidden_state
    assert_close(encode_images(encoder, [image]).last_hidden[:1], hidden)
    expected = compute(weights, hidden)
    assert expected.shape == (1, TOKENS, CONTEXT)
    assert_close(adapter(hidden), expected, rtol=0, atol=1e-5)

    file = save(tmp_path / "vision.safetensors", encoder.state_dict())
    styles = ImageStyles(adapter)
    tokens = styles.get(image, file, torch.float32, CPU)
    assert_close(tokens, expected, rtol=0, atol=1e-5)
    assert styles.get(image.copy(), file, torch.float32, CPU) is tokens
    assert styles.get(random_image(seed=1), file, torch.float32, CPU) is not tokens


def test_the_prompt_gets_the_tokens_and_the_negative_one_zeros() -> None:
    tokens, text = random(1, TOKENS, CONTEXT), random(4, 7, CONTEXT, seed=1)
    extension = StyleExtension(tokens, lambda index: index < 2)
    call = UNetCall(random(4, 4, 8, 8), torch.tensor(500.0), text, 1, {}, (True, False))
    changed = extension.unet_call(call).encoder_hidden_states
    assert_close(changed[:, :7], text)
    assert_close(changed[2:, 7:], tokens.expand(2, -1, -1))
    assert not changed[:2, 7:].any()
    late = UNetCall(random(4, 4, 8, 8), torch.tensor(500.0), text, 2, {}, (True, False))
    assert extension.unet_call(late) is late


def test_a_file_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    weights = style_weights()
    del weights["ln_post.bias"]
    with pytest.raises(BadFile, match=r"'style.pth' is no complete T2I style adapter: 'ln_post.b"):
        load_style_adapter(save(tmp_path / "style.pth", weights), torch.float32, CPU)
    with pytest.raises(BadFile, match=r"'other.pth' is a T2I style adapter of a kind that"):
        load_style_adapter(save(tmp_path / "other.pth", {"proj": random(3)}), torch.float32, CPU)
