"""Preprocessor: one row of PREPROCESSORS, with its sliders and what makes its control image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from modules.images.preprocessors.sizes import Pixels

# From an image, the resolution, thresholds a and b, and random numbers to a control image. The old generator of
# NumPy's, since sd-webui-controlnet seeds that one: `shuffle` then has the same result (see `shuffle_seed`).
Compute = Callable[[Pixels, int, float, float, np.random.RandomState], Pixels]


@dataclass(frozen=True)
class Slider:
    """A number that a preprocessor takes.

    Args:
        label: Its name on the page.
        value: Its default.
        minimum: The smallest value.
        maximum: The largest value.
        step: By how much the page's slider moves.
    """

    label: str
    value: float
    minimum: float
    maximum: float
    step: float = 1

    def bound(self, value: float) -> float:
        """Return the value, the default where it lies outside the range, as -1 does."""
        return value if self.minimum <= value <= self.maximum else self.value


RESOLUTION = Slider("Resolution", 512, 64, 2048, 8)


@dataclass(frozen=True)
class Preprocessor:
    """One row of the table.

    Args:
        name: sd-webui-controlnet's name on its page and in infotexts, such as "depth_midas".
        control_types: The control types of its page that list it.
        key: Its name in the HTTP API where that is another one, such as "depth".
        compute: Makes the control image; None where a network does, or where there is no such image.
        annotator: The row of ANNOTATORS that makes the control image; replaces `compute` where its files are there.
        resolution: None where the image keeps its size.
        a: The first slider, "threshold a".
        b: The second one.
        priority: sd-webui-controlnet lists higher ones first; the first one is the default of its control type.
        note: What the page shows next to the name.
        needs_model: Whether a unit needs a control model, too.
        needs_mask: Whether the unit's mask is part of the control image.
        unavailable: Why this version cannot use it, and what to use instead; "" where it can.
        more_aliases: Names of other programs.
    """

    name: str
    control_types: tuple[str, ...] = ()
    key: str = ""
    compute: Compute | None = None
    annotator: str = ""
    resolution: Slider | None = None
    a: Slider | None = None
    b: Slider | None = None
    priority: int = 0
    note: str = ""
    needs_model: bool = True
    needs_mask: bool = False
    unavailable: str = ""
    more_aliases: tuple[str, ...] = ()

    @property
    def api_name(self) -> str:
        """Return the name in the HTTP API."""
        return self.key or self.name

    @property
    def aliases(self) -> tuple[str, ...]:
        """Return the other names that find it."""
        return ((self.key,) if self.key else ()) + self.more_aliases

    @property
    def label(self) -> str:
        """Return the name with the note, for the page."""
        return f"{self.name} ({self.note})" if self.note else self.name

    @property
    def makes_image(self) -> bool:
        """Return whether it turns a picture into a control image; the others act by the picture itself."""
        return self.compute is not None or bool(self.annotator)

    def numbers(self, resolution: int, a: float, b: float) -> tuple[int, float, float]:
        """Return resolution and thresholds with defaults for those out of range and zeros for those it has not."""
        return (
            int((self.resolution or RESOLUTION).bound(resolution)),
            self.a.bound(a) if self.a else 0.0,
            self.b.bound(b) if self.b else 0.0,
        )
