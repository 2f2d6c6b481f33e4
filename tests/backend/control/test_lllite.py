"""ControlLLLite on tiny UNets, against its formula written out."""

from __future__ import annotations

import random as stdlib_random
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional
from torch.testing import assert_close

from modules.backend.control.adapters.lllite import LLLiteExtension, load_lllite
from modules.backend.control.adapters.unet_places import input_blocks, output_blocks
from modules.backend.denoise.hypertile import TileOptions, tile_unet
from modules.backend.denoise.step_extensions import UNetCall
from modules.backend.denoise.token_merging import merge_tokens
from modules.core.errors import BadFile
from tests.backend.control.adapter_files import (
    CONTEXT,
    random,
    save,
    tiny_sdxl_unet,
    tiny_unet,
)

CPU = torch.device("cpu")
SAMPLE, TEXT = random(4, 4, 32, 32, seed=1) * 8, random(4, 7, CONTEXT, seed=2) * 8
HINT = random(1, 3, 256, 256, seed=4).abs().clamp(max=1)
KWARGS = {"added_cond_kwargs": {"text_embeds": random(4, 24, seed=3), "time_ids": torch.ones(4, 6)}}
EMBEDDING, HIDDEN = 6, 5
# In the file, and in diffusers' UNet: SDXL's layers by LDM's names, others by diffusers'.
SDXL_LAYERS = {
    "input_blocks_4_1_transformer_blocks_1_attn1_to_q": "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
    "input_blocks_8_1_transformer_blocks_0_attn1_to_k": "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_k",
    "input_blocks_8_1_transformer_blocks_0_attn1_to_v": "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_v",
    "middle_block_1_transformer_blocks_2_attn2_to_q": "mid_block.attentions.0.transformer_blocks.2.attn2.to_q",
}
SD1_LAYERS = {
    "down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q": "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q",
    "up_blocks_1_attentions_0_proj_in": "up_blocks.1.attentions.0.proj_in",
}


