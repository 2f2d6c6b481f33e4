"""FaceRestorers: draws the faces of an image anew by networks that spandrel runs, and keeps those that were used last."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from modules.backend.device import Device
from modules.backend.faces.detector import FaceDetector
from modules.backend.upscale.network import load_descriptor
from modules.backend.upscale.spandrel_import import import_spandrel
from modules.core.errors import NotFinite
from modules.images.faces import cut_face, face_matrix, paste_face
from modules.models.face_restorers import CODEFORMER_PACKAGE, FaceRestorerFile
from modules.models.files.scan import FileStamp

# Returns a face drawn anew; both are RGB and FACE_SIDE wide and high.
RestoreFace = Callable[[Image.Image], Image.Image]
# Called after each face with the number of faces done and of all; it may raise to stop.
OnFace = Callable[[int, int], None]


class FaceRestorers:
    """Restores faces.

    Args:
        device: Where networks compute.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._detector: tuple[Path, FaceDetector] | None = None
        self._network: tuple[FileStamp, Any] | None = None  # Any: spandrel's

    def network(self, restorer: FaceRestorerFile, weight: float) -> RestoreFace:
        """Return the function of a restorer's network, loading it if it is not the one used last.

        Args:
            restorer: Its file.
            weight: How close CodeFormer keeps a face to the image, 0 to 1.

        Raises:
            BadFile: it cannot be loaded.
        """
        stamp = restorer.file.stamp
        if self._network is None or self._network[0] != stamp:
            self._network = None  # before the next one is loaded
            if restorer.architecture == "CodeFormer":
                _install_codeformer()
            device = self._device.torch_device
            descriptor = load_descriptor(restorer.file, device, restorer.architecture)
            self._network = stamp, descriptor.model
        model, options = self._network[1], _options(restorer.architecture, weight)
        device = self._device.torch_device

        def restore(face: Image.Image) -> Image.Image:
            values = np.asarray(face, np.float32).transpose(2, 0, 1) / 127.5 - 1
            output = model(torch.from_numpy(values)[None].to(device), **options)[0][0].float()
            if not bool(torch.isfinite(output).all()):
                raise NotFinite(
                    f"'{restorer.file.file_name}' produced invalid numbers, so there is no face to show."
                )
            pixels = output.add(1).mul(127.5).clamp(0, 255).round().to(torch.uint8)
            return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())

        return restore

    def restore(
        self,
        image: Image.Image,
        detector: Path,
        restore_face: RestoreFace,
        visibility: float,
        on_face: OnFace,
    ) -> tuple[Image.Image, int]:
        """Return an RGB image with its faces restored, and how many they are.

        Args:
            image: The image.
            detector: The weights of the face detector.
            restore_face: Draws a face anew; see `network`.
            visibility: Opacity of the new faces, 0 to 1.
            on_face: Called after each face.

        Raises:
            BadFile: the detector cannot be loaded.
        """
        if self._detector is None or self._detector[0] != detector:
            self._detector = detector, FaceDetector(detector)
        faces = self._detector[1].find(image)
        restored = image
        for index, face in enumerate(faces):
            matrix = face_matrix(face.points)
            restored = paste_face(restored, restore_face(cut_face(image, matrix)), matrix)
            on_face(index + 1, len(faces))
        return Image.blend(image, restored, visibility), len(faces)


def _options(architecture: str, weight: float) -> dict[str, Any]:
    if architecture == "CodeFormer":
        return {"weight": weight, "adain": True}
    return {"return_rgb": False} if architecture == "GFPGAN" else {}


def _install_codeformer() -> None:
    """Let spandrel know CodeFormer's network, of a package that is not among the requirements."""
    import_spandrel()
    package: Any = importlib.import_module(CODEFORMER_PACKAGE)
    package.install(ignore_duplicates=True)
