"""Which options a run listens to. Those that change nothing are neither kept nor written into a picture."""

from __future__ import annotations

from modules.params.settings_sampling import SamplingSettings
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES, Schedule

_OF_A_KIND = ("sgm_noise_multiplier", "always_discard_next_to_last_sigma", "enable_quantization")
# All options that some sampler or schedule listens to and another one does not.
HEARD_BY_SOME = frozenset(
    {*_OF_A_KIND, "ddim_discretize"}
    | {name for row in SAMPLERS for name in row.options}
    | {name for row in SCHEDULES for name in row.options}
)


def heard(
    sampler: Sampler, schedule: Schedule, settings: SamplingSettings, from_noise: bool
) -> frozenset[str]:
    """Return the names out of HEARD_BY_SOME that can change a run.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by what it stands for.
        settings: All options: one may take the effect of another.
        from_noise: Whether the run begins with noise alone.
    """
    names = {*sampler.options, "always_discard_next_to_last_sigma"}
    if sampler.kind.hears_schedule:
        names |= {*schedule.options, "enable_quantization"}
        if from_noise:
            names.add("sgm_noise_multiplier")
    if sampler.discards_next_to_last:
        names.remove("always_discard_next_to_last_sigma")
    if sampler.stride > 1:
        names.remove("enable_quantization")
    if settings.use_old_karras_scheduler_sigmas and settings.sigma_min and settings.sigma_max:
        names.discard("use_old_karras_scheduler_sigmas")
    return frozenset(names - _silent(names, settings))


def _silent(names: set[str], settings: SamplingSettings) -> set[str]:
    """Return what would count if there were noise to add."""
    sources = {"eta_ancestral", "eta_ddim", "s_churn"} & names
    if not sources or any(getattr(settings, source) for source in sources):
        return set()
    return {"s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta"}
