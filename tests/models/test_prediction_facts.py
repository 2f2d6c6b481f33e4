"""What a file says about its prediction, and how it ranks among the user's setting, the .yaml and the metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.models.files.header import Header, TensorInfo
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec, may_predict_v
from modules.models.prediction_facts import PredictionFacts, read_prediction_facts
from modules.params.settings import Settings
from tests.models.model_files import CONFIGS, shapes_of, write_safetensors


def facts(*names: str, **metadata: str) -> PredictionFacts:
    tensors = {name: TensorInfo((0,), "F32") for name in names}
    return read_prediction_facts(Header(tensors, metadata, "safetensors"))


def test_keys_say_that_a_model_predicts_v_and_starts_from_pure_noise():
    assert facts("v_pred", "ztsnr") == PredictionFacts(True, "", True)
    assert facts("other") == PredictionFacts()


@pytest.mark.parametrize(
    ("value", "stated"),
    [
        ("v", "v_prediction"),
        ("V_Prediction", "v_prediction"),
        ("epsilon", "epsilon"),
        ("edm", ""),
        ("", ""),
    ],
)
def test_the_metadata_states_the_prediction_type(value: str, stated: str):
    assert facts(**{"modelspec.prediction_type": value}).stated == stated


def index_of(folder: Path) -> ModelIndex:
    return ModelIndex({"Checkpoint": [folder]}, CONFIGS, folder / "cache")


def prediction_of(folder: Path, **settings: object) -> str | None:
    models = index_of(folder)
    spec = make_model_spec(models, models.find_checkpoint("xl"), Settings(**settings))
    return spec.prediction_type


def test_the_key_wins_over_the_yaml_and_the_users_setting_over_the_key(tmp_path: Path):
    write_safetensors(tmp_path / "xl.safetensors", shapes_of("sdxl") | {"v_pred": [0]})
    (tmp_path / "xl.yaml").write_bytes((CONFIGS / "sd_xl_base.yaml").read_bytes())
    assert prediction_of(tmp_path) == "v_prediction"
    assert prediction_of(tmp_path, sd_predictions={"xl.safetensors": "epsilon"}) == "epsilon"


def test_the_facts_are_kept_in_the_cache(tmp_path: Path):
    shapes = shapes_of("sdxl") | {"v_pred": [0], "ztsnr": [0]}
    write_safetensors(tmp_path / "xl.safetensors", shapes)
    first = index_of(tmp_path).checkpoints()
    assert index_of(tmp_path).checkpoints() == first
    assert first[0].prediction == PredictionFacts(True, "", True)


def test_a_yaml_of_generative_models_says_v_as_well(tmp_path: Path):
    write_safetensors(tmp_path / "xl.safetensors", shapes_of("sdxl"))
    models = index_of(tmp_path)
    spec = make_model_spec(models, models.find_checkpoint("xl"), Settings())
    assert not may_predict_v(spec, models)
    text = (CONFIGS / "sd_xl_base.yaml").read_text(encoding="utf-8")
    (tmp_path / "xl.yaml").write_text(text.replace("EpsScaling", "VScaling"), encoding="utf-8")
    models.refresh()
    spec = make_model_spec(models, models.find_checkpoint("xl"), Settings())
    assert spec.prediction_type is None
    assert may_predict_v(spec, models)
