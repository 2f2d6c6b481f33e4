"""The samplers that k-diffusion lacks, compared with plain loops written from their papers, on a tiny real network.

The loops use the variance-preserving sample in terms of alphas_cumprod `a`, as the papers and A1111 do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor, nn

from modules.backend.pipelines.stable_diffusion import make_pipeline
from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.params.settings import Settings
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.samplers import SAMPLERS
from modules.sampling.solvers.euler import restart_steps
from tests.backend.pipelines.runs import make_plan
from tests.backend.sampler_runs import (
    MODEL_SIGMAS,
    SHAPE,
    Network,
    SeededNoise,
    formula_network,
    make_run,
    run_sampler,
    tiny_network,
)
from tests.backend.tiny import (
    prompt_conditioning,
    sd1_alphas,
    tiny_components,
)

PREDICTIONS = ["epsilon", "v_prediction"]
ALPHAS = sd1_alphas().float()
STEPS = 8
INIT_LATENTS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
Epsilon = Callable[[Tensor, float], Tensor]


def close(ours: Tensor, plain: Tensor) -> bool:
    return float((ours - plain).norm() / plain.norm()) < 1e-4


def epsilon_of(
    network: Network, prediction_type: str, alpha_at: Callable[[float], Tensor]
) -> Epsilon:
    """Return a function that predicts the noise of a sample; Salimans and Ho 2022 for v."""

    def epsilon(x: Tensor, t: float) -> Tensor:
        output, a = network(x, torch.tensor(t)), alpha_at(t)
        return (
            a.sqrt() * output + (1 - a).sqrt() * x if prediction_type == "v_prediction" else output
        )

    return epsilon


def at_timestep(t: float) -> Tensor:
    return ALPHAS[int(t)]


def ddim_timesteps(steps: int) -> list[int]:
    return [min(t + 1, 999) for t in range(0, 1000, 1000 // steps)]


def ddim_step(
    x: Tensor,
    clean_noise: Tensor,
    onward: Tensor,
    t: int,
    t_next: int,
    eta: float,
    noise: SeededNoise,
) -> Tensor:
    """Equation 12 of Song et al. 2021 with the sigma of equation 16."""
    a, after = ALPHAS[t], ALPHAS[t_next]
    sigma = eta * ((1 - after) / (1 - a) * (1 - a / after)).sqrt()
    clean = (x - (1 - a).sqrt() * clean_noise) / a.sqrt()
    x = after.sqrt() * clean + (1 - after - sigma**2).sqrt() * onward
    return x + sigma * noise() if eta else x


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", ["DDIM", "DDIM CFG++"])
@torch.inference_mode()
def test_ddim_equals_its_paper(name: str, eta: float, prediction_type: str):
    network, noise = tiny_network(prediction_type), SeededNoise()
    epsilon, x = epsilon_of(network, prediction_type, at_timestep), noise()
    for t, t_next in itertools.pairwise(reversed(ddim_timesteps(STEPS))):
        guided = onward = epsilon(x, t)
        if name == "DDIM CFG++":  # the uncond prediction of sampler_runs.py
            a = ALPHAS[t]
            output = network(x, torch.tensor(t + 100.0))
            onward = (
                a.sqrt() * output + (1 - a).sqrt() * x
                if prediction_type == "v_prediction"
                else output
            )
        x = ddim_step(x, guided, onward, t, t_next, eta, noise)
    run_sigmas = make_run(name, "Uniform", STEPS, SamplingSettings(eta_ddim=eta))
    assert close(run_sampler(run_sigmas, network, prediction_type), x)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@torch.inference_mode()
def test_plms_equals_its_paper(prediction_type: str):
    network, noise = tiny_network(prediction_type), SeededNoise()
    epsilon, x, past = epsilon_of(network, prediction_type, at_timestep), noise(), list[Tensor]()
    for t, t_next in itertools.pairwise(reversed(ddim_timesteps(STEPS))):
        past = [epsilon(x, t), *past][:4]
        if len(past) == 1:
            there = ddim_step(x, past[0], past[0], t, t_next, 0, noise)
            mean = (past[0] + epsilon(there, t_next)) / 2
        elif len(past) == 2:
            mean = (3 * past[0] - past[1]) / 2
        elif len(past) == 3:
            mean = (23 * past[0] - 16 * past[1] + 5 * past[2]) / 12
        else:
            mean = (55 * past[0] - 59 * past[1] + 37 * past[2] - 9 * past[3]) / 24
        x = ddim_step(x, mean, mean, t, t_next, 0, noise)
    assert close(run_sampler(make_run("PLMS", "Uniform", STEPS), network, prediction_type), x)


def log_alpha(time: float) -> float:
    """Return log sqrt(a) of a continuous time from 1/1000 to 1, interpolated between the trained ones."""
    place = time * 1000 - 1
    low = min(int(place), 998)
    logs = 0.5 * ALPHAS.double().log()
    return float(logs[low] + (place - low) * (logs[low + 1] - logs[low]))


def snr(time: float) -> float:
    return log_alpha(time) - 0.5 * math.log(-math.expm1(2 * log_alpha(time)))


def unipc_update(
    x: Tensor,
    past: list[Tensor],
    times: list[float],
    time: float,
    data: Callable[[Tensor], Tensor] | None,
    variant: str,
) -> tuple[Tensor, Tensor | None]:
    """Algorithms 5 and 6 of Zhao et al. 2023 with B(h) = h (bh1) or e^h - 1 (bh2), h the negative step."""
    order, step = len(past), -(snr(time) - snr(times[-1]))
    size = step if variant == "bh1" else math.expm1(step)
    ratios = [(snr(other) - snr(times[-1])) / -step for other in times[-2::-1]] + [1.0]
    differences = [(other - past[-1]) / r for other, r in zip(past[-2::-1], ratios, strict=False)]
    right, phi, factorial = [], math.expm1(step) / step - 1, 1
    for k in range(1, order + 1):
        right.append(phi * factorial / size)
        factorial *= k + 1
        phi = phi / step - 1 / factorial
    powers = torch.tensor([[r**k for r in ratios] for k in range(order)], dtype=torch.float64)
    right = torch.tensor(right, dtype=torch.float64)
    alpha, deviation = math.exp(log_alpha(time)), math.exp(log_alpha(time) - snr(time))
    before = math.exp(log_alpha(times[-1]) - snr(times[-1]))
    straight = deviation / before * x - alpha * math.expm1(step) * past[-1]
    weights = (
        [0.5]
        if order == 2
        else torch.linalg.solve(powers[:-1, :-1], right[:-1]).tolist()
        if order > 2
        else []
    )
    x = straight - alpha * size * sum(w * d for w, d in zip(weights, differences, strict=True))
    if data is None:
        return x, None
    newest = data(x)
    weights = [0.5] if order == 1 else torch.linalg.solve(powers, right).tolist()
    differences = [*differences, newest - past[-1]]
    return straight - alpha * size * sum(
        w * d for w, d in zip(weights, differences, strict=True)
    ), newest


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@torch.inference_mode()
def test_unipc_equals_its_paper(variant: str, prediction_type: str):
    network, x = tiny_network(prediction_type), SeededNoise()()
    # A1111 converts v to noise with the alphas of the whole timestep below, and noise to data with interpolated ones.
    epsilon = epsilon_of(network, prediction_type, at_timestep)
    times = torch.linspace(1, 0.001, STEPS + 1, dtype=torch.float64).tolist()

    def data_at(time: float) -> Callable[[Tensor], Tensor]:
        alpha = math.exp(log_alpha(time))
        return lambda x: (x - math.sqrt(1 - alpha**2) * epsilon(x, time * 1000 - 1)) / alpha

    past, known = [data_at(times[0])(x)], [times[0]]
    for place, time in enumerate(times[1:], start=1):
        order = min(3, place, STEPS + 1 - place)
        data = data_at(time) if place < STEPS else None
        x, newest = unipc_update(x, past[-order:], known[-order:], time, data, variant)
        past, known = [*past, newest], [*known, time]
    run_sigmas = make_run("UniPC", "Uniform", STEPS, SamplingSettings(uni_pc_variant=variant))
    assert close(run_sampler(run_sigmas, network, prediction_type), x)


@pytest.mark.parametrize("skip_type", ["time_uniform", "time_quadratic", "logSNR"])
@pytest.mark.parametrize("variant", ["bh1", "bh2", "vary_coeff"])
@torch.inference_mode()
def test_unipc_variants_converge_to_the_same_latents(variant: str, skip_type: str):
    settings = SamplingSettings(uni_pc_variant=variant, uni_pc_skip_type=skip_type)
    fine = run_sampler(make_run("UniPC", "Uniform", 100))
    assert (
        float((run_sampler(make_run("UniPC", "Uniform", 40, settings)) - fine).norm() / fine.norm())
        < 0.05
    )


@torch.inference_mode()
def test_unipc_lowers_its_order_for_too_few_steps():
    two, three = (
        make_run("UniPC", "Uniform", 2, SamplingSettings(uni_pc_order=order)) for order in (2, 3)
    )
    assert torch.equal(run_sampler(two), run_sampler(three))


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
# None has a sigma half-way between two distilled timesteps, where rounding would choose.
@pytest.mark.parametrize(("schedule", "steps"), [("Uniform", 4), ("SGM Uniform", 5), ("Karras", 4)])
@pytest.mark.parametrize("reads_v", [True, False])
@torch.inference_mode()
def test_lcm_equals_its_paper_and_takes_v_for_noise_unless_told(
    schedule: str, steps: int, prediction_type: str, reads_v: bool
):
    network, noise = tiny_network(prediction_type), SeededNoise()
    run_sigmas = make_run("LCM", schedule, steps, SamplingSettings(lcm_v_prediction=reads_v))
    sigmas, x = run_sigmas.sigmas(steps), noise() * run_sigmas.sigmas(steps)[0]
    distilled = [
        (float(((1 - a) / a).sqrt()), t) for t, a in enumerate(ALPHAS.double()) if t % 20 == 19
    ]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        t = min(distilled, key=lambda level: abs(math.log(level[0] / sigma)))[1]
        model_input = x / math.hypot(1, sigma)
        epsilon = network(model_input, torch.tensor(float(t)))
        if prediction_type == "v_prediction" and reads_v:
            epsilon = epsilon / math.hypot(1, sigma) + model_input * (sigma / math.hypot(1, sigma))
        x = x - sigma * epsilon
        x = x + sigma_next * noise() if sigma_next else x
    assert close(run_sampler(run_sigmas, network, prediction_type), x)


@torch.inference_mode()
def test_lcm_uses_the_distilled_timesteps():
    assert [
        MODEL_SIGMAS.timestep_at(s) for s in make_run("LCM", "Uniform", 3).sigmas(3)[:-1]
    ] == pytest.approx([999, 509, 19], abs=0.05)


@torch.inference_mode()
def test_restart_is_heun_with_noise_at_every_restart():
    network, noise, run_sigmas = formula_network, SeededNoise(), make_run("Restart", "Karras", 20)
    x = noise() * run_sigmas.sigmas(20)[0]

    def slope(x: Tensor, sigma: float) -> Tensor:
        timestep = run_sigmas.model_sigmas.timestep_at(sigma)
        return network(x / math.hypot(1, sigma), torch.tensor(timestep))

    reached = math.inf
    for sigma, sigma_next in restart_steps(run_sigmas.sigmas(20)):
        x = x + noise() * math.sqrt(sigma**2 - reached**2) if sigma > reached else x
        first = slope(x, sigma)
        there = x + (sigma_next - sigma) * first
        mean = (first + slope(there, sigma_next)) / 2 if sigma_next else first
        x, reached = x + (sigma_next - sigma) * mean, sigma_next
    assert noise.count == 2
    assert close(run_sampler(run_sigmas, network), x)


@pytest.mark.parametrize("row", list(SAMPLERS), ids=lambda row: row.name)
@torch.inference_mode()
def test_an_img2img_run_follows_its_strength(row):
    """At low strength the image is preserved, at full strength it is gone."""
    run_sigmas = make_run(row.name, row.default_schedule, 10)
    quiet = lambda x, t: 0.1 * x  # noqa: E731 - a network that predicts little noise
    little, much = (
        run_sampler(run_sigmas, quiet, init_latents=INIT_LATENTS, strength=strength)
        for strength in (0.2, 1.0)
    )
    assert float((little - INIT_LATENTS).norm()) < float((much - INIT_LATENTS).norm())


class MetaNoise:
    """Noise on the meta device, without values, for a batch of two."""

    images = (0, 1)
    arithmetic = TORCH_FLOAT32

    def draw_ahead(self, intervals: Iterable[tuple[float, float]], draws: int = 0) -> None: ...

    def __call__(self) -> Tensor:
        return torch.empty(SHAPE, device="meta")

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        return self()


class MetaUNet(nn.Module):
    """A UNet on the meta device."""

    def __init__(self) -> None:
        super().__init__()
        self.config = FrozenDict(sample_size=8, in_channels=4)
        self.dtype, self.device = torch.float32, torch.device("meta")

    def forward(self, sample: Tensor, *_: object, **__: object) -> tuple[Tensor]:
        return (torch.empty_like(sample),)


@pytest.mark.parametrize(
    "row", [row for row in SAMPLERS if not row.is_adaptive], ids=lambda row: row.name
)
@torch.inference_mode()
def test_no_step_waits_for_a_value_from_the_device(row):
    """On the device "meta" reading a value raises."""
    settings = Settings(s_churn=1, eta_ddim=1, cfg_rescale=0.5)
    cond = torch.empty((1, 77, 32), device="meta")
    for prediction_type in PREDICTIONS:
        components = replace(tiny_components(prediction_type), unet=MetaUNet())
        plan = make_plan(row.name, 4, schedule=row.default_schedule, settings=settings)
        x = make_pipeline(components)(
            plan, MODEL_SIGMAS, prompt_conditioning(cond, cond), MetaNoise()
        )
        assert x.shape == SHAPE
        assert x.device.type == "meta"
