"""The samplers that k-diffusion does not have, beside plain loops written from their papers, on a tiny real network.

The loops walk the variance-preserving sample in terms of alphas_cumprod `a`, as the papers and A1111 do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from modules.backend.denoise.guidance import GuidedUNet
from modules.backend.denoise.sampler_scheduler import SamplerScheduler, StepState
from modules.backend.pipelines import stable_diffusion
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.samplers import SAMPLERS
from modules.sampling.solvers.euler import restart_steps
from tests.backend.tiny import (
    Counting,
    conditioning,
    noise_of,
    sd1_alphas,
    steering,
    tiny_components,
)
from tests.backend.walks import (
    LEVELS,
    SHAPE,
    Drawn,
    Network,
    course_of,
    formula,
    tiny_network,
    walked,
)

PREDICTIONS = ["epsilon", "v_prediction"]
ALPHAS = sd1_alphas().float()
STEPS = 8
PICTURE = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
Epsilon = Callable[[Tensor, float], Tensor]


def close(ours: Tensor, plain: Tensor) -> bool:
    return float((ours - plain).norm() / plain.norm()) < 1e-4


def epsilon_of(
    network: Network, prediction_type: str, alpha_at: Callable[[float], Tensor]
) -> Epsilon:
    """Return what predicts the noise of a sample; Salimans and Ho 2022 for v."""

    def epsilon(x: Tensor, t: float) -> Tensor:
        answer, a = network(x, torch.tensor(t)), alpha_at(t)
        return (
            a.sqrt() * answer + (1 - a).sqrt() * x if prediction_type == "v_prediction" else answer
        )

    return epsilon


def at_timestep(t: float) -> Tensor:
    return ALPHAS[int(t)]


def ddim_timesteps(steps: int) -> list[int]:
    return [min(t + 1, 999) for t in range(0, 1000, 1000 // steps)]


def ddim_step(
    x: Tensor, clean_noise: Tensor, onward: Tensor, t: int, t_next: int, eta: float, noise: Drawn
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
def test_ddim_is_its_paper(name: str, eta: float, prediction_type: str):
    network, noise = tiny_network(prediction_type), Drawn()
    epsilon, x = epsilon_of(network, prediction_type, at_timestep), noise()
    for t, t_next in itertools.pairwise(reversed(ddim_timesteps(STEPS))):
        guided = onward = epsilon(x, t)
        if name == "DDIM CFG++":  # the stand-in for the negative prompt, see walks.py
            a = ALPHAS[t]
            answer = network(x, torch.tensor(t + 100.0))
            onward = (
                a.sqrt() * answer + (1 - a).sqrt() * x
                if prediction_type == "v_prediction"
                else answer
            )
        x = ddim_step(x, guided, onward, t, t_next, eta, noise)
    course = course_of(name, "Uniform", STEPS, SamplingSettings(eta_ddim=eta))
    assert close(walked(course, network, prediction_type), x)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@torch.inference_mode()
def test_plms_is_its_paper(prediction_type: str):
    network, noise = tiny_network(prediction_type), Drawn()
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
    assert close(walked(course_of("PLMS", "Uniform", STEPS), network, prediction_type), x)


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
def test_unipc_is_its_paper(variant: str, prediction_type: str):
    network, x = tiny_network(prediction_type), Drawn()()
    # A1111 turns v into noise by the alphas of the whole timestep below, and noise into data by those between.
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
    course = course_of("UniPC", "Uniform", STEPS, SamplingSettings(uni_pc_variant=variant))
    assert close(walked(course, network, prediction_type), x)


@pytest.mark.parametrize("skip_type", ["time_uniform", "time_quadratic", "logSNR"])
@pytest.mark.parametrize("variant", ["bh1", "bh2", "vary_coeff"])
@torch.inference_mode()
def test_unipc_comes_to_the_same_by_every_way(variant: str, skip_type: str):
    settings = SamplingSettings(uni_pc_variant=variant, uni_pc_skip_type=skip_type)
    fine = walked(course_of("UniPC", "Uniform", 100))
    assert (
        float((walked(course_of("UniPC", "Uniform", 40, settings)) - fine).norm() / fine.norm())
        < 0.05
    )


@torch.inference_mode()
def test_unipc_takes_a_lower_order_where_there_are_too_few_steps():
    two, three = (
        course_of("UniPC", "Uniform", 2, SamplingSettings(uni_pc_order=order)) for order in (2, 3)
    )
    assert torch.equal(walked(two), walked(three))


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("schedule", ["Uniform", "SGM Uniform", "Karras"])
@torch.inference_mode()
def test_lcm_is_its_paper(schedule: str, prediction_type: str):
    network, noise = tiny_network(prediction_type), Drawn()
    course = course_of("LCM", schedule, 4)
    sigmas, x = course.sigmas(4), noise() * course.sigmas(4)[0]
    distilled = [
        (float(((1 - a) / a).sqrt()), t) for t, a in enumerate(ALPHAS.double()) if t % 20 == 19
    ]
    for sigma, sigma_next in itertools.pairwise(sigmas):
        t = min(distilled, key=lambda level: abs(math.log(level[0] / sigma)))[1]
        shown = x / math.hypot(1, sigma)
        answer = network(shown, torch.tensor(float(t)))
        if prediction_type == "v_prediction":
            answer = answer / math.hypot(1, sigma) + shown * (sigma / math.hypot(1, sigma))
        x = x - sigma * answer
        x = x + sigma_next * noise() if sigma_next else x
    assert close(walked(course, network, prediction_type), x)


@torch.inference_mode()
def test_lcm_begins_at_the_distilled_timesteps():
    assert [
        LEVELS.timestep_at(s) for s in course_of("LCM", "Uniform", 3).sigmas(3)[:-1]
    ] == pytest.approx([999, 509, 19], abs=0.05)


@torch.inference_mode()
def test_restart_is_heun_with_noise_wherever_it_goes_up():
    network, noise, course = formula, Drawn(), course_of("Restart", "Karras", 20)
    x = noise() * course.sigmas(20)[0]

    def slope(x: Tensor, sigma: float) -> Tensor:
        return network(x / math.hypot(1, sigma), torch.tensor(LEVELS.timestep_at(sigma)))

    reached = math.inf
    for sigma, sigma_next in restart_steps(course.sigmas(20)):
        x = x + noise() * math.sqrt(sigma**2 - reached**2) if sigma > reached else x
        first = slope(x, sigma)
        there = x + (sigma_next - sigma) * first
        mean = (first + slope(there, sigma_next)) / 2 if sigma_next else first
        x, reached = x + (sigma_next - sigma) * mean, sigma_next
    assert noise.count == 2
    assert close(walked(course, network), x)


@pytest.mark.parametrize("row", list(SAMPLERS), ids=lambda row: row.name)
@torch.inference_mode()
def test_a_run_from_a_picture_goes_where_its_start_says(row):
    """At nearly no strength the picture stays, at full strength it is gone."""
    course = course_of(row.name, row.default_schedule, 10)
    quiet = lambda x, t: 0.1 * x  # noqa: E731 - a network that sees hardly any noise
    little, much = (
        walked(course, quiet, picture=PICTURE, strength=strength) for strength in (0.2, 1.0)
    )
    assert float((little - PICTURE).norm()) < float((much - PICTURE).norm())


@torch.inference_mode()
def test_dpm_adaptive_decides_through_the_stock_pipeline_how_many_steps_it_makes():
    components, states = tiny_components(), list[StepState]()
    course, counting = course_of("DPM adaptive", "Uniform", 20), Counting(components.unet)
    noise = noise_of([11, 12])
    scheduler = SamplerScheduler(
        course.sampler,
        course.from_noise(),
        course.model_sigmas,
        noise,
        "epsilon",
        states.append,
        course.settings,
    )
    guided = GuidedUNet(counting, steering(conditioning(1), conditioning(2)), 5.0)
    latents = stable_diffusion.txt2img(
        components, guided, scheduler, Txt2ImgRequest(width=64, height=64), noise()
    )
    assert latents.isfinite().all()
    assert len(states) == len(counting.timesteps) > 20
    assert scheduler.has_ended
    assert len(scheduler.timesteps) == len(states)
    assert [state.index for state in states] == list(range(len(states)))
    assert all(state.total > state.index for state in states)
    assert counting.timesteps == pytest.approx(
        [LEVELS.timestep_at(state.sigma) for state in states], abs=1e-2
    )


@torch.inference_mode()
def test_dpm_adaptive_repaints_a_picture_through_the_stock_pipeline():
    components, noise = tiny_components(), noise_of([11, 12])
    course = course_of("DPM adaptive", "Uniform", 20)
    scheduler = SamplerScheduler(
        course.sampler,
        course.from_image(0.5),
        course.model_sigmas,
        noise,
        "epsilon",
        lambda state: None,
        course.settings,
    )
    guided = GuidedUNet(components.unet, steering(conditioning(1), conditioning(2)), 5.0)
    latents = stable_diffusion.img2img(
        components, guided, scheduler, Txt2ImgRequest(), PICTURE[:1], noise
    )
    assert latents.shape == SHAPE
    assert scheduler.has_ended
    assert scheduler.total == scheduler.index > 3


class Absent:
    """Noise without numbers."""

    def __call__(self) -> Tensor:
        return torch.empty(SHAPE, device="meta")

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        return self()


@pytest.mark.parametrize(
    "row", [row for row in SAMPLERS if not row.is_adaptive], ids=lambda row: row.name
)
def test_no_step_looks_at_a_number_that_the_device_has_yet_to_compute(row):
    """On the device "meta" there are no numbers to look at: to ask for one raises."""
    course = course_of(row.name, row.default_schedule, 4, SamplingSettings(s_churn=1, eta_ddim=1))
    for prediction_type in PREDICTIONS:
        scheduler = SamplerScheduler(
            row,
            course.from_noise(),
            course.model_sigmas,
            Absent(),
            prediction_type,
            lambda state: None,
            course.settings,
        )
        x = torch.empty(SHAPE, device="meta")
        scheduler.uncond_pred = lambda: torch.empty(SHAPE, device="meta")
        scheduler.set_timesteps(4, "meta")
        for t in scheduler.timesteps:
            x = scheduler.step(scheduler.scale_model_input(x, t), t, x, return_dict=False)[0]
        assert x.shape == SHAPE
        assert scheduler.has_ended
