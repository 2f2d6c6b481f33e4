"""Plans the refiner of a pass: which checkpoint may make the last steps of another one's run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modules.core.errors import UserError
from modules.models.checkpoint import Checkpoint
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.plan.embeddings import EmbeddingVocabulary, find_embeddings
from modules.plan.networks.hypernetworks import plan_hypernetworks
from modules.plan.networks.planned_networks import PlannedNetworks
from modules.plan.plan import Plan, RefinerPlan
from modules.plan.planned_pass import PlannedPass
from modules.prompt.extra_networks import extract_networks


def with_refiner(plan: Plan, models: ModelIndex) -> Plan:
    """Return the plan of a job with the refiner that its request names, in the passes that the options say.

    A pass with that checkpoint has no refiner, as in A1111; where none is left, the request names none.

    Args:
        plan: With the options of the job, and with its hires pass.
        models: Finds the checkpoint.

    Raises:
        NotFound: there is no checkpoint of that name.
        BadFile: it cannot be used.
        UserError: it cannot go on with the latents of the other checkpoint.
    """
    name, hires = plan.request.refiner_checkpoint, plan.hires
    if not name:
        return plan
    refiner = models.find_checkpoint(name)
    choice = plan.settings.hires_fix_refiner_pass
    if hires is None or choice != "second pass":
        plan = _refine_pass(plan, refiner, models)
    if hires is not None and choice != "first pass":
        hires = replace(hires, plan=_refine_pass(hires.plan, refiner, models))
    plan = replace(plan, hires=hires)
    used_name = refiner.name if plan.refiner_model else ""
    return replace(plan, request=plan.request.replace(refiner_checkpoint=used_name))


def _refine_pass(plan: Plan, refiner: Checkpoint, models: ModelIndex) -> Plan:
    if refiner == plan.checkpoint:
        return plan
    _check_refiner(refiner, plan.checkpoint, models)
    model = make_model_spec(models, refiner, plan.settings)
    refined = replace(plan, model=model, hires=None)
    return replace(plan, refiner=RefinerPlan(plan.request.refiner_switch_at, refined))


def add_refiner_networks(
    plan: Plan, passes: Sequence[PlannedPass], vocabulary: EmbeddingVocabulary, models: ModelIndex
) -> Plan:
    """Return the plan of a job with the networks of its prompts for its refiners, as far as they can use them.

    A refiner gets the LoRAs of its pass, but not one of SDXL's: its blocks have the names of others, and A1111's
    picture (xl_refiner_lora) shows none.

    Args:
        plan: With the networks of its passes.
        passes: The first pass and, if there is one, the hires pass.
        vocabulary: The embeddings.
        models: Finds hypernetworks.
    """

    def add(item: Plan, planned: PlannedPass) -> Plan:
        if item.refiner is None:
            return item
        refined = item.refiner.plan
        loras = () if refined.model.family.is_refiner else item.networks.loras
        tags = extract_networks(item.request.prompt)[1]
        hypernetworks, _ = plan_hypernetworks(tags, models, refined.checkpoint)
        words = vocabulary.words(refined.checkpoint, loras)
        refined = replace(refined, networks=PlannedNetworks(loras, hypernetworks))
        embeddings = find_embeddings(
            replace(planned, plan=refined, words=words), vocabulary.listing
        )
        networks = replace(
            refined.networks,
            embeddings=embeddings,
            words=words.only(one.name for one in embeddings),
        )
        refiner = replace(item.refiner, plan=replace(refined, networks=networks))
        return replace(item, refiner=refiner)

    hires = plan.hires
    if hires is not None:
        hires = replace(hires, plan=add(hires.plan, passes[1]))
    return replace(add(plan, passes[0]), hires=hires)


def _check_refiner(refiner: Checkpoint, checkpoint: Checkpoint, models: ModelIndex) -> None:
    """Refuse a refiner that cannot read the latents of a checkpoint, or needs an input which that one does not get."""
    families = models.get_family(refiner), models.get_family(checkpoint)
    hint = f"Choose a refiner for {families[1].name}, or none."
    if families[0].latent_format != families[1].latent_format:
        raise UserError(
            f"'{refiner.name}' ({families[0].name}) cannot refine what '{checkpoint.name}' ({families[1].name})"
            " makes: their latents are not of the same kind.",
            hint,
        )
    if families[0].extra_input not in ("", families[1].extra_input):
        raise UserError(
            f"'{refiner.name}' ({families[0].name}) needs an input that '{checkpoint.name}' ({families[1].name})"
            " does not have, so it cannot refine what that one makes.",
            hint,
        )
