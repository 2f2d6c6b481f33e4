"""What the UNet of a .yaml predicts and the noise schedule it was trained on, in LDM's terms or in generative-models'."""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.errors import Unsupported, UserError
from modules.models.ldm.yaml import YamlSection

# By the class in generative-models (sgm/modules/diffusionmodules/denoiser_scaling.py) LDM's parameterization.
_SCALINGS = {"EpsScaling": "eps", "VScaling": "v"}
_DISCRETIZATIONS = ("LegacyDDPMDiscretization",)
_SGM_START, _SGM_END = 0.00085, 0.0120  # its defaults


@dataclass(frozen=True)
class NoiseScheduleConfig:
    """A noise schedule whose betas rise linearly in their square root.

    Args:
        linear_start: The first beta.
        linear_end: The last one.
        timesteps: Their number.
        parameterization: What the UNet predicts: "eps" or "v".
    """

    linear_start: float
    linear_end: float
    timesteps: int
    parameterization: str


def read_noise_schedule(model: YamlSection) -> NoiseScheduleConfig:
    """Return the noise schedule of a .yaml.

    Args:
        model: `model.params` of the .yaml.

    Raises:
        UserError: a value is out of range.
        Unsupported: it is another kind of schedule or prediction.
    """
    parameterization = read_parameterization(model)
    denoiser = model.section("denoiser_config").section("params")
    if denoiser.values:
        discretization = denoiser.section("discretization_config")
        name = _class_name(discretization, _DISCRETIZATIONS[0])
        if name not in _DISCRETIZATIONS:
            raise _unsupported_error(discretization, name)
        params = discretization.section("params")
        schedule = NoiseScheduleConfig(
            params.number("linear_start", _SGM_START),
            params.number("linear_end", _SGM_END),
            params.integer("num_timesteps", 1000),
            parameterization,
        )
    else:
        schedule = NoiseScheduleConfig(
            model.number("linear_start", 1e-4),
            model.number("linear_end", 2e-2),
            model.integer("timesteps", 1000),
            parameterization,
        )
    _check(schedule, model)
    return schedule


def read_parameterization(model: YamlSection) -> str:
    """Return what the UNet predicts, "eps" or "v".

    Args:
        model: `model.params` of the .yaml.

    Raises:
        Unsupported: it is something else.
    """
    scaling = model.section("denoiser_config").section("params").section("scaling_config")
    if scaling.values:
        name = _class_name(scaling, "")
        if name not in _SCALINGS:
            raise _unsupported_error(scaling, name)
        return _SCALINGS[name]
    model.require_supported({"parameterization": ("eps", "v")})
    return model.string("parameterization", "eps")


def _class_name(section: YamlSection, default: str) -> str:
    return section.string("target", default).rpartition(".")[2]


def _unsupported_error(section: YamlSection, name: str) -> Unsupported:
    return Unsupported(
        f"'{section.file}' sets {section.key_path}.target to {name}, which is not supported."
    )


def _check(schedule: NoiseScheduleConfig, model: YamlSection) -> None:
    if not 0 < schedule.linear_start < schedule.linear_end < 1:
        found = f"{schedule.linear_start} and {schedule.linear_end}"
        text = f"In '{model.file}', linear_start and linear_end should rise between 0 and 1, not {found}."
        raise UserError(text)
    if not 1 < schedule.timesteps <= 100_000:
        text = f"In '{model.file}', timesteps should be between 2 and 100000, not {schedule.timesteps}."
        raise UserError(text)
