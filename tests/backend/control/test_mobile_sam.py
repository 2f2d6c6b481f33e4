"""MobileSAM: its network against the published one, and regions of masks that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.runners import RUNNERS, Runner
from modules.backend.control.annotators.segments.mobile_sam import (
    MobileSam,
    _make_enlarger,
    find_regions,
    rename_key,
)
from modules.backend.control.annotators.segments.tiny_vit import TinyViT
from modules.backend.control.preprocess import Preprocessors
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.images.preprocessors.regions import Regions, remove_duplicates
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from tests.backend.control.annotator_weights import noise, seed_weights
from tests.conftest import ROOT

CPU = torch.device("cpu")


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return names and shapes of what follows the encoder in mobile_sam.pt."""
    shapes: dict[str, tuple[int, ...]] = {
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        "prompt_encoder.not_a_point_embed.weight": (1, 256),
        "prompt_encoder.no_mask_embed.weight": (1, 256),
        "mask_decoder.iou_token.weight": (1, 256),
        "mask_decoder.mask_tokens.weight": (4, 256),
    }
    layers: dict[str, tuple[int, ...]] = {
        "prompt_encoder.mask_downscaling.0": (4, 1, 2, 2),
        "prompt_encoder.mask_downscaling.1": (4,),
        "prompt_encoder.mask_downscaling.3": (16, 4, 2, 2),
        "prompt_encoder.mask_downscaling.4": (16,),
        "prompt_encoder.mask_downscaling.6": (256, 16, 1, 1),
        "mask_decoder.transformer.norm_final_attn": (256,),
        "mask_decoder.output_upscaling.1": (64,),
        "mask_decoder.iou_prediction_head.layers.0": (256, 256),
        "mask_decoder.iou_prediction_head.layers.1": (256, 256),
        "mask_decoder.iou_prediction_head.layers.2": (4, 256),
    }
    for number in range(4):
        shapes[f"prompt_encoder.point_embeddings.{number}.weight"] = (1, 256)
        head = f"mask_decoder.output_hypernetworks_mlps.{number}.layers."
        layers |= {f"{head}0": (256, 256), f"{head}1": (256, 256), f"{head}2": (32, 256)}
    attentions = {"mask_decoder.transformer.final_attn_token_to_image": 128}
    for number in range(2):
        layer = f"mask_decoder.transformer.layers.{number}."
        layers |= {f"{layer}norm{norm}": (256,) for norm in range(1, 5)}
        layers |= {f"{layer}mlp.lin1": (2048, 256), f"{layer}mlp.lin2": (256, 2048)}
        attentions |= {
            f"{layer}self_attn": 256,
            f"{layer}cross_attn_token_to_image": 128,
            f"{layer}cross_attn_image_to_token": 128,
        }
    for name, width in attentions.items():
        layers |= {f"{name}.{part}_proj": (width, 256) for part in "qkv"}
        layers[f"{name}.out_proj"] = (256, width)
    for name, shape in layers.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for number, inputs, outputs in ((0, 256, 64), (3, 64, 32)):
        name = f"mask_decoder.output_upscaling.{number}."
        shapes |= {f"{name}weight": (inputs, outputs, 2, 2), f"{name}bias": (outputs,)}
    return shapes


def published_weights(network: MobileSam) -> dict[str, Tensor]:
    """Return the weights of a network under their names in mobile_sam.pt."""
    mine = network.state_dict()
    weights = {name: tensor for name, tensor in mine.items() if name.startswith("image_encoder.")}
    weights |= {name: mine[rename_key(name)] for name in published_shapes()}
    unused = {"norm_head.weight": (320,), "head.weight": (1000, 320)}
    return weights | {f"image_encoder.{name}": torch.zeros(s) for name, s in unused.items()}


