from __future__ import annotations

import pytest

from modules.prompt.sub_prompts import strip_comments
from tests.prompt.goldens import goldens


@pytest.mark.parametrize(("prompt", "expected"), goldens("comments"))
def test_comments_are_taken_out_of_a_prompt(prompt: str, expected: str):
    assert strip_comments(prompt) == expected
