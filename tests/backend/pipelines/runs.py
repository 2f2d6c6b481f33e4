"""Runs of a tiny real model through our pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from modules.backend.components import Components
from modules.backend.denoise.step_extensions import StepExtension, StepState
from modules.backend.pipelines.sampling_run import make_run_sigmas
from modules.backend.pipelines.stable_diffusion import make_pipeline
from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.tiny import make_noise, prompt_conditioning, random_cond, sd1_model_sigmas
from tests.tolerance import assert_alike, rounding, run_gain

MODEL_SIGMAS = sd1_model_sigmas()
# As runs of k-diffusion samplers compute them.
RUN_SIGMAS = MODEL_SIGMAS.with_arithmetic(TORCH_FLOAT32)
COND, UNCOND = random_cond(1), random_cond(2)
CFG, SEEDS = 5.0, [11, 12]


class States(StepExtension):
    """Collects the state of every step."""

    def __init__(self) -> None:
        self.states: list[StepState] = []

    def on_step(self, state: StepState) -> None:
        self.states.append(state)


def make_plan(
    name: str,
    steps: int,
    *,
    strength: float | None = None,
    cfg: float = CFG,
    schedule: str = "Karras",
    settings: Settings | None = None,
) -> Plan:
    """Return the plan of a run; with a strength, from an init image."""
    request = Txt2ImgRequest(width=64, height=64, steps=steps, cfg_scale=cfg)
    if strength is not None:
        request = DepthRequest(steps=steps, cfg_scale=cfg, denoising_strength=strength)
    return Plan(
        request,
        None,
        SAMPLERS.get(name),
        SCHEDULES.get(schedule),
        (),
        settings=settings or Settings(),
    )


def start_of(plan: Plan) -> RunStart:
    run_sigmas = make_run_sigmas(plan, MODEL_SIGMAS)
    if isinstance(plan.request, DepthRequest):
        return run_sigmas.from_image(plan.request.denoising_strength)
    return run_sigmas.from_noise()


@torch.inference_mode()
def pipe(
    components: Components,
    plan: Plan,
    *,
    unet: Any = None,
    init_latents: Tensor | None = None,
    extensions: Sequence[StepExtension] = (),
    conds: tuple[Tensor, Tensor] = (COND, UNCOND),
    tables: dict[str, Any] | None = None,
) -> Tensor:
    """Return the final latents of a run through our pipeline, with other tables of predictions or guidances."""
    components = components if unet is None else replace(components, unet=unet)
    conditioning, pipeline = prompt_conditioning(*conds), make_pipeline(components)
    for name, table in (tables or {}).items():
        setattr(pipeline, name, table)
    return pipeline(plan, MODEL_SIGMAS, conditioning, make_noise(SEEDS), init_latents, extensions)


def predict(components: Components, x: Tensor, sigma: float) -> Tensor:
    """Return the denoised sample by its formula: x - sigma epsilon, with guidance."""
    t = torch.tensor(RUN_SIGMAS.timestep_at(sigma))
    x_in = torch.cat([x, x]) / (1 + sigma**2) ** 0.5
    both = torch.cat([UNCOND.expand(2, -1, -1), COND.expand(2, -1, -1)])
    uncond_pred, cond_pred = components.unet(x_in, t, encoder_hidden_states=both)[0].chunk(2)
    return x - sigma * (uncond_pred + CFG * (cond_pred - uncond_pred))


def assert_same_run(
    components: Components,
    found: Tensor,
    expected: Tensor,
    sigmas: Sequence[float],
    cfg: float = CFG,
) -> None:
    """Compare the latents of two runs; the network's predictions are about 1 in size."""
    gain = run_gain(sigmas, cfg)
    assert_alike(found, expected, rounding(components.unet), gain=gain, size=1.0)
