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
    """Return the outputs of a button's event handler for these inputs."""
    (number,) = (
        number
        for number, block in blocks.blocks.items()
        if getattr(block, "elem_id", "") == element
    )
    (event,) = (event for event in blocks.fns.values() if (number, "click") in event.targets)
    return list(event.fn(*values))


def test_chosen_styles_are_applied_to_the_prompts(blocks: gr.Blocks):
    assert press(blocks, "txt2img_apply_styles", "a cat", "", ["ink"]) == [
        "a cat, ink",
        "photo",
        [],
        "",
    ]


def test_applying_a_deleted_style_is_an_error(blocks: gr.Blocks):
    *_, message = press(blocks, "img2img_apply_styles", "a cat", "", ["gone"])
    assert "There is no style named" in message


def test_the_prompts_are_saved_as_a_style_that_every_tab_offers(blocks: gr.Blocks, engine: Engine):
    message, *updates = press(blocks, "txt2img_save_style", " oil ", "oil painting", "ink")
    assert "Saved the prompts as &#x27;oil&#x27;." in message
    assert engine.styles.get("oil") == Style("oil", "oil painting", "ink")
    assert len(updates) >= 4
    assert all(update.constructor_args["choices"] == ["ink", "oil"] for update in updates)


def test_a_style_is_deleted(blocks: gr.Blocks, engine: Engine):
    message, *_ = press(blocks, "txt2img_delete_style", "ink", "", "")
    assert "Deleted the style" in message
    assert engine.styles.names() == []


@pytest.mark.parametrize("button", ["save", "delete"])
def test_a_style_without_a_name_is_an_error(blocks: gr.Blocks, button: str):
    message, *_ = press(blocks, f"txt2img_{button}_style", None, "a", "b")
    assert "error" in message


def test_the_dropdown_offers_the_saved_styles(blocks: gr.Blocks):
    (styles,) = (
        block
        for block in blocks.blocks.values()
        if getattr(block, "elem_id", "") == "txt2img_styles"
    )
    assert isinstance(styles, gr.Dropdown)
    assert [name for name, _ in styles.choices] == ["ink"]
    assert styles.multiselect
