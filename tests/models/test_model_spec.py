import pytest

from modules.core.errors import NotFound, UserError
from modules.models.file_cache import read_prediction_type, write_prediction_type
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec, may_predict_v
from modules.models.vaes import vae_names
from modules.params.settings import Settings
from tests.models.model_files import CONFIGS, shapes_of, write_safetensors


@pytest.fixture
def folder(tmp_path):
    write_safetensors(tmp_path / "models" / "two.safetensors", shapes_of("sd2"))
    return tmp_path / "models"


@pytest.fixture
def manager(folder, tmp_path):
    return ModelIndex(
        {"Checkpoint": [folder], "VAE": [tmp_path / "VAE"]}, CONFIGS, tmp_path / "cache"
    )


def spec_of(manager, **settings):
    return make_model_spec(manager, manager.find_checkpoint("two"), Settings(**settings))


def test_the_prediction_type_of_sd_2_is_probed(manager):
    spec = spec_of(manager)
    assert spec.prediction_type == "probe"
    assert spec.config == CONFIGS / "v2-inference.yaml"


def test_the_checkpoints_own_yaml_sets_the_prediction_type(manager, folder):
    (folder / "two.yaml").write_text("model: {}", encoding="utf-8")
    spec = spec_of(manager)
    assert spec.prediction_type is None
    assert spec.config == folder / "two.yaml"


def test_the_users_setting_takes_precedence(manager, folder):
    (folder / "two.yaml").write_text("model: {}", encoding="utf-8")
    spec = spec_of(manager, sd_predictions={"two.safetensors": "v_prediction"})
    assert spec.prediction_type == "v_prediction"


def test_a_checkpoint_may_predict_v_by_setting_yaml_or_while_unknown(manager, folder):
    assert may_predict_v(spec_of(manager), manager)
    yaml = folder / "two.yaml"
    yaml.write_text("model: {params: {parameterization: v}}", encoding="utf-8")
    manager.refresh()
    assert may_predict_v(spec_of(manager), manager)
    epsilon = {"two.safetensors": "epsilon"}
    assert not may_predict_v(spec_of(manager, sd_predictions=epsilon), manager)
    yaml.write_text("model: {params: {unet_config: {}}}", encoding="utf-8")
    assert not may_predict_v(spec_of(manager), manager)


def test_a_probed_prediction_type_is_cached_until_the_file_changes(manager, folder):
    checkpoint = manager.find_checkpoint("two")
    write_prediction_type(manager.cache_folder, checkpoint.stamp, "v_prediction")
    assert spec_of(manager).prediction_type == "v_prediction"
    assert (
        read_prediction_type(manager.cache_folder, checkpoint.stamp._replace(modified_ns=1)) is None
    )


@pytest.fixture
def vaes(tmp_path):
    def write(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(b"x")

    return write


@pytest.mark.parametrize(
    ("files", "setting", "expected"),
    [
        ([], "Automatic", None),
        (["models/two.vae.pt"], "Automatic", "two.vae.pt"),
        (["models/two.vae.pt", "models/two.vae.safetensors"], "Automatic", "two.vae.safetensors"),
        (["VAE/two.safetensors"], "Automatic", "two.safetensors"),
        (["VAE/two.vae.pt"], "Automatic", "two.vae.pt"),
        (["VAE/other.safetensors"], "Automatic", None),
        (["models/sub/two.vae.pt"], "Automatic", None),
        (["models/two.vae.pt"], "None", None),
        (["VAE/mse.safetensors", "models/two.vae.pt"], "mse.safetensors", "mse.safetensors"),
        (["VAE/sub/MSE.ckpt"], "mse.ckpt", "sub/MSE.ckpt"),
    ],
)
def test_the_vae_is_chosen_as_in_a1111(manager, vaes, files, setting, expected):
    vaes(*files)
    vae = spec_of(manager, sd_vae=setting).vae
    assert (vae.name if vae else None) == expected


def test_a_missing_vae_is_not_replaced_by_another(manager, vaes, tmp_path):
    vaes("VAE/mse.safetensors")
    with pytest.raises(NotFound, match=r"no VAE named 'mse\.pt'\. Available: 'mse\.safetensors'"):
        spec_of(manager, sd_vae="mse.pt")
    manager.refresh()
    (tmp_path / "VAE" / "mse.safetensors").unlink()
    with pytest.raises(NotFound, match="no longer at"):
        spec_of(manager, sd_vae="mse.safetensors")


def test_an_ambiguous_vae_name_is_an_error(manager, vaes):
    vaes("VAE/a/x.pt", "VAE/b/x.pt")
    with pytest.raises(UserError, match=r"'a/x\.pt' or 'b/x\.pt'"):
        spec_of(manager, sd_vae="x.pt")
    assert spec_of(manager, sd_vae="b/x.pt").vae.name == "b/x.pt"


def test_a_vae_is_not_listed_among_the_checkpoints(manager, vaes):
    vaes("models/two.vae.pt", "models/two.vae.safetensors", "VAE/mse.pt")
    assert [c.name for c in manager.checkpoints()] == ["two.safetensors"]
    assert vae_names(manager) == [
        "Automatic", "None", "mse.pt", "two.vae.pt", "two.vae.safetensors",
    ]  # fmt: skip
