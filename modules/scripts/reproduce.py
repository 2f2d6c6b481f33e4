"""Reproduces an image: the request of its infotext, and the file to compare the result with."""

from __future__ import annotations

from pydantic import BaseModel

from modules.core.errors import Cancelled, UserError
from modules.params.param import param
from modules.params.requests.base import GenerationRequest
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class ReproduceArgs(BaseModel, frozen=True, extra="forbid"):
    """The image that is reproduced."""

    file: str = param(
        "", "Picture", help="The picture's file, which the page compares with the result."
    )


def run_reproduction(request: GenerationRequest, args: ReproduceArgs) -> ScriptRun:
    """Yield one cell; without an image it ends with the cell's error.

    Args:
        request: The request of the image's infotext.
        args: Stored with the group, so that the comparison outlives a reload of the page and a restart.

    Raises:
        Cancelled: it was interrupted.
        UserError: it failed.
    """
    del args
    (result,) = yield [Cell("", lambda: request)]
    if not result.images:
        raise (Cancelled if result.state == "cancelled" else UserError)(result.error)
    return ScriptResult()


REPRODUCE = Script("Reproduce", run_reproduction, ReproduceArgs)
