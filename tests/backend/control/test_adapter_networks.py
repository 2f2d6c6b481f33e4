"""The networks of adapters, loaded from files, against diffusers' and transformers' own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import CLIPImageProcessor

from modules.backend.control.adapters.clip_vision import encode_images, load_vision_encoder
from modules.backend.control.adapters.ip_adapter import load_ip_adapter
from modules.backend.control.adapters.t2i_adapter import compute_features, load_t2i_adapter
from modules.core.errors import BadFile, Unsupported
from modules.models.control.clip_vision import describe_missing_encoder
from tests.backend.control.adapter_files import (
    CONTEXT,
    ip_adapter_weights,
    open_clip_vision_weights,
    original_t2i_weights,
    random,
    random_image,
    save,
    t2i_adapter,
    tiny_unet,
    vision_encoder,
)

CPU = torch.device("cpu")
CHANNELS = (16, 32, 48, 48)


@pytest.mark.parametrize("layout", ["original", "diffusers", "without prefix"])
@pytest.mark.parametrize(
    ("adapter_type", "channels", "inputs"),
    [
        ("full_adapter", CHANNELS, 3),
        ("full_adapter", CHANNELS, 1),
        ("full_adapter_xl", (16, 32, 48, 48), 3),
        ("light_adapter", (16, 32, 48), 3),
    ],
)
def test_t2i_adapter_equals_diffusers(
    tmp_path: Path, adapter_type: str, channels: tuple[int, ...], inputs: int, layout: str
) -> None:
    reference = t2i_adapter(adapter_type, channels, inputs)
    weights = (
        original_t2i_weights(reference) if layout == "original" else dict(reference.state_dict())
    )
    if layout == "without prefix":
        weights = {name.removeprefix("adapter."): value for name, value in weights.items()}
    suffix = ".pth" if layout == "original" else ".safetensors"
    file = save(tmp_path / f"adapter{suffix}", weights)
    hint = random(2, 3, 64, 96).abs()

    features = compute_features(load_t2i_adapter(file, torch.float32, CPU), hint, (8, 12))

    expected: list[Tensor] = reference(hint[:, :inputs])
    assert len(features) == 4
    assert_close(features, expected, rtol=0, atol=1e-5)


def test_features_fit_the_samples_of_odd_sizes(tmp_path: Path) -> None:
    hint = random(1, 3, 72, 104).abs()
    sizes = {"full_adapter": [9, 5, 3, 2], "full_adapter_xl": [5, 5, 3, 3]}
    for adapter_type, rows in sizes.items():
        file = save(
            tmp_path / f"{adapter_type}.safetensors",
            t2i_adapter(adapter_type, CHANNELS).state_dict(),
        )
        features = compute_features(load_t2i_adapter(file, torch.float32, CPU), hint, (9, 13))
        assert [feature.shape[-2] for feature in features] == rows


@pytest.mark.parametrize("layout", ["transformers", "OpenCLIP"])
def test_vision_encoder_equals_transformers(tmp_path: Path, layout: str) -> None:
    encoder = vision_encoder()
    weights = (
        open_clip_vision_weights(encoder) if layout == "OpenCLIP" else dict(encoder.state_dict())
    )
    file = save(tmp_path / "vision.safetensors", weights)
    image = random_image(28, 28)

    seen = encode_images(load_vision_encoder(file, torch.float32, CPU), [image])

    processor = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size=28)
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    for row, values in enumerate((pixels, torch.zeros_like(pixels))):
        output = encoder(values, output_hidden_states=True)
        assert_close(seen.hidden[row], output.hidden_states[-2][0], rtol=0, atol=1e-5)
    expected = encoder(pixels).image_embeds[0]
    assert_close(seen.embedding[0], expected, rtol=0, atol=1e-5)
    assert not seen.embedding[1].any()


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("projection", ["plain", "plus", "full"])
def test_projection_equals_diffusers(tmp_path: Path, projection: str, suffix: str) -> None:
    unet = tiny_unet()
    weights = ip_adapter_weights(unet, projection)
    file = save(tmp_path / f"adapter{suffix}", weights)
    encoder = vision_encoder()
    seen = encode_images(encoder, [random_image(), random_image(seed=1)])

    adapter = load_ip_adapter(file, torch.float32, CPU)

    image_proj = {k.removeprefix("image_proj."): v for k, v in weights.items() if "image" in k}
    reference = unet._convert_ip_adapter_image_proj_to_diffusers(
        image_proj, low_cpu_mem_usage=False
    )
    read = seen.embedding if projection == "plain" else seen.hidden
    tokens = adapter.project(seen)
    assert tokens.shape[-1] == CONTEXT
    assert_close(tokens, reference(read), rtol=0, atol=1e-5)
    assert len(adapter.layers) == 16


def test_projection_with_diffusers_names(tmp_path: Path) -> None:
    unet = tiny_unet()
    for projection in ("plain", "plus", "full"):
        published = ip_adapter_weights(unet, projection)
        groups = {
            group: {k.removeprefix(group + "."): v for k, v in published.items() if group in k}
            for group in ("image_proj", "ip_adapter")
        }
        saved = tiny_unet()
        saved._load_ip_adapter_weights([groups], low_cpu_mem_usage=False)
        weights = {k: v for k, v in saved.state_dict().items() if "_ip." in k or "image_proj" in k}
        ours = load_ip_adapter(save(tmp_path / "a.safetensors", weights), torch.float32, CPU)
        expected = load_ip_adapter(save(tmp_path / "b.safetensors", published), torch.float32, CPU)

        assert_close(ours.layers, expected.layers)
        seen = encode_images(vision_encoder(), [random_image()])
        assert_close(ours.project(seen), expected.project(seen), rtol=0, atol=1e-6)


def test_adapters_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    weights = ip_adapter_weights(tiny_unet(), "plain")
    face = weights | {"ip_adapter.0.to_q_lora.down.weight": random(4, 4)}
    instant = ip_adapter_weights(tiny_unet(), "plus") | {
        "image_proj.proj_in.weight": random(4, 512)
    }
    for name, changed in (("FaceID", face), ("InstantID", instant)):
        with pytest.raises(
            Unsupported, match=f"'x.safetensors' is an? (IP-Adapter )?{name}, which"
        ):
            load_ip_adapter(save(tmp_path / "x.safetensors", changed), torch.float32, CPU)
    del weights["image_proj.norm.bias"]
    with pytest.raises(BadFile, match="no complete IP-Adapter: 'image_proj\\.norm\\.bias' is"):
        load_ip_adapter(save(tmp_path / "x.safetensors", weights), torch.float32, CPU)
    adapter = original_t2i_weights(t2i_adapter("full_adapter", CHANNELS))
    adapter["conv_in.weight"] = random(16, 100, 3, 3)
    with pytest.raises(BadFile, match="is a T2I-Adapter of a kind"):
        load_t2i_adapter(save(tmp_path / "x.pth", adapter), torch.float32, CPU)
    assert "CLIP ViT-H into models/clip_vision" in describe_missing_encoder(1280, hidden=True)
    assert "CLIP ViT-bigG into" in describe_missing_encoder(1280, hidden=False)
