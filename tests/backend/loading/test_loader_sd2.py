import pytest
import torch
from diffusers.loaders import single_file_utils

from modules.backend.components import Precision
from modules.backend.loading import ldm_keys
from modules.backend.loading.loader import LoadOptions, build_components, load_components
from modules.core.errors import UserError
from modules.models.families import Family
from modules.models.files.header import Header
from modules.models.ldm.config import read_config
from tests.backend.checkpoints import same, write_checkpoint
from tests.backend.checkpoints_sd2 import tiny_sd2_modules, tiny_sd2_weights, write_sd2
from tests.models.model_files import CONFIGS, header_of
from tests.tolerance import assert_alike, rounding

FULL = Precision(torch.float32, torch.float32, torch.float32)
HALF = Precision(torch.float16, torch.float32, torch.float16)


def load_tiny(path, options=None, precision=FULL):
    return load_components(path, path.with_suffix(".yaml"), precision, options or LoadOptions())


@pytest.mark.parametrize("in_channels", [4, 9])
@pytest.mark.parametrize("extension", ["safetensors", "ckpt"])
def test_unet_and_text_encoder_compute_their_definition(tmp_path, in_channels, extension):
    components = load_tiny(write_sd2(tmp_path / f"tiny.{extension}", in_channels))
    unet, text = tiny_sd2_modules(in_channels)
    ids = torch.tensor([[49406, 320, 2368, 49407, *[0] * 73]])
    x = torch.randn(1, in_channels, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        cond = text(ids)
        found = components.text_encoders[0].network(ids).last_hidden_state
        assert_alike(found, cond, rounding(text))
        found = components.unet(x, 500, cond).sample
        assert_alike(found, unet(x, 500, cond).sample, rounding(unet))
    assert same(components.unet, unet)
    assert components.text_encoders[0].pad_token_id == 0


def test_open_clip_keys_agree_with_diffusers():
    weights = tiny_sd2_weights()
    encoder = load_text_encoder(weights)
    config = type("Model", (), {"config": encoder.config})
    converted = single_file_utils.convert_open_clip_checkpoint(config, weights)
    ours = encoder.state_dict()
    theirs = {key.removeprefix("text_model."): value for key, value in converted.items()}
    assert ours.keys() <= theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def load_text_encoder(weights):
    from modules.backend.loading import empty_models
    from modules.models.files.header import TensorInfo
    from modules.models.ldm.text_encoder import read_text_config
    from modules.models.ldm.yaml import YamlSection

    infos = {name: TensorInfo(tuple(v.shape), "F32") for name, v in weights.items()}
    config = read_text_config(YamlSection({}, CONFIGS), Header(infos, {}, "safetensors"))
    encoder = empty_models.make_empty_text_encoder(config)
    state = {}
    for key in encoder.state_dict():
        name = ldm_keys.open_clip_key(key)
        if isinstance(name, ldm_keys.QkvSlice):
            state[key] = weights[name.key].chunk(3)[name.part]
        else:
            state[key] = weights[name]
    encoder.load_state_dict(state, assign=True)
    return encoder


@pytest.mark.parametrize(
    ("file", "config", "channels", "parameters"),
    [
        ("sd2", "v2-inference.yaml", 4, 865_910_724),  # as in the model card
        ("sd2", "v2-inference-v.yaml", 4, 865_910_724),
        ("sd2-inpainting", "v2-inpainting-inference.yaml", 9, 865_925_124),
        ("sd2-depth", "v2-midas-inference.yaml", 5, 865_913_604),
        ("sd1-inpainting", "v1-inpainting-inference.yaml", 9, 859_535_364),
        ("instruct-pix2pix", "instruct-pix2pix.yaml", 8, 859_532_484),
    ],
)
def test_published_keys_and_shapes_are_all_accounted_for(file, config, channels, parameters):
    header = header_of(file)
    model = read_config(CONFIGS / config, header, file)
    weights = {name: torch.empty(t.shape, device="meta") for name, t in header.tensors.items()}
    components = build_components(weights, model, FULL, file, Family("any", ()))
    assert sum(p.numel() for p in components.unet.parameters()) == parameters
    assert components.unet.config.in_channels == channels
    assert components.unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.heads in (5, 8)
    assert len(components.text_encoders[0].network.state_dict()) == (
        372 if file.startswith("sd2") else 196
    )


def test_the_yaml_can_choose_the_last_layer(tmp_path):
    changes = {"cond_stage_config.params.layer": "last"}
    components = load_tiny(write_sd2(tmp_path / "tiny.safetensors", changes=changes))
    assert components.text_encoders[0].network.config.num_hidden_layers == 3


def test_a_yaml_for_the_other_text_encoder_is_refused_with_both_names(tmp_path):
    path = write_sd2(
        tmp_path / "tiny.safetensors",
        changes={"cond_stage_config.target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder"},
    )
    with pytest.raises(UserError, match=r"tiny\.yaml' describes .* CLIP, but .* has OpenCLIP"):
        load_tiny(path)
    path = write_checkpoint(
        tmp_path / "one.safetensors",
        changes={"cond_stage_config.target": "x.FrozenOpenCLIPEmbedder"},
    )
    with pytest.raises(UserError, match=r"describes .* OpenCLIP, but .* has CLIP"):
        load_tiny(path)


def test_attention_stays_finite_where_half_precision_would_overflow(tmp_path):
    unet = load_tiny(write_sd2(tmp_path / "tiny.safetensors"), precision=HALF).unet
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    assert unet.config.upcast_attention
    for layer in (attention.to_q, attention.to_k):
        layer.weight.fill_(1.0)
    x = torch.full((1, 4, 64), 2.0, dtype=torch.float16)
    with torch.inference_mode():
        scores = attention.to_q(x) @ attention.to_k(x).transpose(1, 2)
        assert scores.isinf().all()
        assert attention(x).isfinite().all()


def test_only_sd_2_in_half_precision_upcasts_attention(tmp_path):
    two = write_sd2(tmp_path / "two.safetensors")
    one = write_checkpoint(tmp_path / "one.safetensors")
    assert load_tiny(two, precision=HALF).unet.config.upcast_attention
    assert not load_tiny(two, precision=FULL).unet.config.upcast_attention
    assert not load_tiny(one, precision=HALF).unet.config.upcast_attention


@pytest.mark.parametrize(
    ("option", "parameterization", "expected"),
    [
        ("v_prediction", "eps", "v_prediction"),
        ("epsilon", "v", "epsilon"),
        (None, "v", "v_prediction"),
        (None, "eps", "epsilon"),
    ],
)
def test_a_selected_prediction_type_overrides_the_yaml(
    tmp_path, option, parameterization, expected
):
    path = write_sd2(tmp_path / "tiny.safetensors", changes={"parameterization": parameterization})
    assert load_tiny(path, LoadOptions(prediction=option)).prediction_type == expected


@pytest.mark.parametrize(
    ("bias", "expected"), [(0.5, "epsilon"), (-0.4, "epsilon"), (-0.6, "v_prediction")]
)
def test_the_probe_detects_v_by_an_output_far_below_the_input(tmp_path, bias, expected):
    weights = tiny_sd2_weights()
    weights["model.diffusion_model.out.2.weight"].zero_()
    weights["model.diffusion_model.out.2.bias"].fill_(bias)
    path = write_sd2(tmp_path / "tiny.safetensors", weights=weights)
    assert load_tiny(path, LoadOptions(prediction="probe")).prediction_type == expected
