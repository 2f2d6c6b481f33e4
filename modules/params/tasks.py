"""Which kind of request each task has."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from modules.params.depth import DepthRequest
from modules.params.img2img import Img2ImgRequest
from modules.params.request import GenerationRequest, Task
from modules.params.txt2img import Txt2ImgRequest

REQUESTS: Mapping[Task, type[GenerationRequest]] = MappingProxyType(
    {
        "txt2img": Txt2ImgRequest,
        "img2img": Img2ImgRequest,
        "inpaint": Img2ImgRequest,
        "depth2img": DepthRequest,
    }
)