def test_the_network_has_the_published_names_and_shapes():
    with torch.device("meta"):
        network = MobileSam()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    published = published_shapes()
    assert {rename_key(name): shape for name, shape in published.items()} == {
        name: shape for name, shape in shapes.items() if not name.startswith("image_encoder.")
    }
    encoder = {
        name.removeprefix("image_encoder."): shape
        for name, shape in shapes.items()
        if name.startswith("image_encoder.")
    }
    assert encoder["patch_embed.seq.0.c.weight"] == (32, 3, 3, 3)
    assert encoder["layers.0.blocks.1.conv2.c.weight"] == (256, 1, 3, 3)
    assert encoder["layers.0.downsample.conv2.bn.running_var"] == (128,)
    assert encoder["layers.1.blocks.0.attn.attention_biases"] == (4, 49)
    assert encoder["layers.2.blocks.5.attn.attention_biases"] == (5, 196)
    assert encoder["layers.2.blocks.5.attn.qkv.weight"] == (480, 160)
    assert encoder["layers.2.downsample.conv3.c.weight"] == (320, 320, 1, 1)
    assert encoder["layers.3.blocks.1.mlp.fc1.weight"] == (1280, 320)
    assert encoder["layers.3.blocks.1.local_conv.c.weight"] == (320, 1, 3, 3)
    assert encoder["neck.2.weight"] == (256, 256, 3, 3)
    assert encoder["neck.3.bias"] == (256,)
    attending = 2 + 6 + 2
    # A convolution and its norm are six tensors; an attending block has one pair, four layers, two norms and its biases.
    assert len(encoder) == 6 * (2 + 2 * 3 + 3 * 3 + attending) + attending * 13 + 6


@torch.inference_mode()
def test_the_encoder_computes_what_the_published_one_does():
    # Expected: TinyViT in controlnet_aux 0.0.10 with these weights and this image.
    pixels = torch.from_numpy(noise(128, 192).transpose(2, 0, 1).copy())[None].float() / 64 - 2
    features = seed_weights(TinyViT())(pixels)
    assert features.shape == (1, 256, 8, 12)
    assert features[0, [0, 100, 255], 5, 7].tolist() == pytest.approx(
        [0.040020, 0.731651, 2.758671], abs=1e-4
    )


@torch.inference_mode()
def test_masks_are_those_of_the_published_decoder():
    # Expected: the prompt encoder and mask decoder of segment-anything 1.0 with these weights.
    network = seed_decoder()
    features = torch.from_numpy(np.random.RandomState(1).standard_normal((1, 256, 64, 64))).float()
    masks, scores = network(features, torch.tensor([[100.0, 200.0], [1000.0, 3.0]]))
    assert masks.shape == (2, 3, 256, 256)
    assert masks[0, :, 30, 40].tolist() == pytest.approx([-0.357602, -2.645838, 3.068729], abs=1e-4)
    assert scores.flatten().tolist() == pytest.approx(
        [-0.162161, -2.030817, 0.101923, -0.494338, -0.633809, 1.298601], abs=1e-4
    )


def seed_decoder() -> MobileSam:
    """Return a network whose weights after the encoder are drawn in the order of their published names."""
    network = MobileSam()
    random = np.random.RandomState(0)
    state = network.state_dict()
    for name, shape in sorted(published_shapes().items()):
        values = random.standard_normal(shape)
        if len(shape) > 1:
            values *= (2 / int(np.prod(shape[1:]))) ** 0.5
        else:
            values = 0.1 * values + name.endswith("weight")
        state[rename_key(name)].copy_(torch.from_numpy(values))
    return network.eval()


