import pytest

from modules.models.families import make_family_registry
from modules.models.files.header import Header, TensorInfo
from modules.models.kinds import detect, find_checkpoint_error, make_kind_registry
from modules.models.ldm.keys import UNET_CONTEXT_KEY
from tests.models.model_files import CONFIGS, header_of


def header(**shapes):
    infos = {name.replace("__", "."): TensorInfo(shape, "F16") for name, shape in shapes.items()}
    return Header(infos, {}, "safetensors")


def found(header):
    return detect(header, make_kind_registry(), make_family_registry())


def error_of(header):
    return find_checkpoint_error(header, found(header))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("sd1", "SD 1.x"),
        ("sd1-inpainting", "SD 1.x inpainting"),
        ("instruct-pix2pix", "InstructPix2Pix"),
        ("sd2", "SD 2.x"),
        ("sd2-inpainting", "SD 2.x inpainting"),
        ("sd2-depth", "SD 2.x depth"),
        ("sdxl", "SDXL"),
        ("vae", "VAE"),
        ("lora", "LoRA"),
    ],
)
def test_a_family_or_kind_is_detected_by_names_and_shapes(file, name):
    assert found(header_of(file)).name == name
    assert bool(error_of(header_of(file))) == (name in ("SDXL", "VAE", "LoRA"))


@pytest.mark.parametrize(
    ("shapes", "name"),
    [
        ({"emb_params": (4, 768)}, "Embedding"),
        ({"string_to_param__*": (4, 768)}, "Embedding"),
        ({"control_model__input_hint_block__0__weight": (16, 3, 3, 3)}, "ControlNet"),
        ({"joint_blocks__0__x_block__attn__qkv__weight": (1,)}, "SD 3"),
        ({"double_blocks__0__img_attn__qkv__weight": (1,)}, "Flux"),
        ({"unet__x__lora_A__weight": (8, 320)}, "LoRA"),
        ({"conv_first__weight": (64, 3, 3, 3)}, "Upscaler"),
    ],
)
def test_a_file_in_the_wrong_folder_is_refused_by_its_type(shapes, name):
    assert found(header(**shapes)).name == name
    assert error_of(header(**shapes)).startswith("is a")


def test_a_unet_alone_is_a_checkpoint_whose_vae_and_text_encoder_are_separate():
    unet = header_of("sd1-unet-alone")
    assert error_of(unet) == ""


def test_a_checkpoint_without_its_unet_has_an_error():
    tensors = header_of("sd2").tensors
    kept = {k: v for k, v in tensors.items() if k == UNET_CONTEXT_KEY or k.startswith("cond_stage")}
    incomplete = Header(kept, {}, "safetensors")
    assert error_of(incomplete).startswith("lacks its UNet.")


def test_unknown_tensors_have_no_family():
    assert found(header(a=(1,))) == (None, None)
    assert "no model of a known type" in error_of(header(a=(1,)))


def test_old_key_variants_are_the_same_family():
    tensors = {
        name.replace("text_model.", ""): info for name, info in header_of("sd1").tensors.items()
    }
    old = Header(tensors, {}, "zip")
    assert found(old).name == "SD 1.x"
    assert error_of(old) == ""


def test_every_supported_family_has_a_config_file():
    assert all(
        (CONFIGS / row.config_file).is_file() for row in make_family_registry() if not row.error
    )
    assert all(row.error or row.component_keys for row in make_family_registry())
