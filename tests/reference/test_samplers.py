"""k-diffusion's samplers and schedules, LDM's DDIM and noise schedule, compared with ours on the same network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modules.backend.loading.loader import load_components
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import DEFAULTS
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.checkpoints import tiny_description, tiny_weights
from tests.backend.sampler_runs import (
    MODEL_SIGMAS,
    Network,
    SeededNoise,
    formula_network,
    make_run,
    run_sampler,
    tiny_network,
)
from tests.backend.tiny import sd1_alphas
from tests.reference.compare import CLOSE, FULL, agree, load_original

STEPS = 6
DEMO = Path(__file__).resolve().parents[2] / "models" / "Stable-diffusion" / "demo"
# Our name to their function and its extra arguments. The rest of A1111's samplers is not k-diffusion's.
K_DIFFUSION: dict[str, tuple[str, dict[str, Any]]] = {
    "DPM++ 2M": ("sample_dpmpp_2m", {}),
    "DPM++ SDE": ("sample_dpmpp_sde", {}),
    "DPM++ 2M SDE": ("sample_dpmpp_2m_sde", {}),
    "DPM++ 2M SDE Heun": ("sample_dpmpp_2m_sde", {"solver_type": "heun"}),
    "DPM++ 2S a": ("sample_dpmpp_2s_ancestral", {}),
    "DPM++ 3M SDE": ("sample_dpmpp_3m_sde", {}),
    "Euler a": ("sample_euler_ancestral", {}),
    "Euler": ("sample_euler", {}),
    "LMS": ("sample_lms", {}),
    "Heun": ("sample_heun", {}),
    "DPM2": ("sample_dpm_2", {}),
    "DPM2 a": ("sample_dpm_2_ancestral", {}),
    "DPM fast": ("sample_dpm_fast", {"eta": 1.0}),
    "DPM adaptive": ("sample_dpm_adaptive", {"eta": 1.0}),
}
SIGMA_SCHEDULES = [row.name for row in SCHEDULES if row.sigmas]


def integral(
    function: Callable[[float], float], begin: float, end: float, **_: Any
) -> tuple[float, float]:
    """Replace scipy's quad, with which k-diffusion integrates polynomials."""
    points, weights = np.polynomial.legendre.leggauss(5)
    middle, half = (float(begin) + float(end)) / 2, (float(end) - float(begin)) / 2
    return half * sum(
        w * function(middle + half * p) for p, w in zip(points, weights, strict=True)
    ), 0.0


