"""Makes the previews of a running batch, which cost at most a fiftieth of its time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DecoderTiny
from torch import Tensor, nn

from modules.backend.device import preview_dtype
from modules.backend.memory.estimate import is_out_of_memory
from modules.backend.memory.offload import execution_device
from modules.backend.previews.latent_to_rgb import FlatColours, LatentToRgb, to_row
from modules.backend.previews.networks import ApproxNetwork, find_network
from modules.backend.vae import decode_pixels
from modules.core.errors import NotFinite
from modules.models.files.scan import FileStamp, ModelFile
from modules.params.settings.previews import PreviewMethodName

logger = logging.getLogger(__name__)

MOST_SHARE = 0.02  # of the time
# A method whose previews would come less often gives way to a cheaper one.
_PATIENCE_S = 10.0
# Latent cells on a side; the cost of one with 1024 pixels follows from one with 128.
_PROBE_SIDE = 16


@dataclass
class PreviewMethod:
    """One way to make previews.

    Args:
        name: As the option has it.
        decode: Returns images [batch, 3, height, width], -1 to 1, of latents.
        seconds_per_cell: As measured last; None before.
    """

    name: PreviewMethodName
    decode: Callable[[Tensor], Tensor]
    seconds_per_cell: float | None = None

    def seconds(self, latents: Tensor) -> float:
        """Return what a preview of these latents costs, by a small part of them before there was one."""
        if self.seconds_per_cell is None:
            part = latents[:1, :, :_PROBE_SIDE, :_PROBE_SIDE].contiguous()
            self.decode(part)  # whatever happens the first time only
            self.measure(part, self.decode)
        return (self.seconds_per_cell or 0.0) * _cells(latents)

    def measure(self, latents: Tensor, work: Callable[[Tensor], object]) -> None:
        """Do what a preview of latents needs, and remember what it costs."""
        _wait_for(latents.device)  # the step itself is not the preview's
        began = time.perf_counter()
        work(latents)
        _wait_for(latents.device)
        self.seconds_per_cell = (time.perf_counter() - began) / _cells(latents)


class PreviewMethods:
    """The ways to make previews with one model.

    Args:
        vae: The model's.
        linear: Its map to colours.
        colours: What it was fitted to.
    """

    def __init__(self, vae: AutoencoderKL, linear: LatentToRgb, colours: FlatColours) -> None:
        self._vae = vae
        self._colours = colours
        self._linear = PreviewMethod("Approx cheap", linear.decode, 0.0)
        self._full = PreviewMethod("Full", self._decode_full)
        self._networks: dict[tuple[type[nn.Module], tuple[FileStamp, ...]], PreviewMethod] = {}

    def ladder(
        self, wanted: PreviewMethodName, files: Sequence[ModelFile]
    ) -> tuple[PreviewMethod, ...]:
        """Return the wanted method, if this model has it, and those that are cheaper, the cheapest last."""
        methods: list[PreviewMethod | None] = [self._linear]
        if wanted in ("TAESD", "Full"):
            methods.append(self._network("TAESD", DecoderTiny, files))
        if wanted == "Approx NN":
            methods.append(self._network("Approx NN", ApproxNetwork, files))
        if wanted == "Full":
            methods.append(self._full)
        return tuple(method for method in reversed(methods) if method is not None)

    def _network(
        self, name: PreviewMethodName, network_class: type[nn.Module], files: Sequence[ModelFile]
    ) -> PreviewMethod | None:
        key = network_class, tuple(file.stamp for file in files)
        if key not in self._networks:
            network = find_network(files, network_class, self._colours)
            if network is None:
                return None
            self._networks[key] = PreviewMethod(name, self._on_device(network))
        return self._networks[key]

    def _on_device(self, network: nn.Module) -> Callable[[Tensor], Tensor]:
        device = execution_device(self._vae)
        dtype = preview_dtype(device)
        # A processor's 16-bit convolutions are three times as fast with the channels last.
        network = network.to(device, dtype, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue, reportUnknownVariableType] - torch has this overload
        return lambda latents: network(latents.to(device, dtype))

    def _decode_full(self, latents: Tensor) -> Tensor:
        """Return the images as they would be finished.

        Raises:
            NotFinite: the VAE produced invalid numbers.
        """
        return torch.cat([decode_pixels(self._vae, one) for one in latents.split(1)])


class Previewer:
    """Makes the previews of one pass.

    Args:
        make_ladder: Returns the methods, the wanted one first; the last one costs next to nothing. Called once
            somebody looks.
        interval_s: Seconds between two previews at least.

    Attributes:
        interval_s: Likewise.
    """

    def __init__(
        self, make_ladder: Callable[[], Sequence[PreviewMethod]], interval_s: float
    ) -> None:
        self._make_ladder = make_ladder
        self.interval_s = interval_s

    @cached_property
    def _ladder(self) -> list[PreviewMethod]:
        return list(self._make_ladder())

    def pause_s(self, latents: Tensor) -> float:
        """Return how many seconds lie between two previews, so that they cost no more than their share of the time."""
        return max(self.interval_s, self._method(latents).seconds(latents) / MOST_SHARE)

    def show(self, latents: Tensor, show: Callable[[Tensor], object]) -> None:
        """Make a preview and pass it on.

        On a card it is measured once, before the first one: a measurement waits for the card, and a step must not.

        Args:
            latents: [batch, channels, rows, columns].
            show: Gets it as uint8 [height, width, 3] on their device. What it costs to encode and keep it counts, too, on
                a processor.
        """
        method = self._method(latents)

        def work(latents: Tensor) -> None:
            show(to_row(method.decode(latents)))

        is_measured = latents.device.type == "cpu"
        self._try(method, lambda: method.measure(latents, work) if is_measured else work(latents))

    def _method(self, latents: Tensor) -> PreviewMethod:
        """Return the first method whose previews come often enough."""
        longest_pause_s = max(_PATIENCE_S, self.interval_s)
        for method in self._ladder[:-1]:
            is_usable = self._try(method, lambda method=method: method.seconds(latents))
            if is_usable and method.seconds(latents) / MOST_SHARE <= longest_pause_s:
                break
            self._give_up(method)
        return self._ladder[0]

    def _try(self, method: PreviewMethod, work: Callable[[], object]) -> bool:
        """Do some work of a method; where it fails, give the method up, and let no job fail for a preview."""
        try:
            work()
        except (NotFinite, RuntimeError) as error:
            if method is self._ladder[-1] or not (
                isinstance(error, NotFinite) or is_out_of_memory(error)
            ):
                raise
            self._give_up(method)
            return False
        return True

    def _give_up(self, method: PreviewMethod) -> None:
        """Use a cheaper method in this pass; the next one measures anew, since the machine may be less busy then."""
        method.seconds_per_cell = None
        if method in self._ladder:
            self._ladder.remove(method)


def _wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _cells(latents: Tensor) -> int:
    return latents.shape[0] * latents.shape[2] * latents.shape[3]
