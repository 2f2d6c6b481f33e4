import json

import pytest
import yaml

from modules.core.errors import Unsupported, UserError
from modules.models.files.header import Header, TensorInfo
from modules.models.ldm.config import TextEncoderSource, read_config
from modules.models.ldm.noise_schedule import NoiseScheduleConfig
from tests.models.model_files import CONFIGS, header_of, vit_h_shapes

SD1 = CONFIGS / "v1-inference.yaml"


@pytest.fixture
def changed(tmp_path):
    """Return a function that reads the SD 1.x config with one value changed."""

    def read(key_path, value, header=None):
        content = yaml.safe_load(SD1.read_text(encoding="utf-8"))
        section = content["model"]["params"]
        *parents, key = key_path.split(".")
        for name in parents:
            section = section.setdefault(name, {})
        section[key] = value
        file = tmp_path / "changed.yaml"
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        return read_config(file, header or header_of("sd1"), "x.safetensors")

    return read


def test_the_published_sd_1_config_matches_the_published_tensors():
    config = read_config(SD1, header_of("sd1"), "x.safetensors")
    assert config.unet.num_heads == (8, 8, 8, 8)
    assert config.unet.has_attention == (True, True, True, False)
    assert config.unet.context_dim == 768
    assert config.unet.image_size == 64
    assert config.vae.scale_factor == 0.18215
    assert config.noise_schedule == NoiseScheduleConfig(0.00085, 0.012, 1000, "eps")
    assert config.text_encoders[0].num_hidden_layers == 12
    assert config.text_encoders[0].num_attention_heads == 12
    assert config.text_encoders[0].hidden_act == "quick_gelu"


def test_num_head_channels_takes_precedence_over_num_heads_as_in_ldm(changed):
    config = changed("unet_config.params.num_head_channels", 64)
    assert config.unet.num_heads == (5, 10, 20, 20)


def test_missing_keys_have_ldms_defaults(changed):
    assert changed("unet_config.params.context_dim", None).unet.context_dim == 768
    assert changed("unet_config.params.transformer_depth", None).unet.transformer_depth == (1,) * 4
    assert changed("scale_factor", None).vae.scale_factor == 1.0
    assert changed("linear_end", None).noise_schedule.linear_end == 0.02


def test_v_prediction_comes_from_the_yaml(changed):
    assert changed("parameterization", "v").noise_schedule.parameterization == "v"


@pytest.mark.parametrize(
    ("key_path", "value", "message"),
    [
        (
            "unet_config.params.context_dim",
            1024,
            "says context_dim 1024, but 'x.safetensors' has 768",
        ),
        ("unet_config.params.in_channels", 9, "says in_channels 9, but 'x.safetensors' has 4"),
        (
            "unet_config.params.model_channels",
            192,
            "model_channels 192, but 'x.safetensors' has 320",
        ),
        ("unet_config.params.num_res_blocks", 1_000_000_000, "has 12"),
        ("unet_config.params.channel_mult", [1, 2, 4], "has 12"),
        ("unet_config.params.transformer_depth", 10, "transformer_depth 10, but"),
        ("first_stage_config.params.ddconfig.ch", 64, r"ddconfig\.ch 64, but"),
        ("first_stage_config.params.ddconfig.ch_mult", [1, 2, 4], "of length 3, but"),
        ("cond_stage_config.params.text_config", {"hidden_size": 512}, "hidden_size 512, but"),
        (
            "cond_stage_config.target",
            "ldm.x.FrozenOpenCLIPEmbedder",
            "describes the text encoder OpenCLIP",
        ),
        ("unet_config.params.norm_num_group", 8, "unknown key .*Did you mean 'norm_num_groups'"),
        ("unet_config.params.norm_num_groups", 7, "7 groups divide"),
        ("unet_config.params.num_heads", 7, "num_heads should be a divisor"),
        ("unet_config.params.num_heads", -1, "num_heads should be a divisor"),
        ("unet_config.params.channel_mult", [], "model_channels should be such|has 12"),
        ("linear_start", 0.5, "should rise"),
        ("timesteps", 0, "timesteps should be"),
        (
            "cond_stage_config.params.text_config",
            {"num_attention_heads": 5},
            "divisor of hidden_size",
        ),
        ("cond_stage_config.params.text_config", {"hidden_act": "magic"}, "quick_gelu or gelu"),
        ("cond_stage_config.params.version", "./nowhere", "does not exist"),
    ],
)
def test_an_invalid_value_is_reported_with_file_key_and_value(changed, key_path, value, message):
    with pytest.raises(UserError, match=message):
        changed(key_path, value)