@pytest.fixture
def k(original: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    sampling = original("k_diffusion.sampling")
    monkeypatch.setattr(sampling, "integrate", SimpleNamespace(quad=integral))
    return sampling


def denoiser_of(original: Callable[[str], Any], network: Network, prediction_type: str) -> Any:
    """Return k-diffusion's wrapper of an LDM model."""
    model = SimpleNamespace(
        apply_model=lambda x, t, cond: network(x, t),
        alphas_cumprod=sd1_alphas().float(),
        parameterization="v" if prediction_type == "v_prediction" else "eps",
    )
    external = original("k_diffusion.external")
    wrapper = {"epsilon": external.CompVisDenoiser, "v_prediction": external.CompVisVDenoiser}[
        prediction_type
    ]
    wrapped = wrapper(model)
    return lambda x, sigma: wrapped(x, sigma, cond=None)


def theirs(
    k: Any, denoiser: Any, name: str, sigmas: list[float], noise: SeededNoise, **named: Any
) -> Tensor:
    """Return the latents of k-diffusion's function for the same noise and the same sigmas."""
    function, extra = K_DIFFUSION[name]
    run = getattr(k, function)
    x = noise() * sigmas[0]
    named = {**extra, **named, "disable": True}
    if "noise_sampler" in inspect.signature(run).parameters:
        named["noise_sampler"] = noise.between
    if name in ("DPM fast", "DPM adaptive"):
        named |= {"sigma_min": MODEL_SIGMAS.sigma_min, "sigma_max": MODEL_SIGMAS.sigma_max}
        if name == "DPM fast":
            named["n"] = len(sigmas) - 1
        return run(denoiser, x, **named)
    return run(denoiser, x, torch.tensor(sigmas), **named)


@pytest.mark.parametrize("name", K_DIFFUSION)
@torch.inference_mode()
def test_a_sampler_agrees_with_k_diffusion_on_every_schedule(
    original: Callable[[str], Any], k: Any, name: str
):
    for prediction_type in ("epsilon", "v_prediction"):
        denoiser = denoiser_of(original, formula_network, prediction_type)
        for schedule in SIGMA_SCHEDULES:
            run_sigmas = make_run(name, schedule, STEPS)
            ours = run_sampler(run_sigmas, prediction_type=prediction_type)
            agree(ours, theirs(k, denoiser, name, run_sigmas.sigmas(STEPS), SeededNoise()))


@pytest.mark.parametrize("name", K_DIFFUSION)
@torch.inference_mode()
def test_a_sampler_agrees_with_k_diffusion_on_a_real_network(
    original: Callable[[str], Any], k: Any, name: str
):
    prediction_type = "v_prediction" if SAMPLERS.get(name).evaluations_per_step == 2 else "epsilon"
    network = tiny_network(prediction_type)
    run_sigmas = make_run(name, SAMPLERS.get(name).default_schedule, 4)
    denoiser = denoiser_of(original, network, prediction_type)
    agree(
        run_sampler(run_sigmas, network, prediction_type),
        theirs(k, denoiser, name, run_sigmas.sigmas(4), SeededNoise()),
        # Its sigmas add up to more, and each error changes the size of its steps as well.
        close=2 * CLOSE if SAMPLERS.get(name).is_adaptive else CLOSE,
    )


@pytest.fixture(scope="module", params=["demo", "demo-v2", "demo-inpainting"])
def demo(request: pytest.FixtureRequest) -> tuple[Network, str]:
    """The network of a bundled checkpoint with one prompt, and its prediction type."""
    file = DEMO / f"{request.param}.safetensors"
    components = load_components(file, file.with_suffix(".yaml"), FULL)
    width = components.unet.config["cross_attention_dim"]
    cond = torch.randn((1, 77, width), generator=torch.Generator().manual_seed(1)).expand(2, -1, -1)
    # The extra channels of an inpainting network.
    extra = torch.zeros((2, components.unet.config["in_channels"] - 4, 8, 8))

    def network(x: Tensor, t: Tensor) -> Tensor:
        return components.unet(torch.cat([x, extra], dim=1), t, encoder_hidden_states=cond)[0]

    return network, components.prediction_type


@pytest.mark.parametrize(
    ("name", "schedule"), [("DPM++ 2M", "Karras"), ("Euler a", "Uniform"), ("DPM++ SDE", "Beta")]
)
@torch.inference_mode()
def test_a_sampler_agrees_with_k_diffusion_on_the_demo_checkpoints(
    original: Callable[[str], Any], k: Any, demo: tuple[Network, str], name: str, schedule: str
):
    network, prediction_type = demo
    run_sigmas = make_run(name, schedule, 3)
    denoiser = denoiser_of(original, network, prediction_type)
    agree(
        run_sampler(run_sigmas, network, prediction_type),
        theirs(k, denoiser, name, run_sigmas.sigmas(3), SeededNoise()),
    )


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SIGMA_SCHEDULES)
@pytest.mark.parametrize("name", K_DIFFUSION)
@torch.inference_mode()
def test_every_sampler_agrees_on_every_schedule_on_the_demo_checkpoints(
    original: Callable[[str], Any], k: Any, demo: tuple[Network, str], name: str, schedule: str
):
    if (name, schedule) == ("DPM adaptive", "DDIM"):
        pytest.skip(
            "starts below its own first sigma, so that rounding decides the number of its steps"
        )
    network, prediction_type = demo
    run_sigmas = make_run(name, schedule, 4)
    denoiser = denoiser_of(original, network, prediction_type)
    agree(
        run_sampler(run_sigmas, network, prediction_type),
        theirs(k, denoiser, name, run_sigmas.sigmas(4), SeededNoise()),
    )


@pytest.mark.parametrize(
    "name", [name for name in K_DIFFUSION if "eta_ancestral" in SAMPLERS.get(name).options]
)
@pytest.mark.parametrize("eta", [0.0, 0.6])
@torch.inference_mode()
def test_eta_agrees_with_k_diffusion(original: Callable[[str], Any], k: Any, name: str, eta: float):
    strength = 0.9 if "s_noise" in SAMPLERS.get(name).options else 1.0
    run_sigmas = make_run(name, "Karras", STEPS, SamplingSettings(eta_ancestral=eta, s_noise=0.9))
    expected = theirs(
        k,
        denoiser_of(original, formula_network, "epsilon"),
        name,
        run_sigmas.sigmas(STEPS),
        SeededNoise(),
        eta=eta,
        s_noise=strength,
    )
    agree(run_sampler(run_sigmas), expected)


