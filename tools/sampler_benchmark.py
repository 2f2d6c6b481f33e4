"""Cost of a step without the network: our loop, guidance and noise against diffusers' scheduler of the same name.

A dummy UNet returns at once, so only our time is left, or that of diffusers with the guidance of its stock pipeline,
noise included. A step here is one evaluation of the network. Our time excludes the noise, which by default is that of
an NVIDIA card and is computed in numpy elsewhere. Noise after the first is drawn in a thread during the network: what
a step still waits for it is measured with a network that keeps all processors busy, in the mean, in the middle, and as
the processor's time of the thread that takes the steps, which other programs do not lengthen.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor, nn

from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.noise.noise import ImageNoise, NoiseOptions
from modules.backend.pipelines.stable_diffusion import SamplerPipeline
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.plan.plan import ImagePlan, Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES

SHAPE = (4, 64, 64)
STEPS = 20
CFG = 7.0
# Seconds of the network during which noise is drawn, by device; a step of SD 1.5 on two cores takes ten times as long.
_BUSY_S = {"cpu": 0.3, "cuda": 0.03}
_TRAINED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
# Our sampler to diffusers' class and options. DPM++ SDE and LMS of diffusers need packages that are not pinned here.
_DIFFUSERS: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "DPM++ 2M SDE Heun": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"},
    ),
    "DPM++ 3M SDE": (
        "DPMSolverMultistepScheduler",
        {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
    ),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM2": ("KDPM2DiscreteScheduler", {}),
    "DPM2 a": ("KDPM2AncestralDiscreteScheduler", {}),
    "DDIM": ("DDIMScheduler", {"clip_sample": False}),
    "PLMS": ("PNDMScheduler", {"skip_prk_steps": True}),
    "UniPC": ("UniPCMultistepScheduler", {}),
    "LCM": ("LCMScheduler", {}),
}


class DummyUNet(nn.Module):
    """Returns the same numbers after a while of work, and counts its calls."""

    def __init__(self, device: torch.device, busy_s: float = 0.0) -> None:
        super().__init__()
        self._busy_s = busy_s
        self._factor = torch.ones((512, 512))
        generator = torch.Generator().manual_seed(0)
        self._output = torch.randn((2, *SHAPE), generator=generator).to(device)
        self.dtype, self.device, self.calls = torch.float32, device, 0
        self.config = FrozenDict(sample_size=SHAPE[1], in_channels=SHAPE[0])

    def forward(self, sample: Tensor, *_: Any, **__: Any) -> tuple[Tensor]:
        """Return the output for a batch of one or two."""
        self.calls += 1
        ends_at = time.perf_counter() + self._busy_s
        while time.perf_counter() < ends_at:
            torch.mm(self._factor, self._factor)
        return (self._output[: sample.shape[0]],)


def run(rounds: int) -> None:
    """Print the milliseconds per step of every sampler, the median over the rounds."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unet = DummyUNet(device)
    print(f"{SHAPE[0]}x{SHAPE[1]}x{SHAPE[2]} latents, one image, {STEPS} steps, on {device}")
    print(
        f"{'sampler':18} {'calls':>5} {'ours ms':>8} {'noise ms':>8} {'waited ms: mean, median, own':>28}"
        f" {'diffusers ms':>12}"
    )
    slowest = 0.0
    with torch.inference_mode():
        for sampler in SAMPLERS:
            times = [_our_times(sampler, unet) for _ in range(rounds + 1)][1:]
            sampler_ms = statistics.median(time.sampler_ms for time in times)
            noise_ms = statistics.median(time.noise_ms for time in times)
            slowest = max(slowest, sampler_ms)
            diffusers_ms = _diffusers_time(sampler, unet, rounds)
            print(
                f"{sampler.name:18} {times[0].calls:5} {sampler_ms:8.3f} {noise_ms:8.3f}"
                f" {_waits(sampler, device):>28} {diffusers_ms:>12}"
            )
    print(f"slowest of ours: {slowest:.3f} ms")


def measure_waits(sampler: Sampler, device: torch.device) -> list[tuple[float, float]]:
    """Return the milliseconds that each step waits for noise, on the clock and of its thread's processor.

    Args:
        sampler: Which one.
        device: Where the noise is used.
    """
    with torch.inference_mode():
        waits = _our_times(sampler, DummyUNet(device, _BUSY_S.get(device.type, 0.03))).noise.waits
    return [(1000 * wall, 1000 * own) for wall, own in waits[1:]]  # the first is the run's start


