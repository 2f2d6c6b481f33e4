"""TEED and Anyline: the network against the authors' numbers, and what the safe steps leave."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.control.annotators.teed import Teed, find_anyline_edges, find_teed_edges
from modules.backend.control.preprocess import Preprocessors
from modules.core.errors import Unsupported
from modules.core.paths import Paths
from modules.images.preprocessors.lines import draw_line_art
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT


def test_the_network_has_the_published_names_and_shapes():
    shapes = {name: tuple(tensor.shape) for name, tensor in Teed().state_dict().items()}
    assert shapes["block_1.conv1.weight"] == (16, 3, 3, 3)
    assert shapes["block_2.conv2.weight"] == (32, 32, 3, 3)
    assert shapes["dblock_3.denselayer1.conv1.weight"] == (48, 32, 3, 3)
    assert shapes["side_1.conv.weight"] == (32, 16, 1, 1)
    assert shapes["pre_dense_3.conv.bias"] == (48,)
    assert shapes["up_block_1.features.2.weight"] == (1, 1, 2, 2)
    assert shapes["up_block_3.features.2.weight"] == (16, 16, 4, 4)
    assert shapes["up_block_3.features.5.weight"] == (1, 1, 4, 4)
    assert shapes["block_cat.DWconv1.weight"] == (24, 1, 3, 3)
    assert shapes["block_cat.DWconv2.weight"] == (24, 1, 3, 3)
    assert len(shapes) == 2 * (4 + 2 + 2 + 2 + 2 + 4 + 2)


@torch.inference_mode()
def test_the_network_computes_what_the_authors_one_does():
    # Expected: TED of controlnet_aux 0.0.10 with these weights and this image at a quarter of its brightness.
    pixels = torch.from_numpy(noise(64, 96).transpose(2, 0, 1).copy())[None].float() / 64
    found = seed_weights(Teed())(pixels)
    assert found.shape == (64, 96)
    places = [float(found[row, column]) for row, column in ((5, 7), (40, 60), (63, 95))]
    assert places == pytest.approx([0.503100, 0.473555, 0.525962], abs=1e-5)


@torch.inference_mode()
def test_safe_steps_are_the_strengths_that_are_left():
    network, image = seed_weights(Teed()), noise(64, 64)
    plain = find_teed_edges(network, image, 0)
    assert plain.shape == (64, 64, 3)
    assert len(np.unique(plain)) > 20
    assert set(np.unique(find_teed_edges(network, image, 2))) <= {0, 127, 255}
    assert set(np.unique(find_teed_edges(network, image, 4))) <= {0, 63, 127, 191, 255}


@torch.inference_mode()
def test_anyline_leaves_traces_of_line_art_out():
    network, blurred = seed_weights(Teed()), cv2.GaussianBlur(noise(256, 320), (0, 0), 25)
    image = np.asarray(cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX), np.uint8)
    base, found = find_teed_edges(network, image, 2), find_anyline_edges(network, image, 2)
    trace = draw_line_art(image, 256) == 1
    assert set(np.unique(found[~trace & (found != base)])) == set()
    changed = (found != base).any(2)
    assert changed.any()
    assert (found[changed] == 1).all()
    assert changed.sum() < trace[:, :, 0].sum()  # small ones stay


def test_the_files_are_named_with_their_places(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    with pytest.raises(Unsupported, match=r"'softedge_anyline' needs the file MTEED.pth. Put it"):
        plan_preprocessing(models, "softedge_anyline")
    with pytest.raises(
        Unsupported,
        match=r"'softedge_teed' needs the file 7_model.pth. Put it from "
        r"huggingface.co/bdsqlsz/qinglong_controlnet-lllite \(Annotators\) into",
    ):
        plan_preprocessing(models, "te_hed")
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    torch.save(seed_weights(Teed()).state_dict(), folder / "7_model.pth")
    planned = plan_preprocessing(models, "te_hed", (64, 1, -1))
    made = Preprocessors(torch.device("cpu")).make(planned, Image.fromarray(noise(40, 64)))
    assert made.image.size == (102, 64)
    assert set(np.unique(made.image)) <= {0, 255}