def weights_of(
    unet: UNet2DConditionModel, layers: dict[str, str], seed: int = 0
) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for number, (name, path) in enumerate(layers.items()):
        shape = unet.get_submodule(path).weight.shape
        last = () if len(shape) == 2 else (1, 1)
        parts = {
            "conditioning1.0": (EMBEDDING // 2, 3, 4, 4),
            "conditioning1.2": (EMBEDDING, EMBEDDING // 2, 4, 4),
            "down.0": (HIDDEN, shape[1], *last),
            "mid.0": (HIDDEN, HIDDEN + EMBEDDING, *last),
            "up.0": (shape[1], HIDDEN, *last),
        }
        for index, (part, size) in enumerate(parts.items()):
            key = f"lllite_unet_{name}.{part}"
            weights[f"{key}.weight"] = random(*size, seed=seed + 20 * number + index) * 3
            weights[f"{key}.bias"] = random(size[0], seed=seed + 20 * number + index + 10)
    return weights


def run(
    unet: UNet2DConditionModel, extensions: tuple[LLLiteExtension, ...] = (), index: int = 0
) -> Tensor:
    call = UNetCall(SAMPLE, torch.tensor(500.0), TEXT, index, {}, (True, False))
    for one in extensions:
        call = one.unet_call(call)
    kwargs = KWARGS if unet.config["addition_embed_type"] else {}
    return unet(
        call.sample,
        call.timestep,
        encoder_hidden_states=call.encoder_hidden_states,
        return_dict=False,
        **kwargs,
    )[0]


def expected_change(weights: dict[str, Tensor], name: str, x: Tensor, hint: Tensor) -> Tensor:
    """Return what a network adds to the input of a layer."""

    def part(key: str) -> tuple[Tensor, Tensor]:
        return weights[f"lllite_unet_{name}.{key}.weight"], weights[
            f"lllite_unet_{name}.{key}.bias"
        ]

    embedding = functional.conv2d(hint * 2 - 1, *part("conditioning1.0"), stride=4)
    embedding = functional.conv2d(embedding.relu(), *part("conditioning1.2"), stride=4)
    is_image = x.ndim == 4
    side = x.shape[-1] if is_image else int(x.shape[1] ** 0.5)
    embedding = functional.interpolate(embedding, size=(side, side), mode="nearest-exact")
    embedding = embedding.expand(len(x), -1, -1, -1)
    if not is_image:
        embedding = embedding.flatten(2).transpose(1, 2)
    apply: Callable[..., Tensor] = functional.conv2d if is_image else functional.linear
    down = apply(x, *part("down.0")).relu()
    mid = apply(torch.cat([embedding, down], 1 if is_image else 2), *part("mid.0")).relu()
    return apply(mid, *part("up.0"))


def expected(
    unet: UNet2DConditionModel,
    layers: dict[str, str],
    weights: dict[str, Tensor],
    hint: Tensor,
    weight: float = 1.0,
) -> Tensor:
    """Return what the UNet returns where each layer reads what the formula gives."""
    with ExitStack() as stack:
        for name, path in layers.items():

            def hook(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> Tensor:
                return inputs[0] + weight * expected_change(weights, name, inputs[0], hint)

            handle = unet.get_submodule(path).register_forward_pre_hook(hook)
            stack.callback(handle.remove)
        return run(unet)


@pytest.mark.parametrize("is_sdxl", [True, False])
def test_layers_read_what_the_formula_gives(tmp_path: Path, is_sdxl: bool) -> None:
    unet, layers = (tiny_sdxl_unet(), SDXL_LAYERS) if is_sdxl else (tiny_unet(), SD1_LAYERS)
    weights = weights_of(unet, layers)
    lllite = load_lllite(save(tmp_path / "x.safetensors", weights), torch.float32, CPU)
    plain = run(unet)
    one = LLLiteExtension(lllite, HINT, 0.8, lambda index: index < 2)

    with one.use(unet):
        ours = run(unet, (one,), index=1)
        assert_close(run(unet, (one,), index=2), plain, rtol=0, atol=0)

    assert_close(ours, expected(unet, layers, weights, HINT, 0.8), rtol=0, atol=1e-5)
    assert float((ours - plain).abs().max()) > 2e-3
    assert_close(run(unet), plain, rtol=0, atol=0)


def test_it_works_in_tiles_and_with_merged_tokens(tmp_path: Path) -> None:
    unet = tiny_unet()
    names = [f"down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_{one}" for one in "qv"]
    layers = {name.replace(".", "_"): name for name in names}
    weights = weights_of(unet, layers)
    lllite = load_lllite(save(tmp_path / "x.safetensors", weights), torch.float32, CPU)

    def run_in_tiles(extension: LLLiteExtension | None, hint: Tensor, merges: bool) -> Tensor:
        with (
            extension.use(unet) if extension else nullcontext(),
            merge_tokens(unet, 0.5) if merges else nullcontext(),
            tile_unet(unet, (256, 256), TileOptions(128, 1), stdlib_random.Random(0)),
        ):
            return run(unet, (extension,)) if extension else expected(unet, layers, weights, hint)

    for merges in (False, True):
        # A hint of one colour says the same everywhere, so that cutting and merging change nothing of it.
        grey = torch.full_like(HINT, 0.3)
        one = LLLiteExtension(lllite, grey, 1.0, lambda _: True)
        ours = run_in_tiles(one, grey, merges)
        if not merges:
            assert_close(ours, run_in_tiles(None, grey, merges), rtol=0, atol=1e-5)
        other = LLLiteExtension(lllite, HINT, 1.0, lambda _: True)
        assert float((run_in_tiles(other, HINT, merges) - ours).abs().max()) > 1e-3


def test_two_units_add_up(tmp_path: Path) -> None:
    unet, results = tiny_sdxl_unet(), []
    first, second = (
        LLLiteExtension(
            load_lllite(
                save(tmp_path / f"{seed}.safetensors", weights_of(unet, SDXL_LAYERS, seed)),
                torch.float32,
                CPU,
            ),
            HINT,
            weight,
            lambda _: True,
        )
        for seed, weight in ((0, 1.0), (100, 0.0))
    )
    for units in ((first,), (first, second), (second, first)):
        with ExitStack() as stack:
            for unit in units:
                stack.enter_context(unit.use(unet))
            results.append(run(unet, units))
    assert_close(results[1], results[0], rtol=0, atol=1e-6)  # the weight of the second is 0
    assert_close(results[2], results[0], rtol=0, atol=1e-6)


def test_one_for_another_architecture_is_refused(tmp_path: Path) -> None:
    weights = weights_of(tiny_sdxl_unet(), SDXL_LAYERS)
    lllite = load_lllite(save(tmp_path / "x.safetensors", weights), torch.float32, CPU)
    one = LLLiteExtension(lllite, HINT, 1.0, lambda _: True)
    with pytest.raises(BadFile, match="which the checkpoint does not have"), one.use(tiny_unet()):
        pass
    del weights["lllite_unet_middle_block_1_transformer_blocks_2_attn2_to_q.mid.0.weight"]
    with pytest.raises(BadFile, match=r"no complete ControlLLLite: '.*mid.0.weight' is missing"):
        load_lllite(save(tmp_path / "y.safetensors", weights), torch.float32, CPU)


def test_blocks_are_counted_as_ldm_does() -> None:
    assert [len(input_blocks(unet)) for unet in (tiny_unet(), tiny_sdxl_unet())] == [12, 9]
    assert [len(block) for block in output_blocks(tiny_unet())] == [
        1,
        1,
        2,
        2,
        2,
        3,
        2,
        2,
        3,
        2,
        2,
        2,
    ]
