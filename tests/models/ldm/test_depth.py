import pytest

from modules.core.errors import UserError
from modules.models.ldm.depth import DepthConfig, read_depth_config
from modules.models.ldm.yaml import YamlSection
from tests.models.model_files import CONFIGS, header_of


def model(**params):
    """Return `model.params` of a .yaml with these params of its depth estimator."""
    values = {"depth_stage_config": {"params": {"model_type": "dpt_hybrid", **params}}}
    return YamlSection(values, CONFIGS / "own.yaml", "model.params")


def test_the_published_estimator_needs_no_keys_in_the_yaml():
    assert read_depth_config(model(), header_of("sd2-depth")) == DepthConfig(12, 32)


def test_the_yaml_sets_heads_and_groups():
    params = model(num_attention_heads=6, backbone_num_groups=16)
    assert read_depth_config(params, header_of("sd2-depth")) == DepthConfig(6, 16)


def test_a_checkpoint_without_an_estimator_has_no_depth_config():
    assert read_depth_config(model(num_attention_heads=6), header_of("sd2")) is None


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("num_attention_heads", 7, "a divisor of the estimator's width 768"),
        ("num_attention_heads", 0, "a divisor of the estimator's width 768"),
        ("num_attention_heads", "many", "a whole number"),
        ("backbone_num_groups", 48, "a divisor of [64, 128, 256, 512, 1024]"),
        ("backbone_num_groups", -1, "a divisor of [64, 128, 256, 512, 1024]"),
    ],
)
def test_a_value_that_does_not_divide_is_reported_with_its_key(key, value, expected):
    with pytest.raises(UserError) as caught:
        read_depth_config(model(**{key: value}), header_of("sd2-depth"))
    assert f"model.params.depth_stage_config.params.{key} should be {expected}" in str(caught.value)
