"""Encoded prompts outlive their job and their model's stay in memory."""

from __future__ import annotations

import torch

from modules.backend.conditioning.prompt_cache import PromptCache
from modules.backend.conditioning.text import Conditioning


def conditioning(tokens: int) -> Conditioning:
    return Conditioning((torch.zeros(1, tokens, 32),), pooled=(torch.zeros(1, 8),))


ONE = 4 * (77 * 32 + 8)  # bytes of a prompt of one chunk


def test_the_least_recently_used_prompts_leave_first():
    cache, prompt = PromptCache(2 * ONE), conditioning(77)
    cache.keep("a", prompt)
    cache.keep("b", prompt)
    assert cache.find("a") is prompt
    cache.keep("c", prompt)
    assert [key for key in "abc" if cache.find(key)] == ["a", "c"]
    cache.keep("a", prompt)  # takes no more than it did
    assert cache.find("c") is prompt
    cache.keep("long", conditioning(10 * 77))
    assert [key for key in ("a", "c", "long") if cache.find(key)] == ["long"]
    cache.clear()
    assert cache.find("long") is None
