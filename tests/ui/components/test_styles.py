from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from modules.engine.engine import Engine
from modules.prompt.styles import Style
from modules.ui import page


@pytest.fixture
def blocks(engine: Engine) -> gr.Blocks:
    engine.styles.save(Style("ink", "{prompt}, ink", "photo"))
    return page.build_page(engine)


def press(blocks: gr.Blocks, element: str, *values: Any) -> list[Any]:
    """Return what a button's handler gives for these values of its inputs."""
    (number,) = (n for n, one in blocks.blocks.items() if getattr(one, "elem_id", "") == element)
    (handler,) = (f for f in blocks.fns.values() if (number, "click") in f.targets)
    return list(handler.fn(*values))


def test_chosen_styles_are_written_into_the_prompts(blocks: gr.Blocks):
    assert press(blocks, "txt2img_apply_styles", "a cat", "", ["ink"]) == [
        "a cat, ink",
        "photo",
        [],
        "",
    ]


def test_a_style_that_is_gone_is_told(blocks: gr.Blocks):
    *_, message = press(blocks, "img2img_apply_styles", "a cat", "", ["gone"])
    assert "There is no style named" in message


def test_the_prompts_are_saved_as_a_style_that_every_tab_offers(blocks: gr.Blocks, engine: Engine):
    message, *lists = press(blocks, "txt2img_save_style", " oil ", "oil painting", "ink")
    assert "Saved the prompts as &#x27;oil&#x27;." in message
    assert engine.styles.get("oil") == Style("oil", "oil painting", "ink")
    assert len(lists) >= 4
    assert all(one.constructor_args["choices"] == ["ink", "oil"] for one in lists)


def test_a_style_is_deleted(blocks: gr.Blocks, engine: Engine):
    message, *_ = press(blocks, "txt2img_delete_style", "ink", "", "")
    assert "Deleted the style" in message
    assert engine.styles.names() == []


@pytest.mark.parametrize("button", ["save", "delete"])
def test_a_name_is_needed(blocks: gr.Blocks, button: str):
    message, *_ = press(blocks, f"txt2img_{button}_style", None, "a", "b")
    assert "error" in message


def test_the_list_offers_what_is_saved(blocks: gr.Blocks):
    (chosen,) = (
        one for one in blocks.blocks.values() if getattr(one, "elem_id", "") == "txt2img_styles"
    )
    assert isinstance(chosen, gr.Dropdown)
    assert [name for name, _ in chosen.choices] == ["ink"]
    assert chosen.multiselect
