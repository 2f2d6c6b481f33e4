"""Options of live previews, named as in A1111."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param

PreviewMethodName = Literal["Full", "Approx NN", "Approx cheap", "TAESD"]


class PreviewSettings(BaseModel):
    """How a running job is shown. Previews cost at most a fiftieth of its time, and nothing while nobody looks."""

    live_previews_enable: bool = param(
        True,
        "Show live previews of the created image",
        help="Off shows the progress alone.",
        section="previews",
    )
    show_progress_type: PreviewMethodName = param(
        "TAESD",
        "Live preview method",
        help="Full decodes as at the end; TAESD and Approx NN use a small network from models/VAE-approx that fits the "
        "checkpoint; Approx cheap shows blocks of colour, as do the others where they would take too long.",
        section="previews",
    )
    show_progress_every_n_steps: int = param(
        1,
        "Live preview display period",
        help="A preview in every n-th sampling step at most; -1 shows none before the picture is done.",
        ge=-1,
        le=150,
        slider=(-1, 32, 1),
        section="previews",
    )
    live_preview_refresh_period: int = param(
        500,
        "Progressbar and preview update period",
        help="Milliseconds between two previews at least.",
        ge=0,
        le=600_000,
        section="previews",
    )
    show_progress_grid: bool = param(
        True,
        "Show previews of all images generated in a batch as a grid",
        help="Off shows the first picture of the batch alone.",
        section="previews",
    )

    @property
    def shows_previews(self) -> bool:
        """Return whether a job has previews at all."""
        return self.live_previews_enable and self.show_progress_every_n_steps != -1

    @property
    def preview_step(self) -> int:
        """Return in every how many steps there may be a preview."""
        return max(1, self.show_progress_every_n_steps)
