"""Revision: pooled text of SDXL from an image, row by row."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from modules.backend.control.adapters.revision import Revision, RevisionExtension, add_noise
from modules.backend.denoise.step_extensions import UNetCall
from tests.backend.control.adapter_files import random

EMBEDDING = random(1, 6)


def call_of(index: int = 0) -> UNetCall:
    kwargs = {"added_cond_kwargs": {"text_embeds": random(4, 6, seed=3), "time_ids": torch.ones(4)}}
    sample, text = random(4, 4, 8, 8), random(4, 7, 5)
    return UNetCall(sample, torch.tensor(500.0), text, index, kwargs, (True, False))


def revision(weight: float = 1.0, end: int = 9, ignores_prompt: bool = False) -> Revision:
    return Revision(EMBEDDING, weight, lambda index: index < end, ignores_prompt)


def test_the_prompt_gets_the_sum_of_all_units_and_the_negative_one_zeros() -> None:
    extension = RevisionExtension([revision(0.5), revision(2.0, end=1)])
    before = call_of()
    changed = extension.unet_call(before)
    pooled = changed.kwargs["added_cond_kwargs"]["text_embeds"]
    assert_close(pooled, torch.cat([torch.zeros(2, 6), 2.5 * EMBEDDING.expand(2, -1)]))
    assert changed.encoder_hidden_states is before.encoder_hidden_states
    assert bool(before.kwargs["added_cond_kwargs"]["text_embeds"][0].any())

    later = extension.unet_call(call_of(1)).kwargs["added_cond_kwargs"]["text_embeds"]
    assert_close(later[2:], 0.5 * EMBEDDING.expand(2, -1))
    finished = RevisionExtension([revision(end=1)])
    one = call_of(1)
    assert finished.unet_call(one) is one


def test_the_text_can_be_left_out() -> None:
    changed = RevisionExtension([revision(ignores_prompt=True)]).unet_call(call_of())
    assert not changed.encoder_hidden_states.any()


def test_noise_is_of_the_image_and_grows_with_its_share() -> None:
    little, much = (add_noise(EMBEDDING, share, (1, 2)) for share in (0.0, 0.9))
    assert float((little - EMBEDDING).abs().max()) < 0.05
    assert float((much - EMBEDDING).abs().mean()) > 0.3
    assert_close(add_noise(EMBEDDING, 0.9, (2,))[0], much[1])
    assert bool(torch.isfinite(add_noise(EMBEDDING, 1.0, (1,))).all())
