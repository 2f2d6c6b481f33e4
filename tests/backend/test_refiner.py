"""A refiner makes the last steps of a run: tiny checkpoints in files, loaded one after another."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.backend.control.unit_effects import UnitEffects
from modules.backend.device import FP16, FP32
from modules.backend.loaded_models import LoadedModels
from modules.backend.model import LoadedModel
from modules.backend.runner import Runner
from modules.backend.stages import decoding
from modules.core.errors import Cancelled
from modules.models.index import ModelIndex
from modules.models.model_spec import ModelSpec
from modules.params.device_options import DeviceOptions
from modules.params.events import Event, Phase
from modules.params.image import ImageField
from modules.params.requests.base import GenerationRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.plan.planner import make_plan
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import tiny_weights, write_checkpoint
from tests.backend.tiny import RecordingListener
from tests.conftest import ROOT

STEPS = 6
SMALL = Txt2ImgRequest(
    prompt="a cat",
    negative_prompt="a dog",
    width=64,
    height=64,
    steps=STEPS,
    seed=7,
    sampler_name="Euler",
)
REFINED = SMALL.replace(refiner_checkpoint="second", refiner_switch_at=0.5)
UNET = "model.diffusion_model."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints; "first" with the UNet of "second" is "mixed"."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_checkpoint(folder / "first.safetensors")
    write_checkpoint(folder / "second.safetensors", seed=1)
    write_checkpoint(folder / "mixed.safetensors", weights=mixed_weights())
    return folder


def mixed_weights() -> dict[str, Tensor]:
    second = tiny_weights(1)
    return {k: second[k] if k.startswith(UNET) else v for k, v in tiny_weights().items()}


def plan_of(folder: Path, request: GenerationRequest, name: str = "first", **options: Any) -> Plan:
    models = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", folder / "cache")
    return make_plan(request, models, models.find_checkpoint(name), Settings(**options))


@pytest.fixture
def runner(tokenizer: ClipTokenizer) -> Runner:
    return Runner(DeviceOptions(use_cpu=True), tokenizer)


def generate(
    runner: Runner, plan: Plan, listener: RecordingListener | None = None
) -> list[np.ndarray]:
    listener = listener or RecordingListener()
    runner.run(plan, listener, listener.cancel)
    return [np.asarray(image, np.int16) for _, image in listener.images]


def test_the_refiner_makes_the_steps_after_the_switch(folder: Path, runner: Runner):
    """With the text encoder and the VAE of the first checkpoint, so that another UNet is all there is to it."""
    request = REFINED.replace(refiner_checkpoint="mixed")
    plan = plan_of(folder, request, randn_source="CPU")
    expected = decode(runner, plan, euler_with_two_unets(runner, plan, switch_at=0.5))
    assert np.abs(generate(runner, plan)[0] - expected).max() <= 1


@torch.inference_mode()
def euler_with_two_unets(runner: Runner, plan: Plan, switch_at: float) -> Tensor:
    """Return the latents of an Euler run, written out: before each step it is looked up whose UNet makes it."""
    assert plan.refiner is not None
    runner.models.set_limit(2)
    first, second = (runner.models.acquire(p.model) for p in (plan, plan.refiner.plan))
    request, sigmas = plan.request, first.model_sigmas
    conditioning = first.encode_prompts(
        request.prompt, request.negative_prompt, plan.timeline, plan.settings, (64, 64)
    )
    both = torch.cat([conditioning.uncond.hidden[0], conditioning.conds[0].hidden[0]])
    timesteps = np.linspace(999, 0, STEPS)
    visited = [*(sigmas.sigma_at(t) for t in timesteps), 0.0]
    generator = torch.Generator().manual_seed(request.seed)
    x = torch.randn((1, 4, 8, 8), generator=generator) * visited[0]
    for sigma, following, timestep in zip(visited, visited[1:], timesteps, strict=False):
        nearest = int(np.abs(sigmas.sigmas - sigma).argmin())
        model = second if (999 - nearest) / 1000 >= switch_at else first
        model_input = torch.cat([x, x]) / (1 + sigma**2) ** 0.5
        uncond, cond = model.components.unet(
            model_input, torch.tensor(timestep), encoder_hidden_states=both
        )[0].chunk(2)
        x = x + (uncond + request.cfg_scale * (cond - uncond)) * (following - sigma)
    return x


def decode(runner: Runner, plan: Plan, latents: Tensor) -> np.ndarray:
    with torch.inference_mode():
        image = decoding.decode_image(
            runner.models.acquire(plan.model), latents, 0, plan, None, UnitEffects().finish
        )
    return np.asarray(image, np.int16)


def test_at_0_the_refiner_makes_every_step_and_at_1_none(folder: Path, runner: Runner):
    first, second = (generate(runner, plan_of(folder, SMALL, n))[0] for n in ("first", "second"))
    listener = RecordingListener()
    at_once = generate(runner, plan_of(folder, REFINED.replace(refiner_switch_at=0)), listener)[0]
    assert np.array_equal(at_once, second)
    assert listener.notes == []
    listener = RecordingListener()
    never = generate(runner, plan_of(folder, REFINED.replace(refiner_switch_at=1)), listener)[0]
    assert np.array_equal(never, first)
    assert listener.notes == [
        "second.safetensors refined nothing: the last step came before its turn at 1."
    ]


def test_the_switch_can_be_counted_in_steps(folder: Path, runner: Runner):
    """Karras' steps are not spaced as the timesteps are: after half of them most of the noise is gone."""
    request = REFINED.replace(scheduler="Karras", refiner_switch_at=0.7)
    by_noise, by_steps = StepCounter(), StepCounter()
    generate(runner, plan_of(folder, request), by_noise)
    generate(runner, plan_of(folder, request, refiner_switch_by_sample_steps=True), by_steps)
    assert by_steps.steps_at["Refining"] == 5  # the first index with index / 6 >= 0.7
    assert by_noise.steps_at["Refining"] == 3


