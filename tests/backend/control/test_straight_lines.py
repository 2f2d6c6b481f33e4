"""M-LSD: its network against the authors' numbers, lines of known outputs, and OpenCV's lines without its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.control.annotators.straight_lines import (
    Mlsd,
    draw_straight_lines,
    find_lines,
)
from modules.backend.control.preprocess import Preprocessors
from modules.core.errors import BadFile
from modules.core.paths import Paths
from modules.images.preprocessors.lines import draw_straight_lines as draw_by_opencv
from modules.images.preprocessors.table import default_preprocessor
from modules.models.index import ModelIndex
from modules.models.kinds import ANNOTATOR
from modules.plan.units.control_types import list_control_types
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT

FILE = "mlsd_large_512_fp32.pth"


def test_the_network_has_the_published_names_and_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in Mlsd().state_dict().items()}
    assert shapes["backbone.features.0.0.weight"] == (32, 4, 3, 3)
    assert shapes["backbone.features.1.conv.0.0.weight"] == (32, 1, 3, 3)
    assert shapes["backbone.features.1.conv.1.weight"] == (16, 32, 1, 1)
    assert shapes["backbone.features.13.conv.1.0.weight"] == (576, 1, 3, 3)
    assert shapes["backbone.features.13.conv.3.running_var"] == (96,)
    assert shapes["block15.conv1.0.weight"] == (64, 96, 1, 1)
    assert shapes["block21.conv2.0.weight"] == (64, 16, 1, 1)
    assert shapes["block22.conv1.0.weight"] == (128, 128, 3, 3)
    assert shapes["block23.conv3.weight"] == (16, 64, 1, 1)
    assert len([name for name in shapes if name.startswith("backbone.")]) == 39 * 6
    assert not any(name.startswith("backbone.features.14") for name in shapes)


@torch.inference_mode()
def test_the_network_computes_what_the_authors_one_does():
    # Expected: M-LSD's own network (its PyTorch form, in controlnet_aux 0.0.10) with these weights and this image.
    pixels = torch.from_numpy(noise(64, 96).transpose(2, 0, 1).copy())[None].float()
    found = seed_weights(Mlsd())(pixels)
    assert found.shape == (9, 32, 48)
    assert found[:5, 5, 7].tolist() == pytest.approx(
        [-0.452212, 14.849162, -47.126007, -38.075989, -11.008232], abs=1e-3
    )
    assert found[:5, 31, 47].tolist() == pytest.approx(
        [-0.583256, 0.700406, -7.397570, -15.321341, 2.782574], abs=1e-3
    )


def outputs(*lines: tuple[float, tuple[int, int], tuple[int, int], tuple[int, int]]):
    """Return outputs with lines of a logit, a middle, and their ends from there, in half pixels."""
    made = torch.zeros(9, 32, 48)
    made[0] = -9
    for logit, (x, y), start, end in lines:
        made[0, y, x] = logit
        made[1:5, y, x] = torch.tensor((*start, *end), dtype=torch.float32)
    return made


def test_lines_are_where_the_middle_is_sure_and_the_ends_are_far_apart():
    sure = (3.0, (10, 20), (-4, -8), (4, 8))
    unsure = (-3.0, (40, 4), (-4, 0), (4, 0))
    short = (3.0, (30, 4), (-1, 0), (1, 0))
    beside = (2.0, (11, 20), (-4, -8), (4, 8))  # the same line once more, less sure of it
    found = find_lines(outputs(sure, unsure, short, beside), 0.1, 5.0)
    assert found.tolist() == [[[12, 24], [28, 56]]]
    both = find_lines(outputs(sure, unsure, short, beside), 0.01, 5.0)
    assert sorted(both.tolist()) == [[[12, 24], [28, 56]], [[72, 8], [88, 8]]]
    assert len(find_lines(outputs(sure, unsure, short, beside), 0.01, 0.1)) == 3
    assert find_lines(outputs(), 0.1, 0.1).shape == (0, 2, 2)


@torch.inference_mode()
def test_lines_are_drawn_white_on_black():
    network = seed_weights(Mlsd())
    head = network.block23.conv3
    head.weight.zero_()
    head.bias.copy_(torch.zeros(16))
    head.bias[7:12] = torch.tensor(
        [2.0, -4.0, 0.0, 4.0, 0.0]
    )  # everywhere a line from left to right
    drawing = draw_straight_lines(network, noise(64, 64), 0.5, 7.0)
    assert drawing.shape == (64, 64, 3)
    assert set(np.unique(drawing)) == {0, 255}
    assert draw_straight_lines(network, noise(64, 64), 0.9, 7.0).max() == 0
    assert draw_straight_lines(network, noise(64, 64), 0.5, 8.5).max() == 0


def test_opencv_finds_lines_until_the_file_is_there(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    preprocessors = Preprocessors(torch.device("cpu"))
    image = Image.new("L", (96, 64))
    image.paste(200, (20, 20, 76, 44))
    image = image.convert("RGB")
    planned = plan_preprocessing(models, "mlsd", (64, 0.1, 0.1))
    assert not planned.needs_device
    without = np.asarray(preprocessors.make(planned, image).image)
    assert np.array_equal(without, draw_by_opencv(np.asarray(image), 64, 0.1, 0.1))
    row = next(row for row in list_control_types(()) if row.name == "MLSD")
    assert row.ready_module.name == default_preprocessor("MLSD").name == "mlsd"

    folder = tmp_path / "models" / "ControlNetPreprocessor" / "mlsd"
    folder.mkdir(parents=True)
    torch.save(seed_weights(Mlsd()).state_dict(), folder / FILE)
    planned = plan_preprocessing(models, "mlsd", (64, 0.1, 0.1))
    assert planned.needs_device
    drawn = np.asarray(preprocessors.make(planned, image).image)
    assert drawn.shape == (64, 96, 3)
    assert not np.array_equal(drawn, without)
    torch.save({"weight": torch.zeros(1)}, folder / FILE)
    models.refresh(ANNOTATOR)
    with pytest.raises(BadFile, match=f"'{FILE}' holds another network than its name says"):
        preprocessors.make(plan_preprocessing(models, "mlsd", (64, 0.1, 0.1)), image)
