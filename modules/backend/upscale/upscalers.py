"""Upscalers: runs any upscaler of finished images on the device, and keeps the networks that were used last."""

from __future__ import annotations

import gc
import logging
from functools import partial

import torch
from PIL import Image
from PIL.Image import Resampling

from modules.backend.device import Device
from modules.backend.memory import estimate
from modules.backend.upscale.network import UpscalerNetwork, load_network
from modules.backend.upscale.tiles import OnTile, enlarge_in_tiles, ignore_tiles, smaller
from modules.core.errors import NotFinite, OutOfMemory
from modules.images.resize import Stretch, stretch
from modules.images.upscale import EnlargeOnce, enlarge_by_filter, upscale_by, upscale_to
from modules.models.files.scan import FileStamp, ModelFile
from modules.models.upscaling.upscalers import UpscalerFunction, UpscalerModel
from modules.plan.upscaling import RESULT_BYTES_PER_PIXEL, PlannedUpscaler, Tiles

logger = logging.getLogger(__name__)

# Extras blends two; the largest in use have 170 MB.
_MAX_LOADED = 2


class Upscalers:
    """Enlarges images by any upscaler but those for latents.

    Args:
        device: Where networks compute, in half precision where it does and they can.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._networks: dict[FileStamp, UpscalerNetwork] = {}  # most recently used last

    @property
    def device(self) -> torch.device:
        """Return where networks compute."""
        return self._device.torch_device

    def upscale(
        self,
        image: Image.Image,
        upscaler: PlannedUpscaler,
        scale: float,
        on_tile: OnTile = ignore_tiles,
    ) -> Image.Image:
        """Return an RGB image enlarged by a factor, as A1111's Extras do; see `images/upscale.upscale_by`.

        Args:
            image: RGB.
            upscaler: "None" returns the image.
            scale: The factor for both sides.
            on_tile: Called after each tile; what it raises stops the work.

        Raises:
            BadFile: the network cannot be loaded.
            NotFinite: the network produced invalid numbers.
            OutOfMemory: the device has too little memory even for small tiles, or the result is too large.
        """
        enlarge = self._enlarge_once(upscaler, on_tile)
        return image if enlarge is None else upscale_by(image, scale, enlarge)

    def upscale_to(
        self,
        image: Image.Image,
        upscaler: PlannedUpscaler,
        size: tuple[int, int],
        on_tile: OnTile = ignore_tiles,
    ) -> Image.Image:
        """Return an RGB image stretched to a size, as A1111's hires fix does; see `images/upscale.upscale_to`.

        Arguments and errors are those of `upscale`; "None" stretches by Lanczos.
        """
        return upscale_to(image, size, self._enlarge_once(upscaler, on_tile))

    def stretch_by(self, upscaler: PlannedUpscaler | None, on_tile: OnTile) -> Stretch:
        """Return what stretches an image by an upscaler, by Lanczos without one; see `upscale_to`."""
        if upscaler is None:
            return stretch
        return lambda image, *size: self.upscale_to(image, upscaler, size, on_tile)

    def clear(self) -> None:
        """Unload all networks."""
        if self._networks:
            self._networks.clear()
            gc.collect()
            estimate.empty_cache(self._device.torch_device)

    def _enlarge_once(self, planned: PlannedUpscaler, on_tile: OnTile) -> EnlargeOnce | None:
        method = planned.upscaler.method
        if isinstance(method, Resampling):
            return enlarge_by_filter(method)
        if isinstance(method, UpscalerModel):
            return partial(self._run_network, method.file, planned.tiles, on_tile)
        if isinstance(method, UpscalerFunction):
            return method.enlarge
        assert method is None, "latents are resized by backend/hires"
        return None

    def _run_network(
        self, file: ModelFile, tiles: Tiles, on_tile: OnTile, image: Image.Image, _scale: float
    ) -> Image.Image:
        """Return the image enlarged by a network once, in smaller tiles after each lack of memory."""
        network = self._acquire(file)
        _check_memory(image, network.scale)
        for attempt in smaller(tiles, image.size):
            try:
                return enlarge_in_tiles(image, attempt, partial(self._enlarge, network), on_tile)
            except RuntimeError as error:
                if not estimate.is_out_of_memory(error):
                    raise
                logger.warning("'%s' ran out of memory with tiles of %d.", file.name, attempt.size)
            # Outside the except block: a traceback would keep the tensors alive.
            gc.collect()
            estimate.empty_cache(self._device.torch_device)
        raise OutOfMemory(
            f"{self._device.label} has too little memory for '{file.file_name}', even in small tiles.",
            "Close other programs that use it, or choose a smaller upscaler.",
        )

    @staticmethod
    def _enlarge(network: UpscalerNetwork, tile: Image.Image) -> Image.Image:
        """Return a tile enlarged; a network that overflows in half precision computes in 32 bits from then on."""
        try:
            return network.enlarge(tile)
        except NotFinite:
            if network.dtype == torch.float32:
                raise
        network.set_dtype(torch.float32)
        return network.enlarge(tile)

    def _acquire(self, file: ModelFile) -> UpscalerNetwork:
        """Return a network, loading it if it is not among those used last."""
        network = self._networks.pop(file.stamp, None)
        if network is None:
            for stamp in list(self._networks)[: 1 - _MAX_LOADED]:
                del self._networks[stamp]
            network = load_network(file, self._device.torch_device)
            half = self._device.precisions[0].unet
            if half == torch.float16 and network.supports_half:
                network.set_dtype(half)
        self._networks[file.stamp] = network
        return network


def _check_memory(image: Image.Image, scale: int) -> None:
    """Refuse a result for which the computer has no memory, before it is computed for minutes.

    Raises:
        OutOfMemory: with the needed and the free memory.
    """
    width, height = image.width * scale, image.height * scale
    needed, free = width * height * RESULT_BYTES_PER_PIXEL, estimate.free_bytes(torch.device("cpu"))
    if needed > free:
        raise OutOfMemory(
            f"A picture of {width}x{height} pixels needs about {needed / 1e9:.1f} GB of memory, and {free / 1e9:.1f} GB"
            " are free.",
            "Use a smaller size.",
        )
