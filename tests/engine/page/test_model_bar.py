from __future__ import annotations

import pytest

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.engine.page.model_bar import change_model, model_state
from tests.models.model_files import shapes_of, write_safetensors


def add_checkpoint(engine: Engine, name: str, family: str) -> None:
    write_safetensors(engine.paths.checkpoint_folders[0] / name, shapes_of(family))


def test_a_new_file_is_offered_after_a_refresh_and_can_be_chosen(engine: Engine):
    add_checkpoint(engine, "two.safetensors", "sd2")
    assert "two.safetensors" not in [name for _, name in model_state(engine)["checkpoints"]]
    change_model(engine, "refresh", "")
    assert "two.safetensors" in [name for _, name in model_state(engine)["checkpoints"]]
    change_model(engine, "checkpoint", "two.safetensors")
    assert model_state(engine)["checkpoint"] == "two.safetensors"


def test_clip_skip_has_no_effect_on_openclip(engine: Engine):
    assert model_state(engine)["without_effect"] == ()
    add_checkpoint(engine, "two.safetensors", "sd2")
    engine.models.refresh()
    change_model(engine, "checkpoint", "two.safetensors")
    assert model_state(engine)["without_effect"] == ("CLIP_stop_at_last_layers",)


def test_a_task_that_the_checkpoint_cannot_do_has_a_reason(engine: Engine):
    refused = model_state(engine)["refused"]
    assert "is not a depth checkpoint" in refused["depth2img"]
    assert "txt2img" not in refused


def test_an_unknown_checkpoint_or_action_is_refused(engine: Engine):
    before = model_state(engine)["checkpoint"]
    with pytest.raises(NotFound, match="no-such-file"):
        change_model(engine, "checkpoint", "no-such-file")
    with pytest.raises(UserError, match="There is no action 'delete'"):
        change_model(engine, "delete", before)
    assert model_state(engine)["checkpoint"] == before
