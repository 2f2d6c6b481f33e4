"""The recipes of the denoising loop: add a row or an extension, see it in the latents."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from modules.backend.denoise.guidance import GUIDANCES, Guidance
from modules.backend.denoise.prediction import PREDICTIONS, Prediction
from modules.backend.denoise.step_extensions import StepExtension
from modules.params.settings import Settings
from tests.backend.pipelines.runs import make_plan, pipe
from tests.backend.tiny import tiny_components

STEPS = 3


def test_a_prediction_type_is_a_function_and_a_row():
    def from_negated_noise(x: Tensor, output: Tensor, sigma: float, _: float) -> Tensor:
        return x + output * sigma

    predictions = PREDICTIONS.copy()
    scale = PREDICTIONS.get("epsilon").input_scale
    predictions.add(Prediction("negated_noise", scale, from_negated_noise))
    components, plan = tiny_components(), make_plan("Euler", STEPS, cfg=1.0)
    negated = replace(components, prediction_type="negated_noise")
    expected = pipe(components, plan, unet=Negated(components.unet))
    assert torch.equal(pipe(negated, plan, tables={"predictions": predictions}), expected)


class Negated(torch.nn.Module):
    """The network with its output negated."""

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.unet, self.config = unet, unet.config
        self.dtype, self.device = unet.dtype, unet.device

    def forward(self, *args: object, **kwargs: object) -> tuple[Tensor]:
        return (-self.unet(*args, **kwargs)[0],)


def test_a_way_of_guidance_is_a_function_and_a_row():
    unguided = Guidance(
        "Prompt alone", lambda s: s.cfg_rescale == 1, lambda preds, scale, _: preds.conds[0]
    )
    tables = {"guidances": (unguided, *GUIDANCES)}
    components, settings = tiny_components(), Settings(cfg_rescale=1, batch_cond_uncond=False)
    guided = pipe(components, make_plan("Euler", STEPS, cfg=7.0, settings=settings), tables=tables)
    assert torch.equal(guided, pipe(components, make_plan("Euler", STEPS, cfg=1.0)))


def test_a_part_of_every_step_is_an_extension():
    class Constant(StepExtension):
        def after(self, denoised: Tensor, sigma: float) -> Tensor:
            return torch.ones_like(denoised)

    latents = pipe(tiny_components(), make_plan("Euler", STEPS), extensions=[Constant()])
    assert torch.allclose(latents, torch.ones_like(latents), atol=1e-6)
