"""Plans the inversion of an init image to its noise: the plan of the pass with the fields of `NoiseFromImageFields`."""

from __future__ import annotations

from dataclasses import replace

from modules.params.requests.base import GenerationRequest
from modules.params.requests.noise_from_image import NoiseFromImageFields
from modules.plan.plan import Plan
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES

# It takes the model's own sigmas, whatever the options say of the schedule.
_OPTIONS = {
    "always_discard_next_to_last_sigma": False,
    "enable_quantization": False,
    "sigma_min": 0.0,
    "sigma_max": 0.0,
}


def finds_noise(request: GenerationRequest) -> bool:
    """Return whether the noise of a request's run is that of its init image."""
    return isinstance(request, NoiseFromImageFields) and request.decode_steps > 0


def decoding_plan(plan: Plan) -> Plan:
    """Return the plan of the inversion; of its sigmas and prompts, which count from the image on, nothing else counts.

    Args:
        plan: Of a request that `finds_noise`.
    """
    request = plan.request
    assert isinstance(request, NoiseFromImageFields)
    decoding = request.replace(
        prompt=request.decode_prompt,
        negative_prompt=request.decode_negative_prompt,
        steps=request.decode_steps,
        cfg_scale=request.decode_cfg_scale,
    )
    return replace(
        plan,
        request=decoding,
        sampler=SAMPLERS.get("Euler"),
        schedule=SCHEDULES.get("Uniform"),
        settings=plan.settings.replace(**_OPTIONS),
        refiner=None,
    )
