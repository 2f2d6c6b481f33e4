from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui import page
from tests.conftest import write_listed_depth


def messages_on_load(engine: Engine) -> dict[str, str]:
    """Return the message of each tab after the page was loaded, by element id."""
    blocks = page.build_page(engine)
    numbers = {
        block.elem_id: number
        for number, block in blocks.blocks.items()
        if str(getattr(block, "elem_id", "")).endswith("_model_message")
    }
    messages = {}
    for event in blocks.fns.values():
        targets = [output._id for output in event.outputs]
        for name, number in numbers.items():
            if targets == [number]:
                messages[name] = event.fn()
    return messages


def test_each_tab_says_why_the_checkpoint_does_not_support_its_task(engine: Engine):
    plain = messages_on_load(engine)
    assert plain["txt2img_model_message"] == ""
    assert "is not a depth checkpoint" in plain["depth_model_message"]
    folder = engine.paths.checkpoint_folders[0]
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    engine.models.refresh()
    engine.select_checkpoint("pruned")
    pruned = messages_on_load(engine)
    assert "Use it in the Depth tab" in pruned["txt2img_model_message"]
    assert "has no depth estimator. Provide a depth map." in pruned["depth_model_message"]
