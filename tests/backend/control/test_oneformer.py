"""OneFormer: files in the authors' layout, and the segments of masks that are known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from modules.backend.control.annotators.segments import oneformer
from modules.backend.control.preprocess import Preprocessors
from modules.backend.loading.ldm_keys import QkvSlice
from modules.core.errors import BadFile, Unsupported
from modules.core.paths import Paths
from modules.models.index import ModelIndex
from modules.plan.units.preprocessing import plan_preprocessing
from modules.prompt.tokens import ClipTokenizer
from tests.backend.control.annotator_weights import noise
from tests.conftest import ROOT

CPU = torch.device("cpu")
EMBED, DEPTHS, HEADS, WINDOW = 16, (1, 2, 2, 1), (1, 2, 4, 8), 4
WIDTH, QUERIES, LAYERS, WIDE = 64, 6, 2, 32


def published_shapes(classes: int = 150) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of a tiny network in the authors' layout; theirs has Swin-L, 250 queries and widths of 256."""
    pixels, predictor = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    shapes: dict[str, tuple[int, ...]] = {
        pixels + "transformer.level_embed": (3, WIDTH),
        pixels + "adapter_1.weight": (WIDTH, EMBED, 1, 1),
        pixels + "layer_1.weight": (WIDTH, WIDTH, 3, 3),
        predictor + "query_embed.weight": (QUERIES, WIDTH),
        predictor + "level_embed.weight": (3, WIDTH),
    }
    layers: dict[str, tuple[int, ...]] = {
        "backbone.patch_embed.proj": (EMBED, 3, 4, 4),
        "backbone.patch_embed.norm": (EMBED,),
        pixels + "adapter_1.norm": (WIDTH,),
        pixels + "layer_1.norm": (WIDTH,),
        pixels + "mask_features": (WIDTH, WIDTH, 1, 1),
        predictor + "decoder_norm": (WIDTH,),
        predictor + "class_input_proj": (WIDTH, WIDTH, 1, 1),
        predictor + "class_embed": (classes + 1, WIDTH),
        predictor + "class_transformer.decoder.norm": (WIDTH,),
        "task_mlp.layers.0": (WIDTH, 77),
        "task_mlp.layers.1": (WIDTH, WIDTH),
    }
    attentions: list[str] = []
    for stage, (depth, heads) in enumerate(zip(DEPTHS, HEADS, strict=True)):
        width = EMBED << stage
        layers[f"backbone.norm{stage}"] = (width,)
        for number in range(depth):
            block = f"backbone.layers.{stage}.blocks.{number}."
            shapes[block + "attn.relative_position_bias_table"] = ((2 * WINDOW - 1) ** 2, heads)
            layers |= {block + "norm1": (width,), block + "norm2": (width,)}
            layers |= {block + "attn.qkv": (3 * width, width), block + "attn.proj": (width, width)}
            layers |= {
                block + "mlp.fc1": (4 * width, width),
                block + "mlp.fc2": (width, 4 * width),
            }
        if stage < 3:
            down = f"backbone.layers.{stage}.downsample."
            shapes[down + "reduction.weight"] = (2 * width, 4 * width)
            layers[down + "norm"] = (4 * width,)
            layers[f"{pixels}input_proj.{stage}.0"] = (WIDTH, EMBED << (3 - stage), 1, 1)
            layers[f"{pixels}input_proj.{stage}.1"] = (WIDTH,)
            layers[f"{predictor}mask_embed.layers.{stage}"] = (WIDTH, WIDTH)
    for number in range(LAYERS):
        layer = f"{pixels}transformer.encoder.layers.{number}."
        layers |= {
            layer + "self_attn.sampling_offsets": (8 * 3 * 4 * 2, WIDTH),
            layer + "self_attn.attention_weights": (8 * 3 * 4, WIDTH),
            layer + "self_attn.value_proj": (WIDTH, WIDTH),
            layer + "self_attn.output_proj": (WIDTH, WIDTH),
        }
        query = f"{predictor}class_transformer.decoder.layers.{number}."
        ffn = f"{predictor}transformer_ffn_layers.{number}."
        for place in (layer, query, ffn):
            layers |= {place + "linear1": (WIDE, WIDTH), place + "linear2": (WIDTH, WIDE)}
        cross = f"{predictor}transformer_cross_attention_layers.{number}."
        own = f"{predictor}transformer_self_attention_layers.{number}."
        norms = (layer + "norm1", layer + "norm2", cross + "norm", own + "norm", ffn + "norm")
        layers |= dict.fromkeys((*norms, *(f"{query}norm{n}" for n in (1, 2, 3))), (WIDTH,))
        attentions += [query + "self_attn", query + "multihead_attn"]
        attentions += [cross + "multihead_attn", own + "self_attn"]
    for name in attentions:
        shapes |= {
            name + ".in_proj_weight": (3 * WIDTH, WIDTH),
            name + ".in_proj_bias": (3 * WIDTH,),
        }
        layers[name + ".out_proj"] = (WIDTH, WIDTH)
    for name, shape in layers.items():
        shapes |= {name + ".weight": shape, name + ".bias": shape[:1]}
    return shapes