class Seeing(nn.Module):
    """A network that finds a left half, a square in it, and what should not be shown."""

    def __init__(self) -> None:
        super().__init__()
        self.device = nn.Parameter(torch.zeros(1))
        self.seen: list[Tensor] = []
        self.points: list[Tensor] = []

    def image_encoder(self, pixels: Tensor) -> Tensor:
        self.seen.append(pixels)
        return pixels

    def forward(self, features: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        self.points.append(points)
        masks = torch.full((len(points), 3, 256, 256), -9.0)
        masks[:, 0, :, :128] = 9
        masks[:, 1, 32:64, 32:64] = 9
        masks[:, 2, :, 200:] = 0.5  # the half of it depends on the threshold
        scores = torch.tensor([0.95, 0.9, 0.99]).repeat(len(points), 1)
        scores[::2, 1] = 0.5
        return masks, scores


@torch.inference_mode()
def test_regions_are_sure_there_once_and_the_smaller_ones_on_top():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = (255, 0, 51)
    network = Seeing()
    regions = find_regions(network, image)
    (pixels,) = network.seen
    assert pixels.shape == (1, 3, 1024, 1024)
    assert pixels[0, :, 250, 900].tolist() == pytest.approx(
        [(255 - 123.675) / 58.395, -116.28 / 57.12, (51 - 103.53) / 57.375], abs=1e-4
    )
    assert not pixels[0, :, 512:].any()  # what lies beside the image
    points = torch.cat(network.points)
    assert points.shape == (1024, 2)
    assert points[1].tolist() == [48.0, 8.0]
    assert points[-1].tolist() == [1008.0, 504.0]
    assert regions.count == 2
    # 64 pixels are a quarter of the height of the square that the network sees.
    assert regions.labels[60, 60] == regions.labels[24, 12] == regions.labels[12, 24] == 1
    assert regions.labels[16, 16] == regions.labels[31, 31] == 2
    assert regions.labels[30, 70] == regions.labels[30, 110] == 0


def test_masks_are_enlarged_as_sam_does_in_two_steps():
    logits = torch.from_numpy(np.random.RandomState(0).standard_normal((2, 256, 256))).float()
    square = functional.interpolate(logits[None], (1024, 1024), mode="bilinear")[:, :, :683]
    expected = functional.interpolate(square, (100, 150), mode="bilinear")[0]
    rows, columns = _make_enlarger(683, 100, logits), _make_enlarger(1024, 150, logits)
    assert float((rows @ logits @ columns.T - expected).abs().max()) < 1e-5


def test_colours_are_drawn_largest_first_and_hidden_regions_draw_too():
    labels = np.zeros((4, 6), np.int32)
    labels[:2], labels[3] = 1, 3
    regions = Regions(labels, 3)
    painted = regions.paint(np.random.RandomState(7))
    random = np.random.RandomState(7)
    colours = [[random.randint(255, dtype=np.uint8) for _ in range(3)] for _ in range(3)]
    assert painted[0, 0].tolist() == colours[0]
    assert painted[3, 5].tolist() == colours[2]
    assert painted[2, 2].tolist() == [0, 0, 0]
    assert regions.crop(2, 3).labels.shape == (2, 3)


def test_a_box_that_overlaps_a_better_one_is_gone():
    boxes = np.array([(0, 0, 10, 10), (1, 0, 10, 10), (0, 0, 6, 10), (5, 5, 5, 9), (5, 5, 5, 9.0)])
    assert remove_duplicates(boxes, [0.90, 0.95, 0.99, 0.5, 0.4], 0.7) == [2, 1, 3, 4]
    assert remove_duplicates(np.zeros((0, 4)), [], 0.7) == []


def test_the_file_is_read_and_a_new_seed_only_changes_colours(tmp_path: Path):
    models = ModelIndex.from_paths(Paths(ROOT, tmp_path))
    with pytest.raises(
        Unsupported,
        match=r"'mobile_sam' needs the file mobile_sam.pt. Put it from huggingface.co/dhkim2810/MobileSAM "
        r"into models/ControlNet/annotators.",
    ):
        plan_preprocessing(models, "mobile_sam")
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    network = seed_weights(MobileSam())
    torch.save(published_weights(network), folder / "mobile_sam.pt")
    planned = plan_preprocessing(models, "mobile_sam", (100, -1, -1), (5, 0))
    loaded = RUNNERS["mobile_sam"].load(planned.files, CPU)
    mine, theirs = network.state_dict(), loaded.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in mine.items())

    runs: list[int] = []
    seeing = Seeing()

    def find(network: Seeing, image: np.ndarray, *_: float) -> Regions:
        runs.append(1)
        return find_regions(network, image)

    preprocessors = Preprocessors(CPU, {"mobile_sam": Runner(lambda *_: seeing, find)})
    image = Image.fromarray(noise(40, 64))
    first = np.asarray(preprocessors.make(planned, image).image)
    assert first.shape == (100, 160, 3)
    random = np.random.RandomState(5)
    for place in ((90, 30), (30, 30)):
        colour = [random.randint(255, dtype=np.uint8) for _ in range(3)]
        assert first[place].tolist() == colour
    again = plan_preprocessing(models, "mobile_sam", (100, -1, -1), (6, 0))
    other = np.asarray(preprocessors.make(again, image).image)
    assert (first != other).any()
    assert len(runs) == 1
    torch.save({"image_encoder.neck.0.weight": torch.zeros(1)}, folder / "mobile_sam.pt")
    planned = plan_preprocessing(models, "mobile_sam")
    with pytest.raises(BadFile, match=r"'mobile_sam.pt' holds another network than its name says"):
        Preprocessors(CPU).make(planned, image)
