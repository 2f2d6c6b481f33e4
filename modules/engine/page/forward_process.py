"""The forward process of an uploaded image, for the Diffusion process tab."""

from __future__ import annotations

from dataclasses import dataclass

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.process.documents import describe_forward
from modules.params.image import ImageField
from modules.params.requests.base import MAX_SEED, SIZE_STEP
from modules.params.results import ForwardRecording

_MAX_SIDE = 512  # pixels


@dataclass(frozen=True)
class ForwardProcess:
    """A forward process that was shown.

    Args:
        id: Of its document.
        sentence: How many numbers the noise was added to.
        moments: By frame: the timestep, then mean and variance by the formula, of one draw, of the chain of single steps.
    """

    id: str
    sentence: str
    moments: tuple[tuple[float, ...], ...]


def show_forward(
    engine: Engine, data: bytes, count: int, seed: int, in_pixels: bool
) -> ForwardProcess:
    """Run the forward process of an image and keep its document.

    Args:
        engine: Runs it.
        data: The image's file.
        count: Number of timesteps shown.
        seed: Of the noise.
        in_pixels: Whether noise is added to pixels rather than to latents.

    Raises:
        UserError: the image cannot be read, or a number is not valid.
    """
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"Seed is {seed}; use 0 to {MAX_SEED}.")
    image = ImageField.from_bytes(data)
    recording = engine.show_forward_process(
        image, display_size(*image.size), count, seed, in_pixels
    )
    return ForwardProcess(
        engine.processes.add(describe_forward(recording, in_pixels)),
        _value_sentence(recording),
        tuple(
            (
                frame.time,
                *(frame.expected.mean, frame.expected.variance),
                *(frame.closed_form.mean, frame.closed_form.variance),
                *(frame.step_by_step.mean, frame.step_by_step.variance),
            )
            for frame in recording.frames
        ),
    )


def display_size(width: int, height: int) -> tuple[int, int]:
    """Return the size at which an image is shown: its proportions, at most 512, multiples of 8."""
    scale = min(1.0, _MAX_SIDE / max(width, height))
    sides = [
        max(SIZE_STEP, round(side * scale / SIZE_STEP) * SIZE_STEP) for side in (width, height)
    ]
    return sides[0], sides[1]


def _value_sentence(recording: ForwardRecording) -> str:
    ratio = recording.pixel_value_count / recording.value_count
    fewer = f": {ratio:.0f} times fewer" if ratio > 1 else ", each of them a pixel's colour"
    return f"The picture has {recording.pixel_value_count:,} numbers; noise was added to {recording.value_count:,}{fewer}."