@pytest.mark.parametrize(
    ("key_path", "value"),
    [
        ("unet_config.params.use_scale_shift_norm", True),
        ("unet_config.params.num_classes", 10),
        ("first_stage_config.params.embed_dim", 3),
        ("first_stage_config.params.ddconfig.attn_resolutions", [16]),
        ("first_stage_config.params.ddconfig.double_z", False),
        ("beta_schedule", "cosine"),
        ("parameterization", "x0"),
    ],
)
def test_values_that_are_not_implemented_are_unsupported(changed, key_path, value):
    with pytest.raises(Unsupported, match="not supported"):
        changed(key_path, value)


def test_a_version_that_names_a_local_folder_sets_the_text_encoder(changed, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    values = {"num_attention_heads": 6, "hidden_act": "gelu", "hidden_size": 768}
    (folder / "config.json").write_text(json.dumps({"text_config": values}), encoding="utf-8")
    relative = changed("cond_stage_config.params.version", "clip").text_encoders[0]
    absolute = changed("cond_stage_config.params.version", str(folder)).text_encoders[0]
    assert relative == absolute
    assert (relative.num_attention_heads, relative.hidden_act) == (6, "gelu")
    assert relative.intermediate_size == 3072


def test_a_version_that_names_a_hub_model_is_not_downloaded(changed):
    config = changed("cond_stage_config.params.version", "openai/clip-vit-large-patch14")
    assert config.text_encoders[0].num_attention_heads == 12


def test_a_text_encoder_that_does_not_match_the_unet_is_refused(changed):
    tensors = {
        name: TensorInfo(tuple(512 if size == 768 else size for size in info.shape), info.dtype)
        if name.startswith("cond_stage_model")
        else info
        for name, info in header_of("sd1").tensors.items()
    }
    with pytest.raises(UserError, match=r"text encoder of 'x\.safetensors' gives 512"):
        changed("timesteps", 1000, Header(tensors, {}, "safetensors"))


def test_a_yaml_that_does_not_describe_a_checkpoint_is_refused(tmp_path):
    file = tmp_path / "other.yaml"
    file.write_text("name: something else\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"lacks model\.params"):
        read_config(file, header_of("sd1"), "x.safetensors")


@pytest.mark.parametrize(("layer_count", "computed", "skipped"), [(23, 23, 0), (24, 23, 1)])
def test_of_open_clip_as_transformers_saves_it_23_layers_are_computed(
    layer_count, computed, skipped
):
    shapes = vit_h_shapes(layer_count).items()
    tensors = {name: TensorInfo(tuple(shape), "F16") for name, shape in shapes}
    source = TextEncoderSource(Header(tensors, {}, "safetensors"), "h.safetensors")
    bare = {k: v for k, v in header_of("sd2").tensors.items() if not k.startswith("cond_stage")}
    text = read_config(
        CONFIGS / "v2-inference.yaml",
        Header(bare, {}, "safetensors"),
        "x.safetensors",
        (source,),
    ).text_encoders[0]
    assert (text.num_hidden_layers, text.skipped_layer_count) == (computed, skipped)
    assert (text.hidden_act, text.num_attention_heads, text.layout.pad_token_id) == ("gelu", 16, 0)


@pytest.mark.parametrize("version", ["~nobody-has-this-name/x", "x" * 900, "./" + "x" * 900])
def test_a_version_that_cannot_be_a_folder_is_an_invalid_value(changed, version):
    with pytest.raises(UserError, match="version should be the name of a folder"):
        changed("cond_stage_config.params.version", version)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"text_config":' * 100_000,
        '{"hidden_size": Infinity}',
        '{"hidden_size": 1' + "0" * 4000 + "}",
        '{"hidden_size": 1' + "0" * 9000 + "}",
        '{"hidden_size": 768, "layer_norm_eps": NaN}',
        '{"hidden_act": "\\ud800"}',
        " " * 300_000 + "{}",
    ],
)
def test_an_odd_config_json_is_an_error_in_words(changed, tmp_path, content):
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.json'") as caught:
        changed("cond_stage_config.params.version", "./clip")
    assert len(str(caught.value).encode()) < 500


def with_number(prefix, number):
    odd = {f"{prefix}{number}.weight": TensorInfo((0,), "F16")}
    return Header({**header_of("sd1").tensors, **odd}, {}, "safetensors")


@pytest.mark.parametrize("number", ["999999999", "9" * 400])
@pytest.mark.parametrize(
    "prefix", ["model.diffusion_model.input_blocks.", "first_stage_model.decoder.up."]
)
def test_a_huge_number_in_a_name_is_not_the_count_of_blocks(changed, prefix, number):
    with pytest.raises(UserError, match=r"but 'x\.safetensors' has") as caught:
        changed("image_size", 64, with_number(prefix, number))
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("number", ["999999999", "9" * 400])
def test_a_huge_number_in_a_name_does_not_make_as_many_layers(changed, number):
    header = with_number("cond_stage_model.transformer.text_model.encoder.layers.", number)
    assert changed("image_size", 64, header).text_encoders[0].num_hidden_layers < 300
