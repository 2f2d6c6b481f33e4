"""Depth Anything: files in the authors' layout, against a plain computation by its names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from modules.backend.control.annotators import depth_anything
from modules.backend.control.preprocess import Preprocessors
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise
from tests.conftest import ROOT

CPU = torch.device("cpu")
WIDTH, LAYERS, NECK, FUSION, HEAD = 128, 12, (8, 16, 24, 32), 8, 4


def published_weights() -> dict[str, Tensor]:
    """Return weights of a tiny network with the names that the authors' files have."""
    shapes: dict[str, tuple[int, ...]] = {
        "pretrained.cls_token": (1, 1, WIDTH),
        "pretrained.pos_embed": (1, 1 + 37 * 37, WIDTH),
        "pretrained.mask_token": (1, WIDTH),
        "pretrained.patch_embed.proj.weight": (WIDTH, 3, 14, 14),
        "pretrained.patch_embed.proj.bias": (WIDTH,),
    }
    linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
    for number in range(LAYERS):
        block = f"pretrained.blocks.{number}."
        for name, (out, inside) in linear.items():
            shapes[f"{block}{name}.weight"] = (out * WIDTH, inside * WIDTH)
            shapes[f"{block}{name}.bias"] = (out * WIDTH,)
        for name in ("norm1", "norm2"):
            shapes |= {f"{block}{name}.weight": (WIDTH,), f"{block}{name}.bias": (WIDTH,)}
        shapes |= {f"{block}ls1.gamma": (WIDTH,), f"{block}ls2.gamma": (WIDTH,)}
    shapes |= {"pretrained.norm.weight": (WIDTH,), "pretrained.norm.bias": (WIDTH,)}
    convolutions: dict[str, tuple[int, ...]] = {}
    for stage, width in enumerate(NECK):
        convolutions[f"projects.{stage}"] = (width, WIDTH, 1, 1)
        shapes[f"depth_head.scratch.layer{stage + 1}_rn.weight"] = (FUSION, width, 3, 3)
        unit = f"scratch.refinenet{stage + 1}."
        convolutions[unit + "out_conv"] = (FUSION, FUSION, 1, 1)
        for name in ("resConfUnit1.conv1", "resConfUnit1.conv2"):
            convolutions[unit + name] = (FUSION, FUSION, 3, 3)
            convolutions[unit + name.replace("Unit1", "Unit2")] = (FUSION, FUSION, 3, 3)
    convolutions |= {
        "resize_layers.0": (NECK[0], NECK[0], 4, 4),
        "resize_layers.1": (NECK[1], NECK[1], 2, 2),
        "resize_layers.3": (NECK[3], NECK[3], 3, 3),
        "scratch.output_conv1": (FUSION // 2, FUSION, 3, 3),
        "scratch.output_conv2.0": (HEAD, FUSION // 2, 3, 3),
        "scratch.output_conv2.2": (1, HEAD, 1, 1),
    }
    for name, shape in convolutions.items():
        shapes[f"depth_head.{name}.weight"] = shape
        shapes[f"depth_head.{name}.bias"] = (shape[1 if "resize_layers" in name else 0],)
    random = np.random.RandomState(0)
    weights: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        fan = int(np.prod(shape[1:])) if len(shape) > 1 and "embed" not in name else 1
        values = random.standard_normal(shape) / fan**0.5
        weights[name] = torch.from_numpy(values).float()
    weights["depth_head.scratch.output_conv2.2.bias"] += 5  # above zero, where depth is cut off
    return weights


class Plain:
    """What the authors' network computes, written down layer by layer with the names of its weights."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def __call__(self, pixels: Tensor, kept: tuple[int, ...]) -> Tensor:
        grid = pixels.shape[2] // 14, pixels.shape[3] // 14
        maps = [
            self.reassemble(stage, feature, grid)
            for stage, feature in enumerate(self.features(pixels, kept, grid))
        ]
        y = self.convolve(self.fuse(maps), "depth_head.scratch.output_conv1", padding=1)
        size = grid[0] * 14, grid[1] * 14
        y = functional.interpolate(y, size, mode="bilinear", align_corners=True)
        y = self.convolve(y, "depth_head.scratch.output_conv2.0", padding=1).relu()
        return self.convolve(y, "depth_head.scratch.output_conv2.2").relu()[:, 0]

    def layer(self, name: str) -> tuple[Tensor, Tensor]:
        return self.weights[name + ".weight"], self.weights[name + ".bias"]

    def convolve(self, x: Tensor, name: str, **options: int) -> Tensor:
        return functional.conv2d(x, *self.layer(name), **options)

    def norm(self, x: Tensor, name: str) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), *self.layer(name), eps=1e-6)

    def positions(self, grid: tuple[int, int]) -> Tensor:
        whole = self.weights["pretrained.pos_embed"]
        square = whole[:, 1:].reshape(1, 37, 37, WIDTH).permute(0, 3, 1, 2)
        if grid != (37, 37):
            scale = ((grid[0] + 0.1) / 37.0, (grid[1] + 0.1) / 37.0)
            square = functional.interpolate(square, scale_factor=scale, mode="bicubic")
        return torch.cat((whole[:, :1], square.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)), 1)

    def features(
        self, pixels: Tensor, kept: tuple[int, ...], grid: tuple[int, int]
    ) -> list[Tensor]:
        x = self.convolve(pixels, "pretrained.patch_embed.proj", stride=14)
        x = torch.cat((self.weights["pretrained.cls_token"], x.flatten(2).transpose(1, 2)), 1)
        x = x + self.positions(grid)
        features: list[Tensor] = []
        for number in range(LAYERS):
            block = f"pretrained.blocks.{number}."
            x = x + self.weights[block + "ls1.gamma"] * self.attend(x, block)
            inner = functional.linear(self.norm(x, block + "norm2"), *self.layer(block + "mlp.fc1"))
            out = functional.linear(functional.gelu(inner), *self.layer(block + "mlp.fc2"))
            x = x + self.weights[block + "ls2.gamma"] * out
            if number + 1 in kept:
                features.append(self.norm(x, "pretrained.norm")[:, 1:])
        return features

    def attend(self, x: Tensor, block: str) -> Tensor:
        qkv = functional.linear(self.norm(x, block + "norm1"), *self.layer(block + "attn.qkv"))
        q, k, v = qkv.reshape(1, -1, 3, WIDTH // 64, 64).permute(2, 0, 3, 1, 4)
        mixed = (q * 64**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        mixed = mixed.transpose(1, 2).reshape(1, -1, WIDTH)
        return functional.linear(mixed, *self.layer(block + "attn.proj"))

    def reassemble(self, stage: int, feature: Tensor, grid: tuple[int, int]) -> Tensor:
        y = feature.permute(0, 2, 1).reshape(1, WIDTH, *grid)
        y = self.convolve(y, f"depth_head.projects.{stage}")
        if stage < 2:
            layer = self.layer(f"depth_head.resize_layers.{stage}")
            y = functional.conv_transpose2d(y, *layer, stride=4 >> stage)
        elif stage == 3:
            y = self.convolve(y, "depth_head.resize_layers.3", stride=2, padding=1)
        return functional.conv2d(
            y, self.weights[f"depth_head.scratch.layer{stage + 1}_rn.weight"], padding=1
        )

    def fuse(self, maps: list[Tensor]) -> Tensor:
        path = torch.zeros(())
        for stage in (4, 3, 2, 1):
            name = f"depth_head.scratch.refinenet{stage}."
            here = maps[stage - 1]
            y = here if stage == 4 else path + self.unit(here, name + "resConfUnit1")
            y = self.unit(y, name + "resConfUnit2")
            size = maps[stage - 2].shape[2:] if stage > 1 else [2 * side for side in y.shape[2:]]
            y = functional.interpolate(y, size, mode="bilinear", align_corners=True)
            path = self.convolve(y, name + "out_conv")
        return path

    def unit(self, y: Tensor, name: str) -> Tensor:
        inner = self.convolve(y.relu(), name + ".conv1", padding=1)
        return self.convolve(inner.relu(), name + ".conv2", padding=1) + y


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> ModelIndex:
    return ModelIndex.from_paths(Paths(ROOT, tmp_path))


@torch.inference_mode()
@pytest.mark.parametrize(("version", "kept"), [(1, (9, 10, 11, 12)), (2, (3, 6, 9, 12))])
def test_depth_is_the_authors(models: ModelIndex, folder: Path, version: int, kept):
    weights = published_weights()
    torch.save(weights, folder / "depth_anything_vits14.pth")
    (file,) = plan_preprocessing(models, "depth_anything").files
    estimator = depth_anything.load_estimator(file, CPU, version)
    for size in ((70, 112), (518, 518)):
        pixels = torch.from_numpy(noise(*size).transpose(2, 0, 1).copy())[None].float() / 128 - 1
        expected = Plain(weights)(pixels, kept)
        found = estimator(pixels).predicted_depth
        assert found.shape == expected.shape == (1, *size)
        assert float(expected.std()) > 0.05
        assert float((found - expected).abs().max()) < 1e-3 * float(expected.max())


@torch.inference_mode()
def test_the_picture_is_seen_as_the_extension_shows_it():
    seen: list[Tensor] = []

    class Seeing(torch.nn.Module):
        device = CPU

        def forward(self, pixels: Tensor):
            seen.append(pixels)
            self.predicted_depth = pixels[:, 0]
            return self

    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = (255, 0, 51)
    depth = depth_anything.estimate_depth(Seeing(), image)
    (pixels,) = seen
    assert pixels.shape == (1, 3, 518, 1036)
    right = pixels[0, :, 250, 900].tolist()  # blue first
    assert right == pytest.approx(
        [(0.2 - 0.485) / 0.229, -0.456 / 0.224, (1 - 0.406) / 0.225], abs=1e-5
    )
    assert depth.shape == (64, 128)
    assert depth[32, 100] == pytest.approx((0.2 - 0.485) / 0.229, abs=1e-5)


def test_the_largest_file_serves_and_others_are_told(models: ModelIndex, folder: Path):
    with pytest.raises(
        Unsupported,
        match=r"'depth_anything_v2' needs the file depth_anything_v2_vits.pth. Put it from "
        r"huggingface.co/depth-anything/Depth-Anything-V2-Small into models/ControlNet/annotators.",
    ):
        plan_preprocessing(models, "depth_anything_v2")
    torch.save(published_weights(), folder / "depth_anything_v2_vits.pth")
    planned = plan_preprocessing(models, "depth_anything_v2", (64, -1, -1))
    made = Preprocessors(CPU).make(planned, Image.fromarray(noise(64, 96)))
    assert made.image.size == (96, 64)
    assert np.ptp(np.asarray(made.image)) > 200
    torch.save(
        {"pretrained.cls_token": torch.zeros(1, 1, 64)}, folder / "depth_anything_v2_vitl.pth"
    )
    models.refresh("Annotator")
    planned = plan_preprocessing(models, "depth_anything_v2", (64, -1, -1))
    assert planned.files[0].stem == "depth_anything_v2_vitl"
    with pytest.raises(BadFile, match=r"'depth_anything_v2_vitl.pth' holds another network than"):
        Preprocessors(CPU).make(planned, Image.fromarray(noise(64, 96)))
