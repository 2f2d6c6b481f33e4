"""Reference images on tiny UNets, against what the layers should compute."""

from __future__ import annotations

import random as stdlib_random

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.testing import assert_close

from modules.backend.control.adapters.reference import (
    SHARED_PARTS,
    Reference,
    ReferenceExtension,
    attention_places,
    find_style_fidelity,
    norm_places,
)
from modules.backend.denoise.deep_cache import DeepCache, remember_deep_layers
from modules.backend.denoise.hypertile import TileOptions, tile_unet
from modules.backend.denoise.step_extensions import UNetCall
from modules.backend.denoise.token_merging import merge_tokens
from tests.backend.control.adapter_files import CONTEXT, random, tiny_sdxl_unet, tiny_unet
from tests.backend.tiny import sd1_alphas

ALPHAS = sd1_alphas().float()
SAMPLE, TEXT = random(4, 4, 8, 8, seed=1) * 8, random(4, 7, CONTEXT, seed=2) * 8
LATENTS = random(1, 4, 8, 8, seed=5) * 8
SEEDS = (1, 2)


def extension(
    name: str, weight: float = 1.0, fidelity: float = 0.0, latents: Tensor = LATENTS, end: int = 9
) -> ReferenceExtension:
    reference = Reference(
        latents, SHARED_PARTS[name], weight, fidelity, lambda index: index < end, SEEDS
    )
    return ReferenceExtension([reference], ALPHAS)


def run(
    unet: UNet2DConditionModel,
    one: ReferenceExtension | None = None,
    is_uncond: tuple[bool, ...] = (True, False),
    index: int = 0,
    sample: Tensor = SAMPLE,
) -> Tensor:
    call = UNetCall(sample, torch.tensor(500.0), TEXT, index, {}, is_uncond)
    if one is not None:
        call = one.unet_call(call)
    return unet(
        call.sample, call.timestep, encoder_hidden_states=TEXT, return_dict=False, **call.kwargs
    )[0]


def noisy_reference(seed_of_row: tuple[int, ...] = (0, 1, 0, 1)) -> Tensor:
    """Return what the UNet should see of the reference at timestep 500 of the first evaluation."""
    seen: list[Tensor] = []
    one, unet = extension("reference_only"), tiny_unet()
    handle = unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with one.use(unet):
        run(unet, one)
    handle.remove()
    assert len(seen) == 2
    noise = (seen[0] - ALPHAS[500].sqrt() * LATENTS) / (1 - ALPHAS[500]).sqrt()
    assert_close(noise[0], noise[2], rtol=0, atol=1e-6)  # the same for both prompts
    assert float((noise[0] - noise[1]).abs().max()) > 1  # each image has its own
    assert abs(float(noise.std()) - 1) < 0.2
    return seen[0]


def test_attention_also_attends_to_the_noisy_reference() -> None:
    unet = tiny_unet()
    block, _ = attention_places(unet)[0]
    noisy = noisy_reference()
    inputs: list[Tensor] = []
    hook = block.norm1.register_forward_hook(lambda _, __, output: inputs.append(output))
    run(unet, sample=noisy)
    hook.remove()

    one, outputs, own = extension("reference_only"), [], []
    with one.use(unet):
        handles = [
            block.norm1.register_forward_hook(lambda _, __, output: own.append(output)),
            block.attn1.register_forward_hook(lambda _, __, output: outputs.append(output)),
        ]
        changed = run(unet, one)
    for handle in handles:
        handle.remove()

    context = torch.cat([own[-1], inputs[0]], dim=1)
    assert_close(outputs[-1], block.attn1(own[-1], context), rtol=0, atol=1e-5)
    assert float((changed - run(unet)).abs().max()) > 1e-3
    assert_close(run(unet), run(tiny_unet()), rtol=0, atol=0)  # nothing is left of it


def test_a_reference_like_the_image_changes_no_attention() -> None:
    """Attending to the same tokens twice is attending to them once."""
    unet = tiny_unet()
    one = extension("reference_only")
    with one.use(unet):
        own = run(unet, one, sample=noisy_reference())
    assert_close(own, run(unet, sample=noisy_reference()), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(SHARED_PARTS))
def test_full_fidelity_keeps_the_negative_prompt_as_it_is(name: str) -> None:
    unet, plain = tiny_unet(), run(tiny_unet())
    results = []
    for fidelity in (0.0, 0.5, 1.0):
        one = extension(name, 2.0, fidelity)
        with one.use(unet):
            results.append(run(unet, one))
    assert_close(results[2][:2], plain[:2], rtol=0, atol=1e-5)
    assert_close(results[2][2:], results[0][2:], rtol=0, atol=1e-5)
    assert float((results[0][:2] - plain[:2]).abs().max()) > 1e-3
    assert float((results[0][2:] - plain[2:]).abs().max()) > 1e-3
    assert not torch.allclose(results[1][:2], results[0][:2], atol=1e-4)


