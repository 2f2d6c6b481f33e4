"""Converts other programs' names of samplers and schedules to A1111's."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# k-diffusion's and diffusers' names, as ComfyUI, Fooocus, InvokeAI and NovelAI use them.
_SAMPLERS: Mapping[str, str] = MappingProxyType(
    {
        "euler": "Euler",
        "euler_a": "Euler a",
        "euler_ancestral": "Euler a",
        "heun": "Heun",
        "dpm_2": "DPM2",
        "kdpm_2": "DPM2",
        "dpm_2_ancestral": "DPM2 a",
        "kdpm_2_a": "DPM2 a",
        "lms": "LMS",
        "dpm_fast": "DPM fast",
        "dpm_adaptive": "DPM adaptive",
        "dpmpp_2s": "DPM++ 2S a",
        "dpmpp_2s_ancestral": "DPM++ 2S a",
        "dpmpp_sde": "DPM++ SDE",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_2m_sde": "DPM++ 2M SDE",
        "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
        "dpmpp_3m_sde": "DPM++ 3M SDE",
        "ddim": "DDIM",
        "ddim_v3": "DDIM",
        "plms": "PLMS",
        "pndm": "PLMS",
        "uni_pc": "UniPC",
        "uni_pc_bh2": "UniPC",
        "unipc": "UniPC",
        "lcm": "LCM",
        "restart": "Restart",
        "ddpm": "DDPM",
        "heunpp2": "HeunPP2",
        "ipndm": "IPNDM",
        "ipndm_v": "IPNDM_V",
        "deis": "DEIS",
    }
)
_SCHEDULES: Mapping[str, str] = MappingProxyType(
    {
        "normal": "Normal",
        "native": "Normal",
        "karras": "Karras",
        "exponential": "Exponential",
        "polyexponential": "Polyexponential",
        "sgm_uniform": "SGM Uniform",
        "simple": "Simple",
        "ddim_uniform": "DDIM",
        "beta": "Beta",
        "kl_optimal": "KL Optimal",
        "align_your_steps": "Align Your Steps",
        "ays": "Align Your Steps",
        "turbo": "Turbo",
    }
)


def to_a1111_sampler(name: str) -> tuple[str, str]:
    """Return A1111's names of a k-diffusion sampler and of the schedule in its name, "" for none.

    The prefix "k_" and the suffixes "_gpu", "_cfg_pp" and "_k" (InvokeAI's Karras) are removed; unknown names are
    returned unchanged.
    """
    sampler = name.strip().removeprefix("k_").removesuffix("_gpu").removesuffix("_cfg_pp")
    base = sampler.removesuffix("_k")
    if base not in _SAMPLERS:
        return name, ""
    return _SAMPLERS[base], "Karras" if base != sampler else ""


def to_a1111_schedule(name: str) -> str:
    """Return A1111's name of a schedule; unknown names are returned unchanged."""
    return _SCHEDULES.get(name.strip(), name)
