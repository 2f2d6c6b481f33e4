from __future__ import annotations

import argparse
import re

import pytest

from modules.core import flag_types


def test_valid_values_are_parsed():
    assert flag_types.port("7860") == 7860
    assert (
        flag_types.checkpoint_count(str(flag_types.MAX_LOADED_CHECKPOINTS))
        == flag_types.MAX_LOADED_CHECKPOINTS
    )
    assert flag_types.subpath("/tools/sd/") == "tools/sd"
    assert flag_types.regex(r"https://.*\.example") == r"https://.*\.example"


@pytest.mark.parametrize(
    ("flag_type", "text"),
    [
        (flag_types.port, "0"),
        (flag_types.checkpoint_count, "0"),
        (flag_types.gpu_index, "-1"),
        (flag_types.regex, "("),
        (flag_types.subpath, "/"),
    ],
)
def test_an_error_names_the_invalid_value(flag_type, text: str):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"'{text}'")):
        flag_type(text)
