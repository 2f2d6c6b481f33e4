"""Previews: which method makes them, what they cost, and files of small decoders."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.vae import DecoderTiny
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from modules.backend import vae
from modules.backend.components import Precision
from modules.backend.denoise.progress import ProgressReporter
from modules.backend.denoise.step_extensions import StepState
from modules.backend.loading.loader import load_components
from modules.backend.model import LoadedModel
from modules.backend.previews.latent_to_rgb import FlatColours, LatentToRgb
from modules.backend.previews.networks import ApproxNetwork, agreement, find_network, read_network
from modules.backend.previews.previewer import Previewer, PreviewMethod, PreviewMethods
from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import PREVIEW_DECODER
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.tiny import RecordingListener, tiny_components
from tests.conftest import ROOT, write_listed_checkpoint
from tools.demo_model.drawing import draw
from tools.demo_model.scenes import sample_scene

pytestmark = pytest.mark.usefixtures("inference")
LATENTS = torch.randn((2, 4, 8, 6), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def model(tokenizer: ClipTokenizer) -> LoadedModel:
    return LoadedModel(tiny_components(), tokenizer)


def small_decoder(seed: int = 0, blocks: tuple[int, ...] = (3, 3, 3, 1)) -> DecoderTiny:
    torch.manual_seed(seed)
    return DecoderTiny(4, 3, blocks, (8,) * len(blocks), 2, "relu", "nearest").eval()


def own_name(key: str) -> str:
    """TAESD's own name of a layer; its layer 0 is the clamp."""
    _, number, rest = key.split(".", 2)
    return f"{int(number) + 1}.{rest}"


LAYOUTS: dict[str, Callable[[str], str]] = {
    "TAESD's own": own_name,
    "taesd_decoder": lambda key: f"taesd_decoder.{own_name(key)}",
    "diffusers": lambda key: f"decoder.{key}",
}


