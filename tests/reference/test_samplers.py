"""k-diffusion's samplers, LDM's DDIM and its noise schedule, beside ours on one tiny network with both prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.backend.guidance import GuidedUNet
from modules.backend.noise import ImageNoise
from modules.backend.scheduler import SamplerScheduler
from modules.sampling.part_way import whole
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.checkpoints import tiny_description, tiny_weights
from tests.backend.tiny import conditioning, noise_of, sd1_alphas, sd1_levels, tiny_components
from tests.reference.compare import agree, load_original

LEVELS = sd1_levels()
COND, UNCOND = (conditioning(seed).expand(2, -1, -1) for seed in (1, 2))
CFG, STEPS = 5.0, 6
K_DIFFUSION = {"Euler": "sample_euler", "Euler a": "sample_euler_ancestral", "DPM++ 2M": "sample_dpmpp_2m"}


def noise() -> ImageNoise:
    return noise_of([11, 12])


def sampled(name: str, sigmas: list[float], prediction_type: str) -> Tensor:
    """Return our sampler's latents."""
    components, draw = tiny_components(prediction_type), noise()
    scheduler = SamplerScheduler(
        SAMPLERS.get(name), whole(sigmas), LEVELS, draw, prediction_type, lambda state: None
    )
    guided = GuidedUNet(components.unet, COND[:1], UNCOND[:1], CFG)
    x = draw() * scheduler.init_noise_sigma
    scheduler.set_timesteps(STEPS)
    for t in scheduler.timesteps:
        answer = guided(scheduler.scale_model_input(x, t), t)[0]
        x = scheduler.step(answer, t, x, return_dict=False)[0]
    return x


def latent_diffusion() -> Any:
    """Return the tiny network as LDM's samplers and k-diffusion's wrappers want it."""
    alphas, unet = sd1_alphas(), tiny_components().unet
    return SimpleNamespace(
        apply_model=lambda x, t, cond: unet(x, t, cond).sample,
        num_timesteps=1000,
        alphas_cumprod=alphas.float(),
        alphas_cumprod_prev=torch.cat([torch.ones(1), alphas[:-1]]).float(),
        betas=(1 - alphas / torch.cat([torch.ones(1), alphas[:-1]])).float(),
        device=torch.device("cpu"),
        parameterization="eps",
    )


@torch.inference_mode()
@pytest.mark.parametrize("schedule", ["Uniform", "Karras"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", K_DIFFUSION)
def test_a_sampler_agrees_with_k_diffusion(
    original: Callable[[str], Any], name: str, prediction_type: str, schedule: str
):
    k, external = original("k_diffusion.sampling"), original("k_diffusion.external")
    wrapper = {"epsilon": external.CompVisDenoiser, "v_prediction": external.CompVisVDenoiser}
    denoiser = wrapper[prediction_type](latent_diffusion())
    if schedule == "Karras":
        sigmas = k.get_sigmas_karras(STEPS, denoiser.sigma_min, denoiser.sigma_max)
    else:
        sigmas = denoiser.get_sigmas(STEPS)
    ours = SCHEDULES.get(schedule).sigmas(STEPS, LEVELS)
    agree(torch.tensor(ours), sigmas)

    def guided(x: Tensor, sigma: Tensor) -> Tensor:
        without, cond = denoiser(x, sigma, cond=UNCOND), denoiser(x, sigma, cond=COND)
        return without + CFG * (cond - without)

    draw = noise()
    named = {"noise_sampler": lambda *_: draw()} if name == "Euler a" else {}
    theirs = getattr(k, K_DIFFUSION[name])(guided, draw() * sigmas[0], sigmas, disable=True, **named)
    agree(sampled(name, ours, prediction_type), theirs)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept")  # the original with NumPy 2
@torch.inference_mode()
def test_ddim_agrees_with_ldm_up_to_its_last_step(original: Callable[[str], Any]):
    """The last step of LDM's, from timestep 1 to 0, is not taken, as in A1111."""
    ddim = original("ldm.models.diffusion.ddim").DDIMSampler(latent_diffusion())
    guidance = {"unconditional_guidance_scale": CFG, "unconditional_conditioning": UNCOND}
    walk = {"S": STEPS, "batch_size": 2, "shape": (4, 8, 8), "x_T": noise()(), "log_every_t": 1}
    _, steps = ddim.sample(conditioning=COND, verbose=False, **walk, **guidance)
    levels = SAMPLERS.get("DDIM").own_sigmas(STEPS, LEVELS)
    agree(sampled("DDIM", levels, "epsilon"), steps["x_inter"][-2])


@pytest.mark.parametrize("noise_range", [(0.00085, 0.012, 1000), (0.001, 0.02, 500)])
def test_the_noise_schedule_agrees_with_ldm(
    tmp_path: Path, original: Callable[[str], Any], noise_range: tuple[float, float, int]
):
    start, end, count = noise_range
    util = original("ldm.modules.diffusionmodules.util")
    theirs = np.cumprod(1 - util.make_beta_schedule("linear", count, start, end))
    changes = {"linear_start": start, "linear_end": end, "timesteps": count}
    components = load_original(tmp_path, tiny_weights(), tiny_description(changes))
    agree(components.alphas_cumprod.log(), torch.from_numpy(theirs).log())