def test_norms_get_mean_and_deviation_of_the_reference() -> None:
    unet = tiny_unet()
    module, _ = norm_places(unet)[0]
    seen: list[Tensor] = []

    def look(_: nn.Module, __: object, output: Tensor) -> None:
        seen.append(output)

    one = extension("reference_adain", 2.0)
    with one.use(unet):
        handle = module.register_forward_hook(look)
        run(unet, one)
        handle.remove()
    written, read = seen
    assert_close(read.mean((2, 3)), written.mean((2, 3)), rtol=0, atol=1e-4)
    # At one cell there is no deviation; the next one out has some.
    down = [place for place, _ in norm_places(unet)[1:]]
    with one.use(unet):
        handle = down[1].register_forward_hook(lambda _, __, output: seen.append(output[0]))
        run(unet, one)
        handle.remove()
    written, read = seen[-2:]
    assert_close(read.std((2, 3)), written.std((2, 3)), rtol=1e-3, atol=1e-4)


def test_places_and_weights_are_those_of_sd_webui_controlnet() -> None:
    unet = tiny_unet()
    norms, attentions = norm_places(unet), attention_places(unet)
    assert [round(least, 3) for _, least in norms] == [
        0,
        *(2, 1.667, 1.333, 1, 0.667, 0.333),
        *(0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75),
    ]
    assert norms[1][0] is unet.down_blocks[1].attentions[0]
    assert norms[9][0] is unet.up_blocks[0].upsamplers[0]
    assert len(norm_places(tiny_sdxl_unet())) == 1 + 4 + 6
    assert [least for _, least in attentions] == [index / 16 for index in range(16)]
    assert attentions[0][0] is unet.down_blocks[2].attentions[0].transformer_blocks[0]
    assert attentions[2][0] is unet.mid_block.attentions[0].transformer_blocks[0]


def test_it_counts_in_its_steps_alone() -> None:
    unet = tiny_unet()
    one = extension("reference_adain+attn", end=1)
    with one.use(unet):
        assert not torch.equal(run(unet, one, index=0), run(tiny_unet()))
        assert_close(run(unet, one, index=1), run(tiny_unet()), rtol=0, atol=0)


def test_it_works_with_what_saves_computation() -> None:
    unet, large = tiny_unet(), random(4, 4, 32, 32, seed=1) * 8
    latents = random(1, 4, 32, 32, seed=5) * 8
    one = extension("reference_adain+attn", fidelity=0.5, latents=latents)
    cache = DeepCache(2)
    with one.use(unet):
        alone = [run(unet, one, index=index, sample=large) for index in range(2)]
    one = extension("reference_adain+attn", fidelity=0.5, latents=latents)
    with (
        merge_tokens(unet, 0.3),
        tile_unet(unet, (256, 256), TileOptions(128, 1), stdlib_random.Random(0)),
        remember_deep_layers(unet, cache),
        one.use(unet),
    ):
        for index, exact in enumerate(alone):
            cache.unet_call(UNetCall(large, torch.tensor(500.0), TEXT, index))
            result = run(unet, one, index=index, sample=large)
            assert float((result - exact).abs().mean()) < 0.3 * float(exact.abs().mean())
    assert_close(run(unet), run(tiny_unet()), rtol=0, atol=0)


def test_deep_layers_of_image_and_reference_are_remembered_apart() -> None:
    unet, cache, results = tiny_unet(), DeepCache(2), []
    for first in (True, False):
        one = extension("reference_adain", end=9 if first else 0)
        with remember_deep_layers(unet, cache), one.use(unet):
            for index in range(2):
                cache.unet_call(UNetCall(SAMPLE, torch.tensor(500.0), TEXT, index))
                results.append(run(unet, one, index=index))
    # In the second step the remembered layers are those of the image: the result is close to the first one's.
    assert_close(results[3], results[2], rtol=0, atol=1e-5)
    assert float((results[1] - results[0]).abs().max()) < 0.2 * float(results[0].abs().max())


def test_style_fidelity_follows_mode_pass_and_family() -> None:
    def find(threshold: float, mode: str = "Balanced", **options: bool) -> float:
        return find_style_fidelity(
            threshold, mode, **{"is_sdxl": False, "is_hires_pass": False, **options}
        )

    assert [find(0.5), find(7), find(0.5, is_sdxl=True)] == [0.5, 1, 0.125]
    assert find(0.5, is_hires_pass=True) == 0
    assert find(0.5, "My prompt is more important") == 0
    assert find(0.5, "ControlNet is more important", is_hires_pass=True) == 1