def written(folder: Path, weights: dict[str, Tensor], name: str = "a.safetensors") -> ModelFile:
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / name)
    index = ModelIndex({PREVIEW_DECODER: [folder]}, ROOT / "configs", folder)
    return next(file for file in index.files(PREVIEW_DECODER) if file.name == name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("blocks", [(3, 3, 3, 1), (1, 2, 1, 1)])
def test_a_decoder_is_read_in_every_layout(tmp_path: Path, layout: str, blocks: tuple[int, ...]):
    decoder = small_decoder(blocks=blocks)
    weights = {LAYOUTS[layout](key): value for key, value in decoder.state_dict().items()}
    weights["encoder.layers.0.weight"] = torch.zeros(1)  # diffusers' file has both halves
    network = read_network(written(tmp_path, weights))
    assert isinstance(network, DecoderTiny)
    assert torch.equal(network(LATENTS), decoder(LATENTS))


def test_half_precision_and_pth_files_are_read(tmp_path: Path):
    decoder = small_decoder().half()
    torch.save(
        {own_name(key): value for key, value in decoder.state_dict().items()}, tmp_path / "d.pth"
    )
    index = ModelIndex({PREVIEW_DECODER: [tmp_path]}, ROOT / "configs", tmp_path)
    (file,) = index.files(PREVIEW_DECODER)
    network = read_network(file)
    assert network is not None
    assert torch.equal(network(LATENTS), decoder.float()(LATENTS))


def test_what_is_no_decoder_or_damaged_makes_no_previews(tmp_path: Path):
    encoder = {"0.weight": torch.zeros(8, 3, 3, 3), "1.conv.0.weight": torch.zeros(8, 8, 3, 3)}
    assert read_network(written(tmp_path, encoder, "encoder.safetensors")) is None
    weights = {own_name(key): value for key, value in small_decoder().state_dict().items()}
    del weights["3.conv.2.weight"]
    assert read_network(written(tmp_path, weights, "half.safetensors")) is None
    file = written(tmp_path, weights, "cut.safetensors")
    file.path.write_bytes(file.path.read_bytes()[:100])
    assert read_network(file) is None


def test_approx_nn_gives_two_pixels_per_cell(tmp_path: Path):
    torch.manual_seed(0)
    network = read_network(written(tmp_path, ApproxNetwork(4).state_dict()))
    assert isinstance(network, ApproxNetwork)
    assert network(LATENTS).shape == (2, 3, 16, 12)


def test_the_decoder_that_fits_the_vae_is_found_whatever_its_name(tmp_path: Path):
    """A VAE whose flat colours are known: those of one of the decoders."""
    files, decoders = [], [small_decoder(seed) for seed in range(3)]
    for number, decoder in enumerate(decoders):
        weights = {own_name(key): value for key, value in decoder.state_dict().items()}
        files.append(written(tmp_path, weights, f"{number}.safetensors"))
    flat = torch.randn((24, 4), generator=torch.Generator().manual_seed(3))
    decoded = decoders[1](flat[:, :, None, None].expand(-1, -1, 8, 8))
    colours = FlatColours(flat, decoded[:, :, 24:40, 24:40].mean(dim=(2, 3)))
    found = find_network(files, DecoderTiny, colours)
    assert found is not None
    assert torch.equal(found(LATENTS), decoders[1](LATENTS))
    assert find_network([files[0], files[2]], DecoderTiny, colours) is None
    assert find_network(files, ApproxNetwork, colours) is None
    six = FlatColours(torch.zeros(24, 6), colours.colours)
    assert agreement(decoders[0], six) < 0


def test_without_a_fitting_file_the_cheapest_method_is_used(model: LoadedModel):
    colours = FlatColours.of(model.components.vae)
    methods = PreviewMethods(model.components.vae, LatentToRgb.fit(colours), colours)
    names = {
        name: [m.name for m in methods.ladder(name, ())] for name in ("Full", "TAESD", "Approx NN")
    }
    assert names == {
        "Full": ["Full", "Approx cheap"],
        "TAESD": ["Approx cheap"],
        "Approx NN": ["Approx cheap"],
    }


def test_full_shows_what_will_be_finished(model: LoadedModel):
    colours = FlatColours.of(model.components.vae)
    methods = PreviewMethods(model.components.vae, LatentToRgb.fit(colours), colours)
    seen: list[Tensor] = []
    Previewer(lambda: methods.ladder("Full", ()), interval_s=1e6).show(LATENTS, seen.append)
    cells = model.components.latent_format.pixels_per_cell
    assert seen[0].shape == (8 * cells, 2 * 6 * cells, 3)


def method(name: Any, seconds: float, sizes: list[int]) -> PreviewMethod:
    def decode(latents: Tensor) -> Tensor:
        sizes.append(latents.shape[2])
        time.sleep(seconds * latents.shape[2] * latents.shape[3] / 1024)
        return torch.zeros(latents.shape[0], 3, 8, 8)

    return PreviewMethod(name, decode)


def test_a_costly_method_is_measured_on_a_part_and_gives_way(model: LoadedModel):
    """0.32 s for 32x32 cells are a preview every 16 s: too rare; 0.032 s are one every 1.6 s."""
    sizes: list[int] = []
    latents = torch.zeros(1, 4, 32, 32)
    cheap = PreviewMethod("Approx cheap", model.latent_to_rgb.decode, 0.0)
    slow = Previewer(lambda: [method("Full", 0.32, sizes), cheap], 0.5)
    assert slow.pause_s(latents) == 0.5
    assert sizes == [16, 16]
    fast = Previewer(lambda: [method("Full", 0.032, sizes), cheap], 0.5)
    assert 1.6 <= fast.pause_s(latents) < 10


def plan_of(folder: Path, **settings: Any) -> Plan:
    write_listed_checkpoint(folder / "any.safetensors")
    index = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
    request = Txt2ImgRequest(prompt="a cat", width=64, height=64, steps=4, seed=1)
    return make_plan(request, index, index.find_checkpoint("any.safetensors"), Settings(**settings))


def step(index: int) -> StepState:
    return StepState(index=index, total=8, sigma=1.0, x=LATENTS, denoised=LATENTS)


@pytest.mark.parametrize(
    ("settings", "count", "width"),
    [
        ({}, 8, 12),
        ({"show_progress_every_n_steps": 4}, 2, 12),
        ({"show_progress_every_n_steps": -1}, 0, 0),
        ({"live_previews_enable": False}, 0, 0),
        ({"show_progress_grid": False}, 8, 6),
    ],
)
def test_the_options_say_when_and_what_is_shown(
    model: LoadedModel, tmp_path: Path, settings: dict[str, Any], count: int, width: int
):
    plan, listener = plan_of(tmp_path, **settings), RecordingListener(wants_previews=True)
    reporter = ProgressReporter(listener, listener.cancel, plan, 0)
    reporter.begin_pass(model.previewer(plan))
    for index in range(8):
        reporter.on_step(step(index))
    assert [preview.width for preview in listener.previews] == [width] * count


def test_nothing_is_prepared_or_decoded_while_nobody_looks(model: LoadedModel, tmp_path: Path):
    plan, listener = plan_of(tmp_path, live_preview_refresh_period=0), RecordingListener()
    ladders: list[int] = []
    cheap = PreviewMethod("Approx cheap", model.latent_to_rgb.decode, 0.0)
    reporter = ProgressReporter(listener, listener.cancel, plan, 0)
    reporter.begin_pass(Previewer(lambda: [ladders.append(1), cheap][1:], 0.0))
    reporter.on_step(step(0))
    assert (ladders, listener.previews) == ([], [])
    listener.cancel.watch()
    reporter.on_step(step(1))
    assert (ladders, len(listener.previews)) == ([1], 1)


def test_the_shipped_decoder_makes_the_previews_of_the_demo_models(tmp_path: Path):
    """And it is nearer to the finished picture than blocks of colour are."""
    demo = ROOT / "models" / "Stable-diffusion" / "demo"
    index = ModelIndex(
        {"Checkpoint": [demo], PREVIEW_DECODER: [ROOT / "models" / "VAE-approx"]},
        ROOT / "configs",
        tmp_path,
    )
    full = Precision(torch.float32, torch.float32, torch.float32)
    file = demo / "demo.safetensors"
    assert sum(one.size_bytes for one in index.files(PREVIEW_DECODER)) < 2_500_000
    components = load_components(file, file.with_suffix(".yaml"), full)
    colours = FlatColours.of(components.vae)
    methods = PreviewMethods(components.vae, LatentToRgb.fit(colours), colours)
    ladder = methods.ladder("TAESD", index.files(PREVIEW_DECODER))
    assert [method.name for method in ladder] == ["TAESD", "Approx cheap"]
    picture = draw(sample_scene(random.Random(5)), 128, 128)[0]
    latents = vae.encode(components.vae, Image.fromarray(picture))
    finished = vae.decode_pixels(components.vae, latents).clamp(-1, 1)
    errors = [
        float(
            (
                (functional.interpolate(method.decode(latents).float(), (128, 128)) - finished) ** 2
            ).mean()
        )
        for method in ladder
    ]
    assert errors[0] < 0.5 * errors[1]
