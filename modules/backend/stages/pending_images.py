"""Images that a device decodes while it samples the next batch, on a stream of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from PIL import Image

from modules.backend.memory import estimate
from modules.backend.memory.offload import execution_device, is_offloaded
from modules.backend.model import LoadedModel
from modules.backend.tuning import find_tuning
from modules.backend.vae import PendingImage
from modules.params.events import Event, Progress, Sink
from modules.plan.plan import Plan


class Overlap(Protocol):
    """Runs work on a device concurrently with its current work."""

    def run(self, start: Callable[[], PendingImage]) -> PendingImage:
        """Return the image that `start` begins to decode, once the device has finished its earlier work."""
        ...


class StreamOverlap:
    """A second stream of a CUDA device.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def run(self, start: Callable[[], PendingImage]) -> PendingImage:
        """Return the image that `start` begins to decode on the second stream."""
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            return start()


def make_overlap(device: torch.device) -> Overlap | None:
    """Return what decodes concurrently with sampling; None where its row of TUNINGS says that it should not."""
    return StreamOverlap(device) if find_tuning(device).overlap.value else None


@dataclass(frozen=True)
class _Decoding:
    image: PendingImage
    deliver: Callable[[Image.Image], None]


class PendingImages:
    """The images of a job that are not delivered yet, in order.

    Args:
        overlap: Of the device; None decodes and delivers at once.
    """

    def __init__(self, overlap: Overlap | None = None) -> None:
        self._overlap = overlap
        self._decodings: deque[_Decoding] = deque()

    def overlaps(self, plan: Plan, model: LoadedModel) -> bool:
        """Return whether images may be decoded concurrently with the next batch: everything stays where it is, and fits.

        A plan with several checkpoints may evict the one that decodes, and a network that has its turn may move the VAE.
        """
        components, request = model.components, plan.request
        device = execution_device(components.vae)
        hires = plan if plan.hires is None else plan.hires.plan
        several = plan.refiner_model is not None or hires.model != plan.model
        if self._overlap is None or several or is_offloaded(components):
            return False
        size = hires.request.width, hires.request.height
        needed = estimate.vae_bytes(components.vae, size)
        needed += estimate.needed_bytes(components, hires.request if plan.hires else request)
        return needed <= estimate.free_bytes(device)

    def add(
        self,
        start: Callable[[], PendingImage],
        deliver: Callable[[Image.Image], None],
        *,
        overlaps: bool,
    ) -> None:
        """Decode an image, now or concurrently with what follows.

        Args:
            start: Begins to decode it, and returns it.
            deliver: Gets it.
            overlaps: Whether it may be decoded later; see `overlaps`.

        Raises:
            NotFinite: the VAE of this image, or of one before it, produced NaN or infinity.
        """
        if self._overlap is None or not overlaps:
            self.deliver_all()
            deliver(start().result())
            return
        self._decodings.append(_Decoding(self._overlap.run(start), deliver))

    def deliver_ready(self) -> None:
        """Deliver what has been decoded so far; never waits.

        Raises:
            NotFinite: the VAE produced NaN or infinity.
        """
        while self._decodings and self._decodings[0].image.is_ready():
            self._deliver_next()

    def deliver_all(self) -> None:
        """Deliver everything, once it has been decoded.

        Raises:
            NotFinite: the VAE produced NaN or infinity.
        """
        while self._decodings:
            self._deliver_next()

    def delivering(self, sink: Sink) -> Sink:
        """Return a sink that passes events on, and delivers what is ready with each step."""

        def receive(event: Event) -> None:
            sink(event)
            if isinstance(event, Progress):
                self.deliver_ready()

        return receive

    def _deliver_next(self) -> None:
        decoding = self._decodings.popleft()
        decoding.deliver(decoding.image.result())
