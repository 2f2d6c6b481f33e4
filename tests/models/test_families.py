import pytest

from modules.models.families import make_family_registry
from modules.models.files.header import Header, TensorInfo
from modules.models.kinds import detect, find_checkpoint_error, make_kind_registry
from modules.models.ldm.keys import DIFFUSERS_UNET_KEYS, UNET_CONTEXT_KEY, UNET_INPUT_KEY
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
        ("sdxl-inpainting", "SDXL inpainting"),
        ("sdxl-refiner", "SDXL refiner"),
        ("vae", "VAE"),
        ("lora", "LoRA"),
    ],
)
def test_a_family_or_kind_is_detected_by_names_and_shapes(file, name):
    assert found(header_of(file)).name == name
    assert bool(error_of(header_of(file))) == (name in ("VAE", "LoRA"))


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


@pytest.mark.parametrize(
    ("names", "name", "said"),
    [
        (
            ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"),
            "Flux",
            "a Flux",
        ),
        (("diffusion_model.double_blocks.0.img_attn.qkv.weight",), "Flux", "a Flux"),
        (("single_transformer_blocks.0.attn.to_q.weight", "x_embedder.weight"), "Flux", "a Flux"),
        (("diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",), "SD 3", "an SD 3"),
        (
            ("transformer_blocks.0.attn.add_k_proj.weight", "pos_embed.proj.weight"),
            "SD 3",
            "an SD 3",
        ),
        (
            ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"),
            "Diffusers UNet",
            "only a UNet",
        ),
        (("conv_first.weight", "body.0.rdb1.conv1.weight"), "Upscaler", "an upscaler"),
        (("conv_first.weight", "RRDB_trunk.0.RDB1.conv1.weight"), "Upscaler", "an upscaler"),
        (("params_ema.conv_first.weight",), "Upscaler", "an upscaler"),
        (("body.0.weight", "body.1.weight", "body.2.weight"), "Upscaler", "an upscaler"),
        (
            ("params.body.0.weight", "params.body.1.weight", "params.body.2.weight"),
            "Upscaler",
            "an",
        ),
        (("768.0.linear.0.weight", "768.1.linear.0.weight"), "Hypernetwork", "a hypernetwork"),
        (("320.0.linear1.weight",), "Hypernetwork", "a hypernetwork"),
        (("image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"), "IP-Adapter", "an IP-Adapter"),
        (("conv_in.weight", "body.0.block1.weight"), "T2I-Adapter", "a T2I-Adapter"),
        (("adapter.body.0.resnets.0.block1.weight",), "T2I-Adapter", "a T2I-Adapter"),
        (
            ("down_blocks.0.motion_modules.0.temporal_transformer.norm.weight",),
            "AnimateDiff motion module",
            "a motion module",
        ),
        (
            ("module.down_blocks.0.motion_modules.0.temporal_transformer.norm.weight",),
            "AnimateDiff motion module",
            "a motion module",
        ),
        (("1.weight", "3.conv.0.weight"), "Preview decoder", "a TAESD"),
        (("0.weight", "1.conv.0.weight"), "Preview decoder", "a TAESD"),
        (("taesd_decoder.1.weight",), "Preview decoder", "a TAESD"),
        (
            ("decoder.layers.0.weight", "decoder.layers.2.conv.0.weight"),
            "Preview decoder",
            "a TAESD",
        ),
        (
            (
                "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
            ),
            "LoRA",
            "a LoRA",
        ),
        (("text_encoder.x.mlp.fc1.lora_linear_layer.down.weight",), "LoRA", "a LoRA"),
        (("unet.mid_block.attn1.to_k.lora.down.weight",), "LoRA", "a LoRA"),
        (("vision_model.embeddings.class_embedding",), "CLIP vision encoder", "a CLIP vision"),
        (
            ("model.diffusion_model.input_blocks.1.1.time_stack.0.norm1.weight",),
            "Stable Video Diffusion",
            "a Stable Video",
        ),
    ],
)
def test_other_programs_models_are_named(names, name, said):
    stripped = header(**dict.fromkeys(names, (1,)))
    assert found(stripped).name == name
    assert error_of(stripped).startswith(f"is {said}")


def renamed(file, prefix):
    tensors = header_of(file).tensors
    names = {key: key.replace("model.diffusion_model.", prefix, 1) for key in tensors}
    return Header({names[key]: info for key, info in tensors.items()}, {}, "safetensors")


@pytest.mark.parametrize("prefix", ["", "diffusion_model."])
@pytest.mark.parametrize("file", ["sd1", "sd2", "sd1-inpainting", "sd2-depth", "sd1-unet-alone"])
def test_a_checkpoint_without_the_prefix_of_its_unet_is_the_same(file, prefix):
    assert found(renamed(file, prefix)) == found(header_of(file))
    assert error_of(renamed(file, prefix)) == ""


def as_diffusers_saves_it(file: str, in_channels: int) -> Header:
    """Return the header of a file with the UNet alone, in diffusers' names as far as they tell what it is."""
    tensors = header_of(file).tensors
    names = {name: tensors[key] for key, name in DIFFUSERS_UNET_KEYS.items() if key in tensors}
    conv_in = tensors[UNET_INPUT_KEY]
    names["conv_in.weight"] = conv_in._replace(shape=(320, in_channels, 3, 3))
    return Header(names, {}, "safetensors")


@pytest.mark.parametrize(
    ("file", "in_channels", "name"),
    [
        ("sdxl", 4, "SDXL"),
        ("sdxl", 8, "SDXL InstructPix2Pix"),
        ("sdxl", 9, "SDXL inpainting"),
        ("sdxl-refiner", 4, "SDXL refiner"),
        ("sd1", 4, "SD 1.x"),
        ("sd1", 9, "SD 1.x inpainting"),
        ("sd2", 4, "SD 2.x"),
        ("sd2-depth", 5, "SD 2.x depth"),
    ],
)
def test_a_unet_that_diffusers_saved_is_a_checkpoint_of_its_family(file, in_channels, name):
    header = as_diffusers_saves_it(file, in_channels)
    assert found(header).name == name
    assert error_of(header) == ""


@pytest.mark.parametrize("key", ["edm_mean", "edm_vpred.sigma_max"])
def test_sdxl_with_continuous_noise_is_told_from_sdxl(key):
    tensors = {**header_of("sdxl").tensors, key: TensorInfo((4,), "F32")}
    header = Header(tensors, {}, "safetensors")
    assert found(header).name == "SDXL EDM"
    assert "CosXL" in error_of(header)


def test_an_sdxl_refiner_and_its_unet_alone_are_named():
    context, label = UNET_CONTEXT_KEY, "model.diffusion_model.label_emb.0.0.weight"
    for start in ("model.diffusion_model.", ""):
        names = {
            name.replace("model.diffusion_model.", start): (1536, 1280) for name in (context, label)
        }
        assert found(header(**names)).name == "SDXL refiner"


@pytest.mark.parametrize("file", ["vae", "lora", "sdxl"])
def test_other_files_stay_what_they_are(file):
    assert found(renamed(file, "")) == found(header_of(file))
