"""Several init images of one request, as A1111's API takes them: each is repainted with the next seed."""

from __future__ import annotations

from functools import partial

from pydantic import BaseModel

from modules.params.image import ImageField
from modules.params.param import param
from modules.params.requests.init_image import InitImageRequest
from modules.scripts.parts.seeds import shift_seed
from modules.scripts.protocol import Cell, Script, ScriptResult, ScriptRun


class InitImagesArgs(BaseModel, frozen=True, extra="forbid"):
    """The init images after the first one, which is the request's own."""

    images: tuple[str, ...] = param((), "Pictures", help="Pictures in base64.")


def run_init_images(request: InitImageRequest, args: InitImagesArgs) -> ScriptRun:
    """Yield a cell for each image of each batch, with the seed that it has in a batch of A1111's.

    Args:
        request: With the first image; its batch count is the number of batches, its batch size does not count.
        args: The other images.
    """
    per_batch = 1 + len(args.images)

    def make_request(number: int) -> InitImageRequest:
        changes: dict[str, object] = {
            "seed": shift_seed(request.seed, number),
            "n_iter": 1,
            "batch_size": 1,
        }
        if request.subseed_strength:
            changes["subseed"] = shift_seed(request.subseed, number)
        if number % per_batch:
            changes["init_image"] = ImageField.from_base64(args.images[number % per_batch - 1])
        return request.replace(**changes)

    yield [
        Cell(f"picture {number + 1}", partial(make_request, number))
        for number in range(request.n_iter * per_batch)
    ]
    return ScriptResult()


INIT_IMAGES = Script(
    "Several init images",
    run_init_images,
    InitImagesArgs,
    cell_count=lambda args: 1 + len(args.images),
    waits_for_slots=True,
    has_one_seed=True,
    shows_control_maps=True,
)
