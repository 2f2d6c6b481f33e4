"""One batch of a plan from its sampling to the decoded images, as a runner makes each of them."""

from __future__ import annotations

from modules.backend.batch import Acquire
from modules.backend.generate import sample_batch
from modules.backend.stages.decoding import decode_images
from modules.backend.stages.pending_images import PendingImages
from modules.backend.upscale.upscalers import Upscalers
from modules.params.events import CancelToken, Sink
from modules.plan.plan import Plan


def generate_batch(
    acquire: Acquire,
    upscalers: Upscalers,
    plan: Plan,
    batch_index: int,
    sink: Sink,
    cancel: CancelToken,
) -> None:
    """Sample a batch and pass each of its images on as soon as it is decoded."""
    sampled = sample_batch(acquire, upscalers, plan, batch_index, sink, cancel)
    decode_images(sampled, PendingImages())
