"""No step of a run waits for the device: on the meta device nothing has a value, so that reading one raises."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from modules.backend.conditioning.inpaint_mask import InpaintMask, SoftInpaintMask
from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.denoise.progress import ProgressReporter
from modules.backend.denoise.step_extensions import MaskedLatents, StepExtension
from modules.backend.denoise.token_merging import choose_tokens
from modules.backend.memory.transfers import HostCopy
from modules.backend.noise.noise import Draws, ImageNoise, NoiseOptions
from modules.backend.pipelines.stable_diffusion import make_pipeline
from modules.backend.previews.latent_to_rgb import LatentToRgb
from modules.backend.previews.previewer import Previewer, PreviewMethod
from modules.params.requests.img2img import SoftInpaintingFields
from modules.params.settings import Settings
from modules.plan.plan import ImagePlan
from modules.sampling.samplers import SAMPLERS
from tests.backend.pipelines.runs import MODEL_SIGMAS, make_plan
from tests.backend.tiny import RecordingListener, tiny_components

DEVICE = torch.device("meta")
STEPS = 4
IMAGES = [ImagePlan(0, 1), ImagePlan(1, 2)]
LATENTS = (4, 8, 8)


class Copies(TorchDispatchMode):
    """Records the copies between two devices."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = [arg.device for arg in args if isinstance(arg, Tensor) and arg.ndim]
        if isinstance(result, Tensor) and any(device != result.device for device in inputs):
            self.found.append(str(func))
        return result


def draw_on_device(seed: int, device: torch.device) -> Draws:
    """Return a noise source as that of a GPU: nothing of it is ever in the computer's memory."""
    return lambda shape: torch.empty(shape, device=device)


def on_device(*shape: int) -> Tensor:
    return torch.empty(shape, device=DEVICE)


class PlainNetwork(nn.Module):
    """In place of the UNet, of which one test is enough: it is slow on this device."""

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.config, self.dtype, self.device = unet.config, unet.dtype, unet.device

    def forward(self, sample: Tensor, timestep: Tensor, **named: Any) -> tuple[Tensor]:
        return (sample * timestep + named["encoder_hidden_states"].mean(),)


@pytest.fixture(scope="module")
def whole_pipeline() -> Any:
    components = copy.deepcopy(tiny_components())
    for network in (components.unet, components.vae, components.text_encoders[0].network):
        network.to(DEVICE)
    return make_pipeline(components)


@pytest.fixture(scope="module")
def pipeline(whole_pipeline: Any) -> Any:
    pipeline = copy.copy(whole_pipeline)
    pipeline.unet = PlainNetwork(whole_pipeline.unet)
    return pipeline


def run(
    pipeline: Any,
    name: str,
    settings: Settings | None = None,
    extensions: tuple[StepExtension, ...] = (),
    uncond_tokens: int = 77,
) -> list[str]:
    """Run a sampler on the device and return the copies to and from it."""
    conditioning = PromptConditioning(
        (Conditioning((on_device(1, 77, 32), on_device(1, 77, 32)), until=(2, STEPS)),),
        Conditioning((on_device(1, uncond_tokens, 32),)),
        empty_cond=on_device(1, 77, 32),
    )
    options = NoiseOptions("GPU")
    noise = ImageNoise(IMAGES, LATENTS, DEVICE, options, {"GPU": draw_on_device})
    plan = make_plan(name, STEPS, settings=settings)
    with torch.inference_mode(), Copies() as copies:
        latents = pipeline(plan, MODEL_SIGMAS, conditioning, noise, extensions=extensions)
    assert latents.device == DEVICE
    return copies.found


def test_no_step_of_the_unet_waits(whole_pipeline: Any):
    assert run(whole_pipeline, "Euler a") == []


@pytest.mark.parametrize("name", [row.name for row in SAMPLERS if not row.is_adaptive])
def test_no_sampler_waits(pipeline: Any, name: str):
    assert run(pipeline, name) == []


def test_an_adaptive_sampler_waits_for_its_error_and_for_nothing_else(pipeline: Any):
    with pytest.raises(RuntimeError, match="item"):
        run(pipeline, "DPM adaptive")


@pytest.mark.parametrize(
    "settings",
    [
        Settings(cfg_rescale=0.7),
        Settings(s_min_uncond=15.0),
        Settings(batch_cond_uncond=False),
        Settings(pad_cond_uncond=True),
    ],
    ids=lambda settings: str(settings.model_dump(exclude_defaults=True)),
)
def test_no_guidance_waits(pipeline: Any, settings: Settings):
    assert run(pipeline, "Euler", settings, uncond_tokens=154) == []


def test_no_mask_waits(pipeline: Any):
    hard = InpaintMask(on_device(1, *LATENTS), on_device(1, 1, 8, 8))
    soft = SoftInpaintMask(hard.init_latents, hard.latent_mask, SoftInpaintingFields())
    extensions = (MaskedLatents(hard, on_input=False), MaskedLatents(soft, on_input=False))
    assert run(pipeline, "Euler", extensions=extensions) == []


def test_token_merging_copies_nothing_after_the_first_sample_of_a_size():
    tokens = on_device(2, 6 * 10, 32)
    choose_tokens(tokens, 6, 10, 0.5)
    with torch.inference_mode(), Copies() as copies:
        merge = choose_tokens(tokens, 6, 10, 0.5)
        assert merge is not None
        assert merge.unmerge(merge.merge(tokens)).shape == tokens.shape
    assert copies.found == []


class Arrivals:
    """Copies of previews that arrive when the test says so."""

    def __init__(self) -> None:
        self.has_arrived = False
        self.started = 0

    def start(self, tensor: Tensor) -> HostCopy:
        self.started += 1
        pixels = torch.zeros(tensor.shape, dtype=tensor.dtype)
        return HostCopy(pixels, lambda: self.has_arrived, lambda: pytest.fail("it waited"))


def test_no_step_waits_for_a_preview(pipeline: Any):
    listener, arrivals = RecordingListener(wants_previews=True), Arrivals()
    plan = make_plan("Euler", STEPS)
    progress = ProgressReporter(listener, listener.cancel, plan, 0, arrivals.start)
    weights = on_device(5, 3)
    cheap = PreviewMethod("Approx cheap", LatentToRgb(weights).decode, 0.0)
    progress.begin_pass(Previewer(lambda: [cheap], 0.0))
    assert run(pipeline, "Euler", extensions=(progress,)) == []
    assert len(listener.progress) == STEPS
    assert arrivals.started == 1, "another one is begun before this one has arrived"
    assert listener.previews == []