def published_weights(classes: int = 150) -> dict[str, Tensor]:
    """Return random weights that keep numbers at their size."""
    random = np.random.RandomState(0)
    weights: dict[str, Tensor] = {}
    for name, shape in sorted(published_shapes(classes).items()):
        values = random.standard_normal(shape)
        if len(shape) > 1 and "table" not in name and "embed.weight" not in name:
            values *= (1 / int(np.prod(shape[1:]))) ** 0.5
        elif len(shape) == 1:
            values = 0.1 * values + name.endswith("weight")
        weights[name] = torch.from_numpy(values).float()
    return weights


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models" / "ControlNet" / "annotators"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def models(tmp_path: Path) -> ModelIndex:
    return ModelIndex.from_paths(Paths(ROOT, tmp_path))


def test_each_published_tensor_has_its_place():
    shapes = published_shapes()
    empty = oneformer.make_empty_network(published_weights())
    used: set[str] = set()
    for name, tensor in empty.state_dict().items():
        key = oneformer.oneformer_key(name)
        if isinstance(key, QkvSlice):
            whole = shapes[key.key]
            assert (whole[0] // 3, *whole[1:]) == tuple(tensor.shape), name
        else:
            assert shapes[key] == tuple(tensor.shape), name
        used.add(key.key if isinstance(key, QkvSlice) else key)
    assert set(shapes) - used == set()
    with pytest.raises(KeyError):
        oneformer.oneformer_key("text_mapper.prompt_ctx.weight")


class Seeing:
    """A network with two queries: sky on the left, a person everywhere, less surely."""

    device = CPU

    def __call__(self, pixels: Tensor, task: Tensor) -> SimpleNamespace:
        self.pixels, self.task = pixels, task
        masks = torch.full((1, 2, pixels.shape[2] // 4, pixels.shape[3] // 4), 3.0)
        masks[0, 0, :, 80:] = -9
        classes = torch.zeros(1, 2, 151)
        classes[0, 0, 2], classes[0, 1, 12] = 9, 8
        classes[0, 1, 150] = 7  # perhaps it is nothing
        return SimpleNamespace(
            transformer_decoder_mask_predictions=masks,
            transformer_decoder_class_predictions=classes,
        )


def test_segments_have_the_colours_of_the_likeliest_classes():
    image = np.zeros((64, 128, 3), np.uint8)
    image[:, 64:] = (255, 0, 51)
    network = Seeing()
    drawn = oneformer.find_segments(network, image, oneformer.OF_ADE20K)
    assert network.pixels.shape == (1, 3, 640, 1280)
    assert network.pixels[0, :, 300, 1000].tolist() == pytest.approx(
        [(255 - 123.675) / 58.395, -116.28 / 57.12, (51 - 103.53) / 57.375], abs=1e-4
    )
    assert network.task.shape == (1, 77)
    assert network.task[0, :8].tolist() == [49406, 518, 10549, 533, 29119, 1550, 49407, 0]
    assert drawn.shape == image.shape
    assert drawn[30, 10].tolist() == [6, 230, 230]
    assert drawn[30, 100].tolist() == [150, 5, 61]
    oneformer.find_segments(network, np.zeros((64, 192, 3), np.uint8), oneformer.OF_COCO)
    assert network.pixels.shape == (1, 3, 448, 1344)  # 444 by 1333, filled up


def test_the_task_is_a_sentence_of_clips_tokens(tokenizer: ClipTokenizer):
    ids = tokenizer.encode("the task is semantic")
    assert (tokenizer.bos_token_id, *ids, tokenizer.eos_token_id) == oneformer._TASK


def test_the_files_serve_and_others_are_told(models: ModelIndex, folder: Path):
    with pytest.raises(
        Unsupported,
        match=r"'seg_ofade20k' needs the file 250_16_swin_l_oneformer_ade20k_160k.pth. Put it from hugging",
    ):
        plan_preprocessing(models, "seg_ofade20k")
    with pytest.raises(Unsupported, match=r"the file 150_16_swin_l_oneformer_coco_100ep.pth"):
        plan_preprocessing(models, "oneformer_coco")
    unused = {
        "prompt_ctx.weight": torch.zeros(16, 256),
        "criterion.empty_weight": torch.zeros(134),
        "backbone.layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16),
    }
    for name, classes in (
        ("250_16_swin_l_oneformer_ade20k_160k", 150),
        ("150_16_swin_l_oneformer_coco_100ep", 133),
    ):
        torch.save({"model": published_weights(classes) | unused}, folder / f"{name}.pth")
    images = [
        Preprocessors(CPU).make(
            plan_preprocessing(models, module, (64, -1, -1)), Image.fromarray(noise(64, 64))
        )
        for module in ("oneformer_ade20k", "seg_ofcoco")
    ]
    assert [made.image.size for made in images] == [(64, 64), (64, 64)]
    torch.save({"model": {"a": torch.zeros(1)}}, folder / "150_16_swin_l_oneformer_coco_100ep.pth")
    models.refresh("Annotator")
    planned = plan_preprocessing(models, "seg_ofcoco", (64, -1, -1))
    with pytest.raises(BadFile, match=r"'150_16.*' holds another network than its name says: it l"):
        Preprocessors(CPU).make(planned, Image.fromarray(noise(64, 64)))
