"""The table of samplers. Each is a generator (see `protocol`) and one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modules.core.registry import Registry
from modules.params.settings.sampling import SamplingSettings
from modules.sampling import run_start
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import SamplerFn
from modules.sampling.run_start import K_DIFFUSION, SIGMA_RANGE, TIMESTEP, RunStart, SamplerFamily
from modules.sampling.solvers import ddim, dpm2, dpm_solver, dpmpp, euler, lms, unipc

_ANCESTRAL = ("eta_ancestral", "eta_noise_seed_delta")
_CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta")
_UNIPC = ("uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "uni_pc_lower_order_final")


@dataclass(frozen=True)
class Sampler:
    """One row of the table.

    Args:
        name: As the page and the infotext show it.
        run: The generator.
        aliases: Other names that A1111's clients use.
        default_schedule: The schedule that "Automatic" resolves to.
        family: How its sigmas and its start are derived.
        options: The settings that affect it, in addition to those of its schedule and its family.
        evaluations_per_step: Network evaluations that count as one step in prompt editing.
        discards_next_to_last_sigma: Whether the schedule has one step more and its next-to-last sigma is dropped.
        uses_brownian_noise: Whether its noise is that of a Brownian motion.
        adapt_start: Replaces the start, for samplers that choose their own sigmas; its arguments are the start, whether
            the run is from noise, the model sigmas and the settings.
        timestep_stride: It uses every timestep_stride-th of the model's timesteps.
        v_prediction_option: Name of the option without which v-prediction is ignored; "" where it never is.
        needs_uncond: Whether it is sent the pair (guided prediction, uncond prediction).
        cfg_divisor: Divides the CFG scale.
        is_adaptive: Whether the number of evaluations is decided during the run.
    """

    name: str
    run: SamplerFn
    aliases: tuple[str, ...] = ()
    default_schedule: str = "Uniform"
    family: SamplerFamily = K_DIFFUSION
    options: tuple[str, ...] = ()
    evaluations_per_step: int = 1
    discards_next_to_last_sigma: bool = False
    uses_brownian_noise: bool = False
    adapt_start: Callable[[RunStart, bool, ModelSigmas, SamplingSettings], RunStart] | None = None
    timestep_stride: int = 1
    v_prediction_option: str = ""
    needs_uncond: bool = False
    cfg_divisor: float = 1.0
    is_adaptive: bool = False


SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    [
        Sampler("DPM++ 2M", dpmpp.dpmpp_2m, aliases=("k_dpmpp_2m",), default_schedule="Karras"),
        Sampler(
            "DPM++ SDE",
            dpmpp.dpmpp_sde,
            aliases=("k_dpmpp_sde",),
            default_schedule="Karras",
            options=("eta_ancestral", "s_noise"),
            evaluations_per_step=2,
            uses_brownian_noise=True,
        ),
        Sampler(
            "DPM++ 2M SDE",
            dpmpp.dpmpp_2m_sde,
            aliases=("k_dpmpp_2m_sde",),
            default_schedule="Exponential",
            options=("eta_ancestral", "s_noise"),
            uses_brownian_noise=True,
        ),
        Sampler(
            "DPM++ 2M SDE Heun",
            dpmpp.dpmpp_2m_sde_heun,
            aliases=("k_dpmpp_2m_sde_heun",),
            default_schedule="Exponential",
            options=("eta_ancestral", "s_noise"),
            uses_brownian_noise=True,
        ),
        Sampler(
            "DPM++ 2S a",
            dpmpp.dpmpp_2s_ancestral,
            aliases=("k_dpmpp_2s_a",),
            default_schedule="Karras",
            options=(*_ANCESTRAL, "s_noise"),
            evaluations_per_step=2,
        ),
        Sampler(
            "DPM++ 3M SDE",
            dpmpp.dpmpp_3m_sde,
            aliases=("k_dpmpp_3m_sde",),
            default_schedule="Exponential",
            options=("eta_ancestral", "s_noise"),
            discards_next_to_last_sigma=True,
            uses_brownian_noise=True,
        ),
        Sampler(
            "Euler a",
            euler.euler_ancestral,
            aliases=("k_euler_a", "k_euler_ancestral"),
            options=_ANCESTRAL,
        ),
        Sampler("Euler", euler.euler, aliases=("k_euler",), options=_CHURN),
        Sampler("LMS", lms.lms, aliases=("k_lms",)),
        Sampler("Heun", euler.heun, aliases=("k_heun",), options=_CHURN, evaluations_per_step=2),
        Sampler(
            "DPM2",
            dpm2.dpm2,
            aliases=("k_dpm_2",),
            default_schedule="Karras",
            options=_CHURN,
            evaluations_per_step=2,
            discards_next_to_last_sigma=True,
        ),
        Sampler(
            "DPM2 a",
            dpm2.dpm2_ancestral,
            aliases=("k_dpm_2_a",),
            default_schedule="Karras",
            options=(*_ANCESTRAL, "s_noise"),
            evaluations_per_step=2,
            discards_next_to_last_sigma=True,
        ),
        Sampler(
            "DPM fast",
            dpm_solver.dpm_fast,
            aliases=("k_dpm_fast",),
            options=(*_ANCESTRAL, "s_noise"),
            family=SIGMA_RANGE,
            adapt_start=run_start.dpm_solver_start,
        ),
        Sampler(
            "DPM adaptive",
            dpm_solver.dpm_adaptive,
            aliases=("k_dpm_ad",),
            options=_ANCESTRAL,
            family=SIGMA_RANGE,
            adapt_start=run_start.dpm_solver_start,
            is_adaptive=True,
        ),
        Sampler(
            "Restart",
            euler.restart,
            aliases=("restart",),
            default_schedule="Karras",
            options=("eta_noise_seed_delta",),
            evaluations_per_step=2,
        ),
        Sampler(
            "DDIM",
            ddim.ddim,
            aliases=("ddim",),
            family=TIMESTEP,
            options=("eta_ddim", "eta_noise_seed_delta"),
        ),
        Sampler(
            "DDIM CFG++",
            ddim.ddim_cfgpp,
            aliases=("ddim_cfgpp",),
            family=TIMESTEP,
            options=("eta_ddim", "eta_noise_seed_delta"),
            needs_uncond=True,
            cfg_divisor=ddim.CFGPP_DIVISOR,
        ),
        Sampler("PLMS", ddim.plms, aliases=("plms",), family=TIMESTEP),
        Sampler(
            "UniPC",
            unipc.unipc,
            aliases=("unipc",),
            family=TIMESTEP,
            options=_UNIPC,
            adapt_start=run_start.unipc_start,
        ),
        Sampler(
            "LCM",
            euler.lcm,
            aliases=("k_lcm",),
            options=("eta_noise_seed_delta", "lcm_v_prediction"),
            timestep_stride=euler.LCM_TIMESTEP_STRIDE,
            v_prediction_option="lcm_v_prediction",
        ),
    ],
)
