"""Model settings: VAE, prediction type, conversion, native size."""

from __future__ import annotations

import pytest
import torch

from modules.core.errors import NotFound, UserError
from modules.engine.engine import Engine
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.conftest import SD1_SHAPES
from tests.engine.fake_executor import FakeExecutor
from tests.models.model_files import shapes_of, write_safetensors


@pytest.fixture
def vae(engine: Engine) -> str:
    folder = engine.paths.vae_folders[0]
    folder.mkdir(parents=True)
    (folder / "mse.safetensors").write_bytes(b"a VAE")
    engine.models.refresh()
    return "mse.safetensors"


def test_a_selected_vae_is_loaded_and_named_in_the_infotext(
    engine: Engine, executor: FakeExecutor, vae: str
):
    engine.change_settings({"sd_vae": vae})
    executor.wait_until_idle()
    assert executor.loaded[-1] == "first.safetensors"
    job = engine.submit(Txt2ImgRequest(width=64, height=64, steps=1))
    job.wait()
    text = job.status().images[0].infotext
    digest = engine.models.sha256(engine.models.files("VAE")[0])
    assert f"Model: first, VAE hash: {digest[:10]}, VAE: mse.safetensors" in text


def test_the_vae_of_a_request_applies_to_that_request_only(engine: Engine, vae: str):
    request = Txt2ImgRequest(width=64, height=64, steps=1)
    with_vae, plain = engine.submit(request.replace(sd_vae=vae)), engine.submit(request)
    with_vae.wait()
    plain.wait()
    assert "VAE: mse" in with_vae.status().images[0].infotext
    assert "VAE" not in plain.status().images[0].infotext


def test_a_missing_vae_changes_nothing(engine: Engine, vae: str):
    with pytest.raises(NotFound, match=r"no VAE named 'msee\.pt'"):
        engine.change_settings({"sd_vae": "msee.pt"})
    assert engine.settings.sd_vae == "Automatic"


def test_an_invalid_option_changes_nothing(engine: Engine):
    with pytest.raises(UserError, match="the largest valid value is 10"):
        engine.change_settings({"sd_vae": "None", "sd_checkpoints_limit": 11})
    assert engine.settings.sd_vae == "Automatic"


@pytest.fixture
def sd2_engine(engine: Engine) -> Engine:
    write_safetensors(engine.paths.checkpoint_folders[0] / "two.safetensors", shapes_of("sd2"))
    engine.models.refresh()
    engine.select_checkpoint("two")
    return engine


def test_the_prediction_type_can_be_set_and_reset(sd2_engine: Engine):
    assert sd2_engine.active_checkpoint.is_prediction_unknown()
    sd2_engine.set_prediction_type("v_prediction")
    assert sd2_engine.settings.sd_predictions == {"two.safetensors": "v_prediction"}
    assert sd2_engine.active_checkpoint.native_size() == 768
    sd2_engine.set_prediction_type("")
    assert sd2_engine.settings.sd_predictions == {}
    assert sd2_engine.active_checkpoint.native_size() == 512


def test_an_image_below_the_models_native_size_has_a_note(sd2_engine: Engine):
    sd2_engine.set_prediction_type("v_prediction")
    request = Txt2ImgRequest(width=512, height=768, steps=1)
    plan = sd2_engine.submit(request).plan
    assert plan.notes == (
        "two.safetensors was made for 768x768 pixels; smaller pictures come out worse.",
    )
    assert sd2_engine.submit(request.replace(width=768)).plan.notes == ()


def test_a_converted_ckpt_is_selected_as_safetensors(engine: Engine):
    assert not engine.active_checkpoint.can_convert()
    folder = engine.paths.checkpoint_folders[0]
    weights = {name: torch.ones(shape) for name, shape in SD1_SHAPES.items()}
    torch.save({"state_dict": weights}, folder / "sub" / "old.ckpt")
    engine.models.refresh()
    engine.select_checkpoint("old")
    assert engine.active_checkpoint.can_convert()
    assert engine.convert_checkpoint().name == "sub/old.safetensors"
    assert engine.settings.sd_model_checkpoint == "sub/old.safetensors"
    assert (folder / "sub" / "old.ckpt").exists()
    engine.select_checkpoint("sub/old.ckpt")
    assert not engine.active_checkpoint.can_convert()
    with pytest.raises(UserError, match="already exists"):
        engine.convert_checkpoint()
