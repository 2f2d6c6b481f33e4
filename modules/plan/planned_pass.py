"""One planned pass of a job, with the values by which an option's effect on it is decided."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from modules.models.families import Family
from modules.params.requests.tasks import Task
from modules.params.settings import Settings
from modules.params.settings.sampling import SamplingSettings
from modules.plan.noise_from_image import decoding_plan, finds_noise
from modules.plan.plan import Plan
from modules.prompt.chunks import Chunker
from modules.prompt.embeddings import NO_EMBEDDINGS, EmbeddingWords
from modules.prompt.sub_prompts import SubPrompt, parse_negative_prompt, parse_prompt
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule


@dataclass(frozen=True)
class PlannedPass:
    """The first pass of a job or its hires pass, with all options as submitted.

    Args:
        plan: Its plan.
        task: Of its request.
        family: Of its checkpoint.
        tokenizer: Splits its prompts.
        may_predict_v: Whether its checkpoint predicts v, or may do so as far as is known.
        words: The embeddings that its prompts may name.
    """

    plan: Plan
    task: Task
    family: Family
    tokenizer: ClipTokenizer
    may_predict_v: bool = True
    words: EmbeddingWords = NO_EMBEDDINGS

    @property
    def settings(self) -> Settings:
        """Return the options."""
        return self.plan.settings

    @property
    def starts_from_image(self) -> bool:
        """Return whether the pass repaints an image."""
        return "init image" in self.task.needs

    @cached_property
    def sampling_options(self) -> frozenset[str]:
        """Return the sampling options that can change the pass."""
        plan = self.plan
        used = used_sampling_options(
            plan.sampler, plan.schedule, plan.settings, from_noise=not self.starts_from_image
        )
        return used if self.may_predict_v else used - {plan.sampler.v_prediction_option}

    def sub_prompts(self, *, old_scheduling: bool) -> tuple[SubPrompt, ...]:
        """Return the sub-prompts, the negative prompt last, with prompt editing counted by old or new rules."""
        request = self.plan.request
        timeline = replace(self.plan.timeline, old_scheduling=old_scheduling)
        return *parse_prompt(request.prompt, timeline), parse_negative_prompt(
            request.negative_prompt, timeline
        )

    @cached_property
    def texts(self) -> frozenset[str]:
        """Return every text that is encoded."""
        old_scheduling = self.settings.use_old_scheduling
        passes = [self]
        if finds_noise(self.plan.request):
            passes.append(replace(self, plan=decoding_plan(self.plan)))
        sub_prompts = [
            part for one in passes for part in one.sub_prompts(old_scheduling=old_scheduling)
        ]
        return frozenset(scheduled.text for part in sub_prompts for scheduled in part.texts)

    @cached_property
    def chunker(self) -> Chunker:
        """Return what splits the texts into chunks."""
        return Chunker.from_settings(self.tokenizer, self.settings, words=self.words)

    @property
    def uses_uncond(self) -> bool:
        """Return whether the negative prompt has an effect: not where the weighted scales add up to 1."""
        request = self.plan.request
        scale = request.cfg_scale / self.plan.sampler.cfg_divisor
        cond = parse_prompt(request.prompt, self.plan.timeline)
        return scale * sum(sub_prompt.weight for sub_prompt in cond) != 1

    @property
    def needs_padding(self) -> bool:
        """Return whether prompt and negative prompt, each at its longest, differ in their number of chunks."""
        *cond, uncond = (
            max(len(self.chunker.split_into_chunks(scheduled.text)) for scheduled in part.texts)
            for part in self.sub_prompts(old_scheduling=self.settings.use_old_scheduling)
        )
        return max(cond) != uncond


def used_sampling_options(
    sampler: Sampler, schedule: Schedule, settings: SamplingSettings, from_noise: bool
) -> frozenset[str]:
    """Return the names of the sampling options that can change a run.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by the sampler's default schedule.
        settings: All options: the value of one can disable another.
        from_noise: Whether the run starts from pure noise, without an init image.
    """
    names = {*sampler.options, "always_discard_next_to_last_sigma"}
    if sampler.family.uses_schedule:
        names |= {*schedule.options, "enable_quantization"}
        if from_noise:
            names.add("sgm_noise_multiplier")
    if sampler.discards_next_to_last_sigma:
        names.remove("always_discard_next_to_last_sigma")
    if sampler.timestep_stride > 1:
        names.remove("enable_quantization")
    if settings.use_old_karras_scheduler_sigmas and settings.sigma_min and settings.sigma_max:
        names.discard("use_old_karras_scheduler_sigmas")
    return frozenset(names - _unused_noise_options(names, settings))


def _unused_noise_options(names: set[str], settings: SamplingSettings) -> set[str]:
    """Return the options of added noise if the sampler can add noise, but all its amounts are 0."""
    amounts = {"eta_ancestral", "eta_ddim", "s_churn"} & names
    if not amounts or any(getattr(settings, amount) for amount in amounts):
        return set()
    return {"s_tmin", "s_tmax", "s_noise", "eta_noise_seed_delta"}
