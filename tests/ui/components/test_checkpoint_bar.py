from __future__ import annotations

from modules.engine.engine import Engine
from modules.ui.components.checkpoint_bar import clip_skip_update
from modules.ui.page import build_page
from tests.models.model_files import shapes_of, write_safetensors


def test_the_slider_is_built_from_the_declared_setting(engine: Engine):
    engine.change_settings({"CLIP_stop_at_last_layers": 2})
    props = {
        component["props"].get("elem_id"): component["props"]
        for component in build_page(engine).get_config_file()["components"]
    }
    slider = props["setting_CLIP_stop_at_last_layers"]
    assert (slider["label"], slider["minimum"], slider["maximum"], slider["value"]) == (
        "Clip skip",
        1,
        12,
        2,
    )


def test_the_slider_is_visible_only_if_it_has_an_effect(engine: Engine):
    assert clip_skip_update(engine).visible
    write_safetensors(engine.paths.checkpoint_folders[0] / "two.safetensors", shapes_of("sd2"))
    engine.models.refresh()
    engine.select_checkpoint("two")
    assert not clip_skip_update(engine).visible
