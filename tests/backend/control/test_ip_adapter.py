"""IP-Adapters on tiny UNets, against diffusers' own attention processors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from modules.backend.control.adapters.clip_vision import EncodedImage, encode_images
from modules.backend.control.adapters.ip_adapter import (
    ImagePrompt,
    ImagePromptExtension,
    ImagePrompts,
    IPAdapter,
    load_ip_adapter,
)
from modules.backend.denoise.step_extensions import UNetCall
from modules.backend.denoise.token_merging import merge_tokens
from modules.core.errors import BadFile, NotFound
from tests.backend.control.adapter_files import (
    CONTEXT,
    ip_adapter_weights,
    random,
    random_image,
    save,
    tiny_sdxl_unet,
    tiny_unet,
    vision_encoder,
)

CPU = torch.device("cpu")
SAMPLE, TEXT = random(4, 4, 8, 8, seed=1) * 8, random(4, 7, CONTEXT, seed=2) * 8
UNCOND = (True, False)  # two images: rows 0 and 1 are of the negative prompt
SDXL_KWARGS = {
    "added_cond_kwargs": {"text_embeds": random(4, 24, seed=3), "time_ids": torch.ones(4, 6)}
}


def see() -> EncodedImage:
    return encode_images(vision_encoder(), [random_image()])


def load(
    path: Path, unet: UNet2DConditionModel, projection: str = "plain", seed: int = 0
) -> IPAdapter:
    file = save(path / f"{seed}.safetensors", ip_adapter_weights(unet, projection, seed=seed))
    return load_ip_adapter(file, torch.float32, CPU)


def extension(
    adapter: IPAdapter, weight: float = 1.0, seen: EncodedImage | None = None, end: int = 9
) -> ImagePromptExtension:
    weights = (weight,) * len(adapter.layers)
    tokens = adapter.project(seen or see())
    return ImagePromptExtension(ImagePrompt(adapter, tokens, weights), lambda index: index < end)


def run(
    unet: UNet2DConditionModel,
    extensions: Sequence[ImagePromptExtension] = (),
    is_uncond: tuple[bool, ...] = UNCOND,
    index: int = 0,
    kwargs: dict | None = None,
) -> Tensor:
    """Return what a UNet returns for as many rows as the prompts have."""
    rows = 2 * len(is_uncond)
    call = UNetCall(SAMPLE[:rows], torch.tensor(500.0), TEXT[:rows], index, kwargs or {}, is_uncond)
    for one in extensions:
        call = one.unet_call(call)
    return unet(
        call.sample,
        call.timestep,
        encoder_hidden_states=call.encoder_hidden_states,
        return_dict=False,
        **call.kwargs,
    )[0]


def reference(
    unet: UNet2DConditionModel,
    adapters: Sequence[tuple[str, int, float]],
    kwargs: dict | None = None,
) -> Tensor:
    """Return what diffusers' own IP-Adapters make of the same call.

    Args:
        unet: Changed for good.
        adapters: Projection, seed and weight of each.
        kwargs: Of the call.
    """
    states, embeds, seen = [], [], see()
    for projection, seed, _ in adapters:
        weights = ip_adapter_weights(unet, projection, seed=seed)
        states.append(
            {
                group: {k.removeprefix(group + "."): v for k, v in weights.items() if group in k}
                for group in ("image_proj", "ip_adapter")
            }
        )
        read = seen.embedding if projection == "plain" else seen.hidden
        embeds.append(read[[1, 1, 0, 0]].unsqueeze(1))
    unet._load_ip_adapter_weights(states, low_cpu_mem_usage=False)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [weight for _, _, weight in adapters]
    added = {**(kwargs or {}).get("added_cond_kwargs", {}), "image_embeds": embeds}
    return unet(
        SAMPLE,
        torch.tensor(500.0),
        encoder_hidden_states=TEXT,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]


@pytest.mark.parametrize("projection", ["plain", "plus", "full"])
def test_attention_equals_diffusers(tmp_path: Path, projection: str) -> None:
    unet = tiny_unet()
    plain = run(unet)
    one = extension(load(tmp_path, unet, projection), 0.7)
    with one.use(unet):
        ours = run(unet, [one])
    assert_close(run(unet), plain, rtol=0, atol=0)  # nothing is left of it

    expected = reference(unet, [(projection, 0, 0.7)])
    assert float((ours - plain).abs().max()) > 1e-2
    assert_close(ours, expected, rtol=0, atol=1e-4)


def test_two_adapters_equal_diffusers_on_sdxl(tmp_path: Path) -> None:
    unet = tiny_sdxl_unet()
    both = [
        extension(load(tmp_path, unet, "plus"), 0.5),
        extension(load(tmp_path, unet, seed=3), 1.2),
    ]
    with both[0].use(unet), both[1].use(unet):
        ours = run(unet, both, kwargs=SDXL_KWARGS)
    expected = reference(unet, [("plus", 0, 0.5), ("plain", 3, 1.2)], SDXL_KWARGS)
    assert_close(ours, expected, rtol=0, atol=1e-4)


def test_every_row_gets_what_its_prompt_asks_for(tmp_path: Path) -> None:
    unet = tiny_unet()
    seen = encode_images(vision_encoder(), [random_image(), random_image(seed=4)])
    one = extension(load(tmp_path, unet), seen=seen)
    with one.use(unet):
        together = run(unet, [one])
        uncond = run(unet, [one], (True,))
    assert_close(together[:2], uncond, rtol=0, atol=1e-5)
    # Of a batch with an image each, the second gets its own.
    alone = extension(
        load(tmp_path, unet),
        seen=EncodedImage(seen.embedding[[1, 2]], seen.hidden[[1, 2]], seen.last_hidden[[1, 2]]),
    )
    with alone.use(unet):
        second = run(unet, [alone])
    assert_close(together[3], second[3], rtol=0, atol=1e-5)
    assert float((together[2] - second[2]).abs().max()) > 1e-3


def test_it_counts_in_its_steps_and_with_its_weights_alone(tmp_path: Path) -> None:
    unet, adapter = tiny_unet(), load(tmp_path, tiny_unet())
    plain = run(unet)
    one, nothing = extension(adapter, end=3), extension(adapter, 0.0)
    with one.use(unet), nothing.use(unet):
        assert float((run(unet, [one, nothing], index=2) - plain).abs().max()) > 1e-2
        assert_close(run(unet, [one, nothing], index=3), plain, rtol=0, atol=0)


def test_a_region_limits_it(tmp_path: Path) -> None:
    unet, adapter = tiny_unet(), load(tmp_path, tiny_unet())
    weights, tokens = (1.0,) * 16, adapter.project(see())
    results = []
    for region in (torch.ones(64, 64), torch.zeros(64, 64)):
        one = ImagePromptExtension(ImagePrompt(adapter, tokens, weights, region), lambda _: True)
        with one.use(unet), merge_tokens(unet, 0.4):
            results.append(run(unet, [one]))
    with merge_tokens(unet, 0.4):
        assert_close(results[1], run(unet), rtol=0, atol=1e-6)
    assert float((results[0] - results[1]).abs().max()) > 1e-2


def test_an_adapter_of_another_architecture_is_refused(tmp_path: Path) -> None:
    one = extension(load(tmp_path, tiny_unet()))
    with pytest.raises(BadFile, match="is for 16 layers of attention, and the checkpoint has 28"):
        with one.use(tiny_sdxl_unet()):
            pass


def test_an_image_is_encoded_once(tmp_path: Path) -> None:
    adapter = load(tmp_path, tiny_unet())
    encoder = save(tmp_path / "vision.safetensors", vision_encoder().state_dict())
    prompts = ImagePrompts(adapter)
    tokens = prompts.get(random_image(), encoder, torch.float32, CPU)
    assert_close(tokens, adapter.project(see()), rtol=0, atol=1e-5)
    encoder.path.unlink()
    assert prompts.get(random_image(), encoder, torch.float32, CPU) is tokens
    with pytest.raises(NotFound):
        prompts.get(random_image(seed=1), encoder, torch.float32, CPU)