@pytest.mark.parametrize("name", ["Euler", "Heun", "DPM2"])
@torch.inference_mode()
def test_churn_agrees_with_k_diffusion(
    original: Callable[[str], Any], k: Any, monkeypatch: pytest.MonkeyPatch, name: str
):
    churn = {"s_churn": 3.0, "s_tmin": 0.2, "s_tmax": 5.0, "s_noise": 1.05}
    run_sigmas, noise = make_run(name, "Karras", STEPS, SamplingSettings(**churn)), SeededNoise()
    monkeypatch.setattr(torch, "randn_like", lambda x: noise())
    denoiser = denoiser_of(original, formula_network, "epsilon")
    expected = theirs(k, denoiser, name, run_sigmas.sigmas(STEPS), noise, **churn)
    agree(run_sampler(run_sigmas), expected)


@pytest.mark.parametrize("name", ["DPM++ SDE", "DPM++ 2M SDE", "DPM++ 3M SDE"])
@torch.inference_mode()
def test_the_brownian_motion_is_queried_between_the_same_sigmas(
    original: Callable[[str], Any], k: Any, name: str
):
    run_sigmas, expected, ours = make_run(name, "Exponential", STEPS), SeededNoise(), SeededNoise()
    theirs(
        k,
        denoiser_of(original, formula_network, "epsilon"),
        name,
        run_sigmas.sigmas(STEPS),
        expected,
    )
    steps = run_sigmas.sampler.run(torch.zeros(1), run_sigmas.from_noise().sigmas, ours, DEFAULTS)
    x, _ = next(steps)
    with pytest.raises(StopIteration):
        while True:
            x, _ = steps.send(x * 0)
    assert np.allclose(ours.steps, expected.steps, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 10, 33])
def test_schedules_agree_with_k_diffusion(original: Callable[[str], Any], k: Any, steps: int):
    denoiser = original("k_diffusion.external").CompVisDenoiser(
        SimpleNamespace(alphas_cumprod=sd1_alphas().float())
    )
    ends = float(denoiser.sigma_min), float(denoiser.sigma_max)
    expected = {
        "Uniform": denoiser.get_sigmas(steps),
        "Karras": k.get_sigmas_karras(steps, *ends),
        "Exponential": k.get_sigmas_exponential(steps, *ends),
        "Polyexponential": k.get_sigmas_polyexponential(steps, *ends),
    }
    for name, sigmas in expected.items():
        agree(torch.tensor(SCHEDULES.get(name).sigmas(steps, MODEL_SIGMAS, DEFAULTS)), sigmas)


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept")  # the original with NumPy 2
@pytest.mark.parametrize("eta", [0.0, 0.7])
@torch.inference_mode()
def test_ddim_agrees_with_ldm_up_to_its_last_step(
    original: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, eta: float
):
    """LDM's last step, from timestep 1 to 0, is skipped, as in A1111."""
    alphas, noise = sd1_alphas(), SeededNoise()
    alphas_prev = torch.cat([torch.ones(1), alphas[:-1]])
    model = SimpleNamespace(
        apply_model=lambda x, t, cond: formula_network(x, t.float()),
        num_timesteps=1000,
        alphas_cumprod=alphas.float(),
        alphas_cumprod_prev=alphas_prev.float(),
        betas=(1 - alphas / alphas_prev).float(),
        device=torch.device("cpu"),
        parameterization="eps",
    )
    first, module = noise(), original("ldm.models.diffusion.ddim")
    monkeypatch.setattr(module, "noise_like", lambda *_: noise())
    ddim = module.DDIMSampler(model)
    arguments = {
        "S": STEPS,
        "batch_size": 2,
        "shape": (4, 8, 8),
        "x_T": first,
        "log_every_t": 1,
        "eta": eta,
    }
    _, steps = ddim.sample(conditioning=None, verbose=False, **arguments)
    agree(
        run_sampler(make_run("DDIM", "Uniform", STEPS, SamplingSettings(eta_ddim=eta))),
        steps["x_inter"][-2],
    )


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
