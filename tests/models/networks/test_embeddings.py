"""What is told of a file among the embeddings, and which checkpoints it fits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from modules.models.checkpoint import Checkpoint
from modules.models.files.scan import ModelFile, scan_folder
from modules.models.index import ModelIndex
from modules.models.networks.embeddings import Embedding, EmbeddingList, read_embedding
from modules.models.prediction_facts import PredictionFacts
from modules.models.text_encoders import TextEncoderInfo
from tests.models.files.test_picture_embedding import DOCUMENT, hide, make_picture
from tests.models.files.test_safe_pickle import Reducer


def listed(path: Path) -> ModelFile:
    (file,) = scan_folder(path.parent, (path.suffix,))
    return file


def read(path: Path) -> Embedding:
    embedding = read_embedding(listed(path))
    assert embedding is not None
    return embedding


def facts(embedding: Embedding) -> tuple[object, ...]:
    assert embedding.error == ""
    return embedding.name, embedding.keys, embedding.widths, embedding.vector_count


def checkpoint(*widths: int) -> Checkpoint:
    infos = tuple(TextEncoderInfo("CLIP", width, True) for width in widths)
    facts = PredictionFacts()
    return Checkpoint("c.safetensors", Path("c.safetensors"), 1, 1, None, "", "", "", infos, facts)


def test_a_file_of_a1111_has_vectors_and_says_what_it_was_trained_on(tmp_path: Path):
    content = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": torch.zeros(3, 768)},
        "name": "inner",
        "step": 1500,
        "sd_checkpoint": "4199bcdd14",
        "sd_checkpoint_name": "dream",
    }
    torch.save(content, tmp_path / "outer.pt")
    embedding = read(tmp_path / "outer.pt")
    assert facts(embedding) == ("outer", ("string_to_param.*",), (768,), 3)
    assert (embedding.step, embedding.checkpoint_hash, embedding.checkpoint_name) == (
        1500,
        "4199bcdd14",
        "dream",
    )


def test_a_table_of_parameters_as_an_object_is_read(tmp_path: Path):
    table = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.zeros(2, 4))})
    torch.save({"string_to_param": table}, tmp_path / "old.pt")
    assert facts(read(tmp_path / "old.pt")) == ("old", ("string_to_param.*",), (4,), 2)


def test_files_of_diffusers_and_safetensors_have_vectors_under_any_key(tmp_path: Path):
    torch.save({"<cat-toy>": torch.zeros(768)}, tmp_path / "learned.bin")
    save_file({"emb_params": torch.zeros(2, 1024)}, tmp_path / "two.safetensors")
    assert facts(read(tmp_path / "learned.bin")) == ("learned", ("<cat-toy>",), (768,), 1)
    assert facts(read(tmp_path / "two.safetensors")) == ("two", ("emb_params",), (1024,), 2)


def test_a_pair_for_sdxl_has_the_order_of_its_text_encoders(tmp_path: Path):
    pair = {"clip_g": torch.zeros(2, 1280), "clip_l": torch.zeros(2, 768)}
    save_file(pair, tmp_path / "xl.safetensors")
    embedding = read(tmp_path / "xl.safetensors")
    assert facts(embedding) == ("xl", ("clip_l", "clip_g"), (768, 1280), 2)
    assert embedding.family == "SDXL"


def test_a_picture_has_the_name_stored_in_it(tmp_path: Path):
    hide(json.dumps(DOCUMENT).encode(), make_picture()).save(tmp_path / "file.png")
    assert facts(read(tmp_path / "file.png")) == ("my-style", ("string_to_param.*",), (3,), 2)


def write_malicious(path: Path) -> None:
    torch.save({"string_to_param": Reducer(os.system, "touch executed")}, path)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (
            lambda path: torch.save({"a": torch.zeros(1, 4), "b": torch.zeros(1, 4)}, path),
            "'bad.pt' holds 2 tensors, and an embedding one.",
        ),
        (
            lambda path: torch.save({"a": torch.zeros(1, 2, 3)}, path),
            "'bad.pt' holds no vectors but 1x2x3 numbers.",
        ),
        (
            lambda path: torch.save({"a": torch.zeros(0, 768)}, path),
            "'bad.pt' holds no vectors but 0x768 numbers.",
        ),
        (lambda path: torch.save({"step": 1}, path), "'bad.pt' holds no tensors."),
        (
            lambda path: torch.save({"a": torch.zeros(76, 768)}, path),
            "The embedding 'bad' has 76 vectors, and a part of a prompt holds 75.",
        ),
        (write_malicious, "'bad.pt' is not safe: it asks for posix.system"),
        (lambda path: path.write_bytes(b""), "'bad.pt' is empty (0 bytes)"),
    ],
)
def test_a_file_that_is_no_embedding_says_why(tmp_path: Path, write, sentence: str):
    write(tmp_path / "bad.pt")
    embedding = read(tmp_path / "bad.pt")
    assert embedding.error.startswith(sentence)
    assert embedding.find_misfit(checkpoint(768)) == embedding.error
    assert not (tmp_path / "executed").exists()


def test_an_embedding_of_another_family_says_so(tmp_path: Path):
    save_file({"emb_params": torch.zeros(1, 1024)}, tmp_path / "two.safetensors")
    embedding = read(tmp_path / "two.safetensors")
    assert embedding.find_misfit(checkpoint(1024)) == ""
    assert embedding.find_misfit(checkpoint(768)) == (
        "The embedding 'two' is for SD 2.x; the text encoder of 'c.safetensors' has the width 768."
    )
    assert embedding.find_misfit(checkpoint(768, 1280)).endswith("has the width 768 + 1280.")


@pytest.fixture
def listing(tmp_path: Path, root: Path) -> EmbeddingList:
    folders = {"Embedding": [tmp_path / "embeddings"]}
    return EmbeddingList(ModelIndex(folders, root / "configs", tmp_path / "cache"))


def test_the_list_has_subfolders_and_pictures_but_no_previews(
    tmp_path: Path, listing: EmbeddingList
):
    folder = tmp_path / "embeddings"
    (folder / "sub").mkdir(parents=True)
    save_file({"emb_params": torch.zeros(1, 4)}, folder / "sub" / "one.safetensors")
    make_picture().save(folder / "sub" / "one.preview.png")
    make_picture().save(folder / "plain.png")
    hide(json.dumps(DOCUMENT).encode(), make_picture()).save(folder / "file.webp", lossless=True)
    assert [one.name for one in listing.all()] == ["my-style", "one"]


def test_a_refresh_finds_new_files_and_reads_changed_ones_again(
    tmp_path: Path, listing: EmbeddingList
):
    folder = tmp_path / "embeddings"
    folder.mkdir()
    save_file({"emb_params": torch.zeros(1, 4)}, folder / "one.safetensors")
    assert [one.vector_count for one in listing.all()] == [1]
    save_file({"emb_params": torch.zeros(3, 4)}, folder / "one.safetensors")
    save_file({"emb_params": torch.zeros(1, 4)}, folder / "two.safetensors")
    assert len(listing.all()) == 1
    listing.refresh()
    assert [(one.name, one.vector_count) for one in listing.all()] == [("one", 3), ("two", 1)]


def test_a_file_that_is_added_or_removed_is_noticed(tmp_path: Path, listing: EmbeddingList):
    folder = tmp_path / "embeddings" / "sub"
    folder.mkdir(parents=True)
    listing.refresh_if_changed()
    save_file({"emb_params": torch.zeros(1, 4)}, folder / "one.safetensors")
    listing.refresh_if_changed()
    assert [one.name for one in listing.all()] == ["one"]
    before = listing.all()
    listing.refresh_if_changed()
    assert listing.all() is before
    (folder / "one.safetensors").unlink()
    listing.refresh_if_changed()
    assert listing.all() == ()


def test_a_file_of_another_kind_says_where_it_belongs(tmp_path: Path, listing: EmbeddingList):
    (tmp_path / "embeddings").mkdir()
    lora = {"lora_unet_x.lora_down.weight": torch.zeros(1, 4), "lora_unet_x.alpha": torch.zeros(1)}
    save_file(lora, tmp_path / "embeddings" / "stray.safetensors")
    (embedding,) = listing.all()
    assert embedding.error == (
        "'stray.safetensors' is a LoRA, not an embedding. It belongs in models/Lora."
    )