class StepCounter(RecordingListener):
    """Notes how many steps were done when each phase began."""

    def __init__(self) -> None:
        self.steps_at: dict[str, int] = {}
        super().__init__()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Phase):
            self.steps_at[event.text] = len(self.progress)


@pytest.mark.parametrize("sampler", ["DPM++ 2M", "DPM++ SDE", "DDIM", "UniPC", "LCM", "DPM2 a"])
def test_every_kind_of_sampler_goes_on_with_its_own_memory(
    folder: Path, runner: Runner, sampler: str
):
    """A refiner with the same weights changes nothing, whatever the sampler keeps of the steps before."""
    write_checkpoint(folder / "copy.safetensors")
    request = REFINED.replace(sampler_name=sampler, batch_size=2)
    refined = generate(runner, plan_of(folder, request.replace(refiner_checkpoint="copy")))
    plain = generate(runner, plan_of(folder, request.replace(refiner_checkpoint="")))
    assert len(refined) == 2
    assert all(np.array_equal(one, other) for one, other in zip(refined, plain, strict=True))


def test_the_first_checkpoint_is_given_back_before_the_refiner_is_read(
    folder: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
):
    alive: list[int] = []
    networks: list[weakref.ref[Any]] = []
    acquire = LoadedModels.acquire

    def count_networks(self: LoadedModels, spec: ModelSpec) -> LoadedModel:
        model = acquire(self, spec)
        if not any(network() is model.components.unet for network in networks):
            networks.append(weakref.ref(model.components.unet))
        gc.collect()
        alive.append(sum(network() is not None for network in networks))
        return model

    monkeypatch.setattr(LoadedModels, "acquire", count_networks)
    request = REFINED.replace(
        n_iter=2, steps=2, enable_hr=True, hr_scale=1, hr_upscaler="Lanczos", denoising_strength=0.7
    )
    plan = plan_of(folder, request, hires_fix_refiner_pass="both passes")
    listener = RecordingListener(wants_previews=True)
    assert len(generate(runner, plan, listener)) == 2
    # Each batch: both passes with both models.
    assert [p for p in listener.phases if p.startswith(("Loading", "Refining"))] == [
        "Loading first.safetensors",
        "Loading second.safetensors",
        "Refining",
    ] * 4
    assert set(alive) == {1}


@pytest.mark.parametrize(
    ("choice", "refined"),
    [("first pass", [True, False]), ("second pass", [False, True]), ("both passes", [True, True])],
)
def test_the_option_says_which_pass_of_hires_fix_is_refined(
    folder: Path, runner: Runner, choice: str, refined: list[bool]
):
    request = REFINED.replace(enable_hr=True, hr_scale=1, denoising_strength=0.7)
    listener = RecordingListener()
    generate(runner, plan_of(folder, request, hires_fix_refiner_pass=choice), listener)
    phases = listener.phases
    middle = phases.index("Upscaling")
    assert ["Refining" in part for part in (phases[:middle], phases[middle:])] == refined
    assert len(listener.progress) == 2 * STEPS
    assert listener.progress[-1].step == listener.progress[-1].steps


def test_img2img_is_refined(folder: Path, runner: Runner):
    request = Img2ImgRequest(
        init_image=ImageField.from_pil(Image.new("RGB", (64, 64), "grey")),
        denoising_strength=0.9,
        **REFINED.model_dump(
            exclude={"denoising_strength"}, include=set(Img2ImgRequest.model_fields)
        ),
    )
    listener = RecordingListener()
    refined = generate(runner, plan_of(folder, request), listener)[0]
    plain = generate(runner, plan_of(folder, request.replace(refiner_checkpoint="")))[0]
    assert "Refining" in listener.phases
    assert not np.array_equal(refined, plain)


@pytest.mark.parametrize("stop_after", [1, STEPS - 1])
def test_an_interrupt_stops_either_model_and_the_next_job_is_whole(
    folder: Path, runner: Runner, stop_after: int
):
    listener = RecordingListener(stop_after=stop_after)
    listener.cancel.want_unfinished()
    with pytest.raises(Cancelled):
        generate(runner, plan_of(folder, REFINED), listener)
    assert len(listener.progress) == stop_after
    assert len(listener.unfinished) == 1
    whole = generate(runner, plan_of(folder, REFINED))[0]
    assert np.array_equal(whole, generate(runner, plan_of(folder, REFINED))[0])


def test_a_refiner_that_overflows_runs_again_in_a_higher_precision(folder: Path, runner: Runner):
    weights = tiny_weights(1)
    key = UNET + "input_blocks.0.0.weight"
    weights[key] = weights[key] * 1e6
    write_checkpoint(folder / "overflowing.safetensors", weights=weights)
    plan = plan_of(folder, REFINED.replace(refiner_checkpoint="overflowing"))
    runner.models.device = replace(runner.device, precisions=(FP16, FP32))
    listener = RecordingListener()
    assert len(generate(runner, plan, listener)) == 1
    assert listener.notes == [
        "overflowing.safetensors overflowed in half precision and runs again in torch.float32."
    ]