def _waits(sampler: Sampler, device: torch.device) -> str:
    """Return what steps wait for noise, as text; "-" where they need none."""
    waits = measure_waits(sampler, device)
    if not waits:
        return "-"
    walls, owns = zip(*waits, strict=True)
    return (
        f"{statistics.mean(walls):.3f} {statistics.median(walls):.3f} {statistics.mean(owns):.3f}"
    )


@dataclass(frozen=True)
class Times:
    """What a run took.

    Args:
        sampler_ms: Of a step without noise.
        noise: Of the run.
        calls: Evaluations of the network.
    """

    sampler_ms: float
    noise: TimedNoise
    calls: int

    @property
    def noise_ms(self) -> float:
        """Return the milliseconds of noise for each step."""
        return 1000 * self.noise.seconds / self.calls


def _our_times(sampler: Sampler, unet: DummyUNet) -> Times:
    """Return what a run takes."""
    schedule = SCHEDULES.get(sampler.default_schedule)
    noise = TimedNoise([ImagePlan(0, 1)], SHAPE, unet.device, NoiseOptions())
    cond = torch.zeros((1, 77, 8), device=unet.device)
    conditioning = PromptConditioning((Conditioning((cond,)),), Conditioning((cond,)))
    request = Txt2ImgRequest(steps=STEPS, cfg_scale=CFG)
    model: Any = None  # the loop reads nothing of it
    plan = Plan(request, model, sampler, schedule, ())
    pipeline = _pipeline(unet)
    unet.calls = 0
    started = _now(unet.device)
    pipeline(plan, _model_sigmas(), conditioning, noise)
    seconds = _now(unet.device) - started - noise.seconds
    return Times(1000 * seconds / unet.calls, noise, unet.calls)


def _pipeline(unet: Any) -> SamplerPipeline:  # Any: a dummy of the UNet
    missing: Any = None
    scheduler: Any = diffusers.EulerDiscreteScheduler(**_TRAINED, steps_offset=1)
    return SamplerPipeline(
        vae=missing,
        text_encoder=missing,
        tokenizer=missing,
        unet=unet,
        scheduler=scheduler,
        safety_checker=missing,
        feature_extractor=missing,
        requires_safety_checker=False,
    )


class TimedNoise(ImageNoise):
    """Noise that notes the seconds of its draws, on the clock and of its thread's processor."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.waits: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float:
        """Return the seconds of all draws."""
        return sum(wall for wall, _ in self.waits)

    def __call__(self) -> Tensor:
        """Return the next unit noise."""
        return self._timed(super().__call__)

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """Return the unit noise of a step."""
        draw = super().between
        return self._timed(lambda: draw(sigma, sigma_next))

    def _timed(self, draw: Callable[[], Tensor]) -> Tensor:
        started = time.perf_counter(), time.thread_time()
        drawn = draw()
        self.waits.append((time.perf_counter() - started[0], time.thread_time() - started[1]))
        return drawn


def _diffusers_time(sampler: Sampler, unet: DummyUNet, rounds: int) -> str:
    """Return the milliseconds per step of diffusers' scheduler, with the guidance of its stock pipeline."""
    if sampler.name not in _DIFFUSERS:
        return "-"
    name, options = _DIFFUSERS[sampler.name]
    times: list[float] = []
    for _ in range(rounds + 1):
        scheduler = getattr(diffusers, name)(**_TRAINED, **options)
        scheduler.set_timesteps(STEPS, device=unet.device)
        x = torch.randn((1, *SHAPE), device=unet.device) * scheduler.init_noise_sigma
        started = _now(unet.device)
        for t in scheduler.timesteps:
            model_input = scheduler.scale_model_input(torch.cat([x] * 2), t)
            uncond, cond = unet(model_input, t)[0].chunk(2)
            x = scheduler.step(uncond + CFG * (cond - uncond), t, x, return_dict=False)[0]
        times.append(1000 * (_now(unet.device) - started) / len(scheduler.timesteps))
    return f"{statistics.median(times[1:]):.3f}"


def _model_sigmas() -> ModelSigmas:
    betas = np.linspace(_TRAINED["beta_start"] ** 0.5, _TRAINED["beta_end"] ** 0.5, 1000) ** 2
    return ModelSigmas(np.cumprod(1 - betas))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
