"""Plans the refiner of a pass: which checkpoint may make the last steps of another one's run."""

from __future__ import annotations

from dataclasses import replace

from modules.core.errors import UserError
from modules.models.checkpoint import Checkpoint
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.plan.plan import Plan, RefinerPlan


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
