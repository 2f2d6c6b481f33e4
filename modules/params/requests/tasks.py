"""TASKS: what a request can ask for, one row each. The rows say what each task needs and which models refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modules.core.registry import Registry
from modules.params.requests.base import GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.txt2img import Txt2ImgRequest

Need = Literal["init image", "mask", "depth"]


@dataclass(frozen=True)
class Task:
    """One row of TASKS.

    Args:
        name: As requests, the HTTP API and stored jobs spell it.
        request: The class of its requests; several tasks may share one.
        needs: What a request needs in addition to its prompts. A mask may be that of outpainting, and a depth map may be
            estimated by the checkpoint.
        refuses: Why a checkpoint cannot do it, by the extra input of the checkpoint's family; the rest of a sentence
            that starts with the checkpoint's name.
        example_checkpoint: A published file that can do it, for users without one.
        aliases: Other names.
    """

    name: str
    request: type[GenerationRequest]
    needs: tuple[Need, ...] = ()
    refuses: Mapping[str, str] = field(default_factory=dict[str, str])
    example_checkpoint: str = ""
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that its requests have an init image if it needs one.

        Raises:
            ValueError: one of the two is missing.
        """
        if issubclass(self.request, InitImageRequest) != ("init image" in self.needs):
            raise ValueError(
                f"The task '{self.name}' must need an init image exactly if its request class is an InitImageRequest."
            )


_NO_DEPTH = "is not a depth checkpoint, and the Depth tab needs one"
_SD1_FILE = "v1-5-pruned-emaonly.safetensors"

TASKS: Registry[Task] = Registry(
    "task",
    [
        Task(
            "txt2img",
            Txt2ImgRequest,
            refuses={"depth": "generates from the depth of an image, not from a prompt alone"},
            example_checkpoint=_SD1_FILE,
        ),
        Task(
            "img2img",
            Img2ImgRequest,
            needs=("init image",),
            refuses={
                "depth": "generates from the depth of an image, not from its colours",
                "ip2p": "follows instructions (InstructPix2Pix), which is not supported yet",
            },
            example_checkpoint=_SD1_FILE,
        ),
        Task(
            "inpaint",
            Img2ImgRequest,
            needs=("init image", "mask"),
            refuses={
                "depth": "generates whole images from their depth and does not support masks",
                "ip2p": "edits whole images (InstructPix2Pix) and does not support masks",
            },
            example_checkpoint="sd-v1-5-inpainting.ckpt",
        ),
        Task(
            "depth2img",
            DepthRequest,
            needs=("init image", "depth"),
            refuses={"": _NO_DEPTH, "inpaint": _NO_DEPTH, "ip2p": _NO_DEPTH},
            example_checkpoint="512-depth-ema.ckpt",
        ),
    ],
)
