"""Options of samplers, schedules and noise, named as in A1111."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param


class SamplingSettings(BaseModel):
    """How images are sampled, in addition to the request's own fields."""

    randn_source: Literal["GPU", "CPU", "NV"] = param(
        "GPU",
        "Random number generator",
        help="Where noise is generated; NV gives the noise of an NVIDIA GPU everywhere, and so does GPU without such a GPU.",
        infotext="RNG",
        section="sampling",
    )
    eta_noise_seed_delta: int = param(
        0,
        "Eta noise seed delta",
        help="Added to the seed of all noise after the initial noise; 31337 reproduces NovelAI's pictures.",
        infotext="ENSD",
        ge=0,
        le=2**32 - 1,
        section="sampling",
    )
    eta_ancestral: float = param(
        1.0,
        "Eta for k-diffusion samplers",
        help="How much new noise ancestral and SDE samplers add in each step; less changes less from step to step, 0 adds none.",
        infotext="Eta",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="sampling",
    )
    eta_ddim: float = param(
        0.0,
        "Eta for DDIM",
        help="How much new noise DDIM adds in each step; 0 adds none.",
        infotext="Eta DDIM",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
        section="sampling",
    )
    ddim_discretize: Literal["uniform", "quad"] = param(
        "uniform",
        "DDIM's timesteps in img2img",
        help="Kept for old clients: timestep samplers always space their steps evenly, as in A1111 since 1.6.",
        infotext="DDIM discretize",
        section="sampling",
    )
    s_churn: float = param(
        0.0,
        "Sigma churn",
        help="Noise that Euler, Heun and DPM2 add before a step; 0 adds none.",
        infotext="Sigma churn",
        ge=0,
        le=100,
        slider=(0, 100, 0.01),
        section="sampling",
    )
    s_tmin: float = param(
        0.0,
        "Sigma tmin",
        help="Below this noise level no churn noise is added.",
        infotext="Sigma tmin",
        ge=0,
        le=10,
        slider=(0, 10, 0.01),
        section="sampling",
    )
    s_tmax: float = param(
        0.0,
        "Sigma tmax",
        help="Above this noise level no churn noise is added; 0 means no limit.",
        infotext="Sigma tmax",
        ge=0,
        le=999,
        slider=(0, 999, 0.01),
        section="sampling",
    )
    s_noise: float = param(
        1.0,
        "Sigma noise",
        help="Strength of the added noise; slightly above 1 keeps more detail.",
        infotext="Sigma noise",
        ge=0,
        le=1.1,
        slider=(0, 1.1, 0.001),
        section="sampling",
    )
    sigma_min: float = param(
        0.0,
        "Sigma min",
        help="The schedule's smallest noise level; 0 uses the model's.",
        infotext="Schedule min sigma",
        ge=0,
        le=100,
        section="sampling",
    )
    sigma_max: float = param(
        0.0,
        "Sigma max",
        help="The schedule's largest noise level; 0 uses the model's.",
        infotext="Schedule max sigma",
        ge=0,
        le=1000,
        section="sampling",
    )
    rho: float = param(
        0.0,
        "Rho",
        help="Higher values spend more steps on small noise levels (Karras, Polyexponential); 0 uses the schedule's default.",
        infotext="Schedule rho",
        ge=0,
        le=100,
        section="sampling",
    )
    beta_dist_alpha: float = param(
        0.6,
        "Beta schedule's alpha",
        help="Smaller values spend more steps at the beginning.",
        infotext="Beta schedule alpha",
        ge=0.01,
        le=5,
        slider=(0.01, 5, 0.01),
        section="sampling",
    )
    beta_dist_beta: float = param(
        0.6,
        "Beta schedule's beta",
        help="Smaller values spend more steps at the end.",
        infotext="Beta schedule beta",
        ge=0.01,
        le=5,
        slider=(0.01, 5, 0.01),
        section="sampling",
    )
    use_old_karras_scheduler_sigmas: bool = param(
        False,
        "Old Karras sigmas",
        help="Karras runs from sigma 10 to 0.1, as in early versions of A1111.",
        infotext="Old Karras sigmas",
        section="sampling",
    )
    always_discard_next_to_last_sigma: bool = param(
        False,
        "Always discard the next-to-last sigma",
        help="Skips the last small step of every schedule.",
        infotext="Discard penultimate sigma",
        section="sampling",
    )
    sgm_noise_multiplier: bool = param(
        False,
        "SGM noise multiplier",
        help="Scales the initial noise as the original code of SDXL does.",
        infotext="SGM noise multiplier",
        section="sampling",
    )
    sd_noise_schedule: Literal["Default", "Zero Terminal SNR"] = param(
        "Default",
        "Noise schedule",
        help="Zero Terminal SNR starts sampling from pure noise; for models trained that way.",
        infotext="Noise Schedule",
        section="sampling",
    )
    use_downcasted_alpha_bar: bool = param(
        False,
        "Downcast alphas_cumprod",
        help="Rounds the model's noise levels to half precision, as A1111 did before 1.7.",
        infotext="Downcast alphas_cumprod",
        section="sampling",
    )
    enable_quantization: bool = param(
        False,
        "Quantize timesteps",
        help="Rounds the timesteps of the network to whole numbers.",
        infotext="Quantized timesteps",
        section="sampling",
    )
    lcm_v_prediction: bool = param(
        False,
        "LCM with v-prediction",
        help="Uses the prediction type of v-prediction checkpoints; off takes their output for noise, as A1111 does.",
        infotext="LCM v-prediction",
        section="sampling",
    )
    uni_pc_variant: Literal["bh1", "bh2", "vary_coeff"] = param(
        "bh1",
        "UniPC variant",
        help="The formula of UniPC's steps, as its paper names them; another one changes details.",
        infotext="UniPC variant",
        section="sampling",
    )
    uni_pc_skip_type: Literal["time_uniform", "time_quadratic", "logSNR"] = param(
        "time_uniform",
        "UniPC skip type",
        help="How UniPC spaces its timesteps.",
        infotext="UniPC skip type",
        section="sampling",
    )
    uni_pc_order: int = param(
        3,
        "UniPC order",
        help="How many previous steps UniPC uses; lower than the number of steps.",
        infotext="UniPC order",
        ge=1,
        le=50,
        slider=(1, 50, 1),
        section="sampling",
    )
    uni_pc_lower_order_final: bool = param(
        True,
        "UniPC lower order final",
        help="Lowers UniPC's order in its last steps.",
        infotext="UniPC lower order final",
        section="sampling",
    )
    refiner_switch_by_sample_steps: bool = param(
        False,
        "Switch to the refiner by sampling steps",
        help="Counts the steps that are done for the refiner's turn, in place of the noise that is removed.",
        infotext="Refiner switch by sampling steps",
        section="sampling",
    )
    tiling: bool = param(
        False,
        "Tiling",
        help="Makes pictures that can be tiled without seams.",
        infotext="Tiling",
        section="sampling",
    )
