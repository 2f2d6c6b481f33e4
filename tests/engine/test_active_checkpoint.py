from __future__ import annotations

from modules.engine.engine import Engine
from tests.conftest import write_listed_checkpoint


def test_the_users_checkpoint_comes_before_the_demo(engine: Engine):
    demo = engine.paths.root / "models" / "Stable-diffusion" / "demo"
    write_listed_checkpoint(demo / "a-demo.safetensors", "demo")
    engine.models.refresh()
    assert engine.active_checkpoint.find().name == "first.safetensors"
    assert not engine.active_checkpoint.is_active_demo()
    assert engine.active_checkpoint.demo_prompts() == ()
    engine.select_checkpoint("demo/a-demo.safetensors")
    assert engine.active_checkpoint.is_active_demo()
    assert "a red circle on a blue background" in engine.active_checkpoint.demo_prompts()


def test_without_a_checkpoint_its_properties_are_empty(engine: Engine):
    for path in engine.paths.checkpoint_folders[0].rglob("*.safetensors"):
        path.unlink()
    engine.models.refresh()
    active = engine.active_checkpoint
    properties = (
        active.is_active_demo(),
        active.native_size(),
        active.incompatibility("txt2img"),
        active.is_prediction_unknown(),
        active.can_convert(),
    )
    assert properties == (False, 0, "", False, False)
