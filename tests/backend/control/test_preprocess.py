"""Control images made by real files of networks, and remembered."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.control.annotators.line_art import LineArtGenerator
from modules.backend.control.annotators.runners import RUNNERS, Runner
from modules.backend.control.annotators.soft_edges import PiDiNet
from modules.backend.control.preprocess import Preprocessors
from modules.backend.runner import Runner as DeviceRunner
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.images.preprocessors.table import PREPROCESSORS
from modules.models.annotators import ANNOTATORS
from modules.models.index import ModelIndex
from modules.models.ldm.keys import DEPTH_PREFIX
from modules.params.device_options import DeviceOptions
from modules.params.image import ImageField
from modules.plan.units.preprocessing import plan_preprocessing
from modules.plan.work import MakeControlImage
from tests.backend.checkpoints_depth import tiny_weights
from tests.conftest import ROOT

CPU = torch.device("cpu")
NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (40, 64, 3)).astype(np.uint8))


@pytest.fixture
def models(tmp_path: Path) -> ModelIndex:
    return ModelIndex.from_paths(Paths(ROOT, tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    return folder


def test_every_annotator_can_be_run_and_is_used():
    names = {row.annotator for row in PREPROCESSORS if row.annotator}
    assert names == set(RUNNERS) == {row.name for row in ANNOTATORS}


def test_a_file_that_is_not_there_is_named_with_its_folder(models: ModelIndex, folder: Path):
    with pytest.raises(
        Unsupported,
        match=r"'softedge_pidinet' needs the file table5_pidinet.pth. Put it from huggingface.co/lllyasviel/Annotators "
        r"into models/ControlNet/annotators.",
    ):
        plan_preprocessing(models, "pidinet")
    torch.save({}, folder / "table5_pidinet.pth")
    assert len(plan_preprocessing(models, "pidinet").files) == 1  # found without a refresh by hand


@torch.inference_mode()
def test_a_published_file_is_loaded_and_its_edges_are_cut_to_the_image(
    models: ModelIndex, folder: Path
):
    network = PiDiNet()
    network.classifier.weight.data.zero_()
    network.classifier.bias.data.fill_(1.0)
    weights = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": weights}, folder / "table5_pidinet.pth")
    preprocessing = plan_preprocessing(models, "pidinet", (100, -1, -1))
    made = Preprocessors(CPU).make(preprocessing, NOISE)
    assert made.image.size == (160, 100)
    assert made.pose is None
    assert set(np.unique(made.image)) == {int(255 * torch.tensor(1.0).sigmoid())}


def test_another_network_in_the_file_is_told_so(models: ModelIndex, folder: Path):
    torch.save(PiDiNet().state_dict(), folder / "sk_model.pth")
    with pytest.raises(BadFile, match=r"'sk_model.pth' holds another network than its name says"):
        Preprocessors(CPU).make(plan_preprocessing(models, "lineart"), NOISE)


def test_a_network_in_half_precision_computes_in_32_bits(models: ModelIndex, folder: Path):
    weights = {name: tensor.half() for name, tensor in LineArtGenerator().state_dict().items()}
    torch.save(weights, folder / "sk_model2.pth")
    made = Preprocessors(CPU).make(plan_preprocessing(models, "lineart_coarse", (64, 0, 0)), NOISE)
    assert made.image.size == (102, 64)


def test_the_last_images_are_remembered_by_picture_values_and_files(
    models: ModelIndex, folder: Path
):
    torch.save({}, folder / "ControlNetHED.pth")
    preprocessing = plan_preprocessing(models, "hed", (64, -1, -1))
    calls: list[Any] = []

    def draw(network: str, image: np.ndarray, *_: float) -> np.ndarray:
        calls.append((network, image.shape))
        return image

    loads: list[int] = []
    runner = Runner(lambda _files, _device: loads.append(1) or "network", draw)
    preprocessors = Preprocessors(CPU, {"hed": runner})
    first = preprocessors.make(preprocessing, NOISE)
    assert preprocessors.make(preprocessing, NOISE.copy()) is first
    assert (calls, loads) == ([("network", (64, 128, 3))], [1])  # padded to multiples of 64
    assert first.image.size == (102, 64)
    other = dataclasses.replace(preprocessing, resolution=128)
    preprocessors.make(other, NOISE)
    preprocessors.make(preprocessing, NOISE.rotate(180))
    assert (len(calls), loads) == (3, [1])
    for resolution in range(130, 140):
        preprocessors.make(dataclasses.replace(other, resolution=resolution), NOISE)
    preprocessors.make(preprocessing, NOISE)
    assert len(calls) == 14
    preprocessors.clear()
    preprocessors.make(dataclasses.replace(other, resolution=200), NOISE)
    assert loads == [1, 1]


def test_the_seed_decides_a_shuffle(models: ModelIndex):
    preprocessors = Preprocessors(CPU)
    one, same, other = (
        preprocessors.make(plan_preprocessing(models, "shuffle", seeds=seeds), NOISE).image
        for seeds in ((1, 2), (3, 0), (4, 0))
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_depth_comes_from_midas_own_file_before_a_checkpoint(
    models: ModelIndex, folder: Path, tokenizer
):
    assert plan_preprocessing(models, "depth").files[0].stem == "demo-depth"
    weights = {name.removeprefix(DEPTH_PREFIX): tensor for name, tensor in tiny_weights().items()}
    torch.save(weights, folder / "dpt_hybrid-midas-501f0c75.pt")
    runner = DeviceRunner(DeviceOptions(use_cpu=True), tokenizer)
    image = ImageField.from_pil(NOISE)
    depth = plan_preprocessing(models, "depth_midas", (64, -1, -1))
    assert depth.files[0].stem == "dpt_hybrid-midas-501f0c75"
    grey = np.asarray(runner.run(MakeControlImage(depth, image)).image)
    assert grey.shape == (64, 102, 3)
    assert np.ptp(grey) > 100
    assert (grey[:, :, 0] == grey[:, :, 1]).all()
    normals = plan_preprocessing(models, "normal_map", (64, 0.0, -1))
    colours = np.asarray(runner.run(MakeControlImage(normals, image)).image)
    lengths = np.linalg.norm(colours / 127.5 - 1, axis=2)
    assert np.abs(lengths - 1).max() < 0.02
    assert colours[:, :, 2].min() >= 127


def test_the_demo_checkpoint_estimates_depth(models: ModelIndex):
    gradient = Image.linear_gradient("L").convert("RGB")
    made = Preprocessors(CPU).make(plan_preprocessing(models, "depth", (64, -1, -1)), gradient)
    assert np.ptp(np.asarray(made.image)) > 100
