"""The request class of each task."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from modules.params.requests.base import GenerationRequest, Task
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.requests.txt2img import Txt2ImgRequest

REQUESTS: Mapping[Task, type[GenerationRequest]] = MappingProxyType(
    {
        "txt2img": Txt2ImgRequest,
        "img2img": Img2ImgRequest,
        "inpaint": Img2ImgRequest,
        "depth2img": DepthRequest,
    }
)
