"""img2img alternative test: finds the noise of the picture and begins there, so that another prompt changes less."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from modules.core.errors import Cancelled, UserError
from modules.params.param import param
from modules.params.requests.img2img import Img2ImgRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class Img2ImgAlternativeArgs(BaseModel, frozen=True, extra="forbid"):
    """How the noise is found, and which fields of the form follow."""

    override_sampler: bool = param(
        True,
        "Override sampling method to Euler",
        help="On: Euler, whose steps lead back to the picture; off: that of the form.",
    )
    override_prompt: bool = param(
        True,
        "Override prompts by the original ones",
        help="On: the picture is made again, to see how near the noise is; off: the prompts of the form change it.",
    )
    original_prompt: str = param(
        "", "Original prompt", help="What the picture shows, in words.", lines=2
    )
    original_negative_prompt: str = param(
        "", "Original negative prompt", help="What the picture does not show.", lines=2
    )
    override_steps: bool = param(
        True,
        "Override sampling steps by decode steps",
        help="On: as many steps back as there; off: those of the form.",
    )
    decode_steps: int = param(
        50,
        "Decode steps",
        help="In how many steps the picture is turned into noise; more find it better.",
        ge=1,
        le=1000,
        slider=(1, 150, 1),
    )
    override_strength: bool = param(
        True,
        "Override denoising strength to 1",
        help="On: the run begins at the noise; off: later, by the denoising strength of the form.",
    )
    decode_cfg_scale: float = param(
        1.0,
        "Decode CFG scale",
        help="The CFG scale on the way to the noise; that of the form should be 2 or lower, too.",
        ge=0,
        le=100,
        slider=(0, 15, 0.1),
    )
    randomness: float = param(
        0.0,
        "Randomness",
        help="How much noise of the seed is mixed in, for variations.",
        ge=0,
        le=1,
        slider=(0, 1, 0.01),
    )
    sigma_adjustment: bool = param(
        False,
        "Sigma adjustment for finding noise for image",
        help="On: each step is evaluated at the noise level that it starts from, which often finds the picture better.",
    )


def run_img2img_alternative(request: Img2ImgRequest, args: Img2ImgAlternativeArgs) -> ScriptRun:
    """Yield the only cell: the request with the inversion to its noise.

    Args:
        request: The request.
        args: See the fields.

    Raises:
        Cancelled: it was interrupted.
        UserError: it failed.
    """
    changes: dict[str, Any] = {
        "decode_steps": args.decode_steps,
        "decode_prompt": args.original_prompt,
        "decode_negative_prompt": args.original_negative_prompt,
        "decode_cfg_scale": args.decode_cfg_scale,
        "decode_randomness": args.randomness,
        "decode_sigma_adjustment": args.sigma_adjustment,
    }
    if args.override_sampler:
        changes["sampler_name"] = "Euler"
    if args.override_prompt:
        changes["prompt"] = args.original_prompt
        changes["negative_prompt"] = args.original_negative_prompt
    if args.override_steps:
        changes["steps"] = args.decode_steps
    if args.override_strength:
        changes["denoising_strength"] = 1.0
    (result,) = yield [Cell("", lambda: request.replace(**changes))]
    if not result.images:
        raise (Cancelled if result.state == "cancelled" else UserError)(result.error)
    return ScriptResult()


IMG2IMG_ALTERNATIVE = Script(
    "img2img alternative test",
    run_img2img_alternative,
    Img2ImgAlternativeArgs,
    list_fields=("", *Img2ImgAlternativeArgs.model_fields),
    tasks=frozenset(("img2img", "inpaint")),
)
