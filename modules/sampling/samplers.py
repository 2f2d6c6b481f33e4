"""The table of samplers. Each is a generator (`walk`) and one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from modules.core.registry import Registry
from modules.params.settings.sampling import SamplingSettings
from modules.sampling import ddim, dpm2, dpm_solver, dpmpp, euler, lcm, lms, own_levels, unipc
from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.part_way import K_DIFFUSION, OF_A_RANGE, TIMESTEPS, Kind, Start
from modules.sampling.walk import SamplerFn

_ANCESTRAL = ("eta_ancestral", "eta_noise_seed_delta")
_CHURN = ("s_churn", "s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta")
_UNIPC = ("uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "uni_pc_lower_order_final")


@dataclass(frozen=True)
class Sampler:
    """One row of the table.

    Args:
        name: What the page shows and the infotext carries.
        run: The generator.
        aliases: Other names by which A1111's clients ask for it.
        automatic: The schedule that "Automatic" stands for.
        kind: How it comes to its levels.
        options: The settings that it listens to, beside those that its schedule and its kind do.
        calls_per_step: How many evaluations of the network count as one step where a prompt changes at a step.
        discards_next_to_last: Whether it leaves out the next-to-last level of a schedule with one step more.
        is_brownian: Whether its noise is that of a Brownian motion.
        own_levels: From the start within the chosen levels to the levels it walks instead; whether the run is a whole
            one, the model's levels and the options say how.
        stride: How many of the model's timesteps one of its levels stands for.
        needs_unguided: Whether it is sent the pair of the guided prediction and the negative prompt's alone.
        cfg_divisor: What the CFG scale is divided by.
        is_adaptive: Whether it decides on the way how many evaluations it needs.
    """

    name: str
    run: SamplerFn
    aliases: tuple[str, ...] = ()
    automatic: str = "Uniform"
    kind: Kind = K_DIFFUSION
    options: tuple[str, ...] = ()
    calls_per_step: int = 1
    discards_next_to_last: bool = False
    is_brownian: bool = False
    own_levels: Callable[[Start, bool, NoiseLevels, SamplingSettings], Start] | None = None
    stride: int = 1
    needs_unguided: bool = False
    cfg_divisor: float = 1.0
    is_adaptive: bool = False


SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    [
        Sampler("DPM++ 2M", dpmpp.dpmpp_2m, aliases=("k_dpmpp_2m",), automatic="Karras"),
        Sampler(
            "DPM++ SDE",
            dpmpp.dpmpp_sde,
            aliases=("k_dpmpp_sde",),
            automatic="Karras",
            options=("eta_ancestral", "s_noise"),
            calls_per_step=2,
            is_brownian=True,
        ),
        Sampler(
            "DPM++ 2M SDE",
            dpmpp.dpmpp_2m_sde,
            aliases=("k_dpmpp_2m_sde",),
            automatic="Exponential",
            options=("eta_ancestral", "s_noise"),
            is_brownian=True,
        ),
        Sampler(
            "DPM++ 2M SDE Heun",
            dpmpp.dpmpp_2m_sde_heun,
            aliases=("k_dpmpp_2m_sde_heun",),
            automatic="Exponential",
            options=("eta_ancestral", "s_noise"),
            is_brownian=True,
        ),
        Sampler(
            "DPM++ 2S a",
            dpmpp.dpmpp_2s_ancestral,
            aliases=("k_dpmpp_2s_a",),
            automatic="Karras",
            options=(*_ANCESTRAL, "s_noise"),
            calls_per_step=2,
        ),
        Sampler(
            "DPM++ 3M SDE",
            dpmpp.dpmpp_3m_sde,
            aliases=("k_dpmpp_3m_sde",),
            automatic="Exponential",
            options=("eta_ancestral", "s_noise"),
            discards_next_to_last=True,
            is_brownian=True,
        ),
        Sampler(
            "Euler a",
            euler.euler_ancestral,
            aliases=("k_euler_a", "k_euler_ancestral"),
            options=_ANCESTRAL,
        ),
        Sampler("Euler", euler.euler, aliases=("k_euler",), options=_CHURN),
        Sampler("LMS", lms.lms, aliases=("k_lms",)),
        Sampler("Heun", euler.heun, aliases=("k_heun",), options=_CHURN, calls_per_step=2),
        Sampler(
            "DPM2",
            dpm2.dpm2,
            aliases=("k_dpm_2",),
            automatic="Karras",
            options=_CHURN,
            calls_per_step=2,
            discards_next_to_last=True,
        ),
        Sampler(
            "DPM2 a",
            dpm2.dpm2_ancestral,
            aliases=("k_dpm_2_a",),
            automatic="Karras",
            options=(*_ANCESTRAL, "s_noise"),
            calls_per_step=2,
            discards_next_to_last=True,
        ),
        Sampler(
            "DPM fast",
            dpm_solver.dpm_fast,
            aliases=("k_dpm_fast",),
            options=(*_ANCESTRAL, "s_noise"),
            kind=OF_A_RANGE,
            own_levels=own_levels.of_the_range,
        ),
        Sampler(
            "DPM adaptive",
            dpm_solver.dpm_adaptive,
            aliases=("k_dpm_ad",),
            options=_ANCESTRAL,
            kind=OF_A_RANGE,
            own_levels=own_levels.of_the_range,
            is_adaptive=True,
        ),
        Sampler(
            "Restart",
            euler.restart,
            aliases=("restart",),
            automatic="Karras",
            options=("eta_noise_seed_delta",),
            calls_per_step=2,
        ),
        Sampler(
            "DDIM",
            ddim.ddim,
            aliases=("ddim",),
            kind=TIMESTEPS,
            options=("eta_ddim", "eta_noise_seed_delta"),
        ),
        Sampler(
            "DDIM CFG++",
            ddim.ddim_cfgpp,
            aliases=("ddim_cfgpp",),
            kind=TIMESTEPS,
            options=("eta_ddim", "eta_noise_seed_delta"),
            needs_unguided=True,
            cfg_divisor=ddim.CFGPP_DIVISOR,
        ),
        Sampler("PLMS", ddim.plms, aliases=("plms",), kind=TIMESTEPS),
        Sampler(
            "UniPC",
            unipc.unipc,
            aliases=("unipc",),
            kind=TIMESTEPS,
            options=_UNIPC,
            own_levels=own_levels.of_unipc,
        ),
        Sampler(
            "LCM",
            lcm.lcm,
            aliases=("k_lcm",),
            options=("eta_noise_seed_delta",),
            stride=lcm.STRIDE,
        ),
    ],
)
