"""No .ckpt costs more than a second and some megabytes, whatever its pickle says; real forms are read as before."""

import pickle
import struct
import time
import tracemalloc
import zipfile
from collections import OrderedDict

import pytest

from modules.core.errors import BadFile
from modules.models.files import archive, safe_pickle
from modules.models.files.ckpt_layout import locate_storages
from modules.models.index import ModelIndex
from tests.models.model_files import CONFIGS


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


STORAGE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x04tQ"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\0(K\x04t(K\x01t\x89NtR"
OBJECT = b"cnumpy\nA\n)R"
PAIRS = b"](" + b"X\x01\0\0\0aK\1\x86" * 50_000 + b"e\x85\x94"
BOMBS = {
    "hash of nested tuples": b"}" + b")" + b"2\x86" * 40 + b"Ns",
    "hash of a deep tuple": b"}" + b")" + b"\x85" * 200_000 + b"Ns",
    "hash of a deep object": b"}" + (OBJECT + b"\x85") + b"\x85" * 200_000 + b"Ns",
    "hash of frozen sets": b"}" + b"(\x91" + b"(22t\x91" * 40 + b"Ns",
    "memo of 4 GB": b"}r\xff\xff\xff\x7f",
    "memo of a text": b"}p400000000\n",
    "deep tuples": b")" + b"\x85" * 5_000_000,
    "deep lists": b"]" * 3_000_000 + b"a" * 2_999_999,
    "dicts": b"}" * 5_000_000,
    "marks": b"(" * 5_000_000,
    "memo entries": b"N" + b"\x94" * 5_000_000,
    "classes": text("numpy") + b"\x94" + text("A") + b"\x94" + b"h\0h\1\x93" * 2_000_000,
    "objects": b"cnumpy\nA\n\x94" + b"h\0)R" * 2_000_000,
    "tensors": b"}(" + TENSOR[:34] + b"\x940" + TENSOR[34:-1] + b"\x94" + b"h\0h\1R" * 2_000_000,
    "a bytearray of 20 GB": b"\x96" + struct.pack("<Q", 20 * 2**30),
    "a text of 20 GB": b"\x8d" + struct.pack("<Q", 20 * 2**30),
    "a number of 2 GB": b"\x8b\xff\xff\xff\x7f",
    "digits": b"}I" + b"9" * 5_000_000 + b"\n0",
    "texts": text("\U0001f600" * 100) * 100_000,
    "a name without end": b"c" + b"a" * 10_000_000,
    "pairs again and again": PAIRS + b"ccollections\nOrderedDict\n\x94" + b"h\1h\0R0" * 50_000,
    "sizes again and again": b"(" + b"K\1" * 50_000 + b"l\x85\x94ctorch\nSize\n\x94" + b"h\1h\0R" * 50_000,
    "arguments again and again": b"(" + b"K\1" * 50_000 + b"t\x940" + TENSOR[:34] + b"h\0R",
    "a table of the same table": b"}\x94("
    + b"".join(text(f"t{n}") + TENSOR for n in range(500))
    + b"u0}("
    + b"".join(text(f"u{n}") + b"h\0" for n in range(20_000))
    + b"u",
    "a table in itself": b"}\x94" + text("state_dict") + b"h\0s",
    "a shape without end": TENSOR.replace(b"(K\x04t(K\x01t", b"(" + b"K\1" * 3000 + b"t(" + b"K\0" * 3000 + b"t"),
    "a tensor of terabytes": TENSOR.replace(b"K\x04t(K\x01t", b"J\xff\xff\xff\x7ft(K\0t"),
}  # fmt: skip


def write_archive(path, program, *, compression=zipfile.ZIP_DEFLATED, storages=("0",)):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        for key in storages:
            file.writestr(f"archive/data/{key}", bytes(16))
    return path


def read(path):
    return safe_pickle.read_ckpt(path, is_zip=True).tensors


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(tmp_path, name):
    path = write_archive(tmp_path / "bomb.ckpt", BOMBS[name])
    started = time.thread_time()
    outcome = ""
    try:
        assert len(read(path)) <= 500
    except BadFile as error:
        outcome = str(error)
    assert time.thread_time() - started < 5  # on an idle machine 0.5 s
    assert "damaged" in outcome or not outcome


@pytest.mark.parametrize("name", ["dicts", "deep tuples", "memo entries", "texts", "tensors"])
def test_the_memory_for_a_bomb_is_bounded(tmp_path, name):
    path = write_archive(tmp_path / "bomb.ckpt", BOMBS[name])
    tracemalloc.start()
    with pytest.raises(BadFile, match="damaged"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_compression_without_a_bound_is_refused(tmp_path, compression):
    path = write_archive(tmp_path / "odd.ckpt", b"}", compression=compression)
    with pytest.raises(BadFile, match="damaged"):
        read(path)


def test_an_archive_of_too_many_members_is_refused_before_they_are_listed(tmp_path):
    path = write_archive(
        tmp_path / "many.ckpt", b"}", storages=[f"{n:0200}" for n in range(20_000)]
    )
    assert path.stat().st_size > 2 * archive.MAX_DIRECTORY_BYTES
    with pytest.raises(BadFile, match=r"many\.ckpt"):
        read(path)


def test_a_storage_in_an_odd_compression_is_refused(tmp_path):
    path = write_archive(tmp_path / "odd.ckpt", b"}" + text("w") + TENSOR + b"s", storages=())
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as file:
        file.writestr("archive/data/0", bytes(16))
    contents = safe_pickle.read_ckpt(path, is_zip=True)
    with pytest.raises(BadFile, match="damaged"):
        locate_storages(path, contents, is_zip=True)


@pytest.mark.parametrize(
    "table",
    [
        b"}" + text("w") + TENSOR + b"s",
        b"ccollections\nOrderedDict\n)R(" + text("w") + TENSOR + b"u}" + text("_metadata") + b"}sb",
        b"ccollections\nOrderedDict\n](](" + text("w") + TENSOR + b"ee\x85R",  # Python 2
        b"(" + text("w") + TENSOR + b"d",
        b"}" + text("state_dict") + b"}" + text("w") + TENSOR + b"ss",
        b"cpytorch_lightning.utilities\nAttributeDict\n)\x81(" + text("w") + TENSOR + b"u",
        b"}(" + text("notes") + text("long" * 100_000) + text("w") + TENSOR + b"u",
        b"}(" + text("seed") + b"\x8a\x20" + bytes(32) + text("w") + TENSOR + b"u",
        b"}(K\x05" + OBJECT + OBJECT + b"N" + text("w") + TENSOR + b"u",  # keys of callbacks
        b"}(U\x03raw" + b"U\x02\xff\xfe" + b"U\x01w" + TENSOR + b"u",  # strings of Python 2
    ],
)
def test_the_forms_of_real_files_are_read(tmp_path, table):
    assert read(write_archive(tmp_path / "real.ckpt", table))["w"].shape == (4,)


def test_a_training_state_larger_than_any_known_one_is_read(tmp_path):
    names = [f"model.diffusion_model.input_blocks.{n}.0.in_layers.0.weight" for n in range(15_000)]
    table = b"}(" + b"".join(text(name) + TENSOR for name in names) + b"u"
    assert list(read(write_archive(tmp_path / "large.ckpt", table))) == names


def test_only_strings_name_tensors(tmp_path):
    table = b"}(K\x05" + TENSOR + b"N" + TENSOR + b")" + TENSOR + text("w") + TENSOR + b"u"
    assert list(read(write_archive(tmp_path / "keys.ckpt", table))) == ["w"]


def test_a_name_with_half_a_character_is_damage(tmp_path):
    path = write_archive(tmp_path / "half.ckpt", b"}X\x03\0\0\0\xed\xa0\x80" + TENSOR + b"s")
    with pytest.raises(BadFile, match="damaged"):
        read(path)


@pytest.mark.parametrize("system", [[1], {"little_endian": False}, {"little_endian": 2**64}])
def test_a_legacy_file_of_another_machine_is_damage(tmp_path, system):
    path = tmp_path / "legacy.ckpt"
    parts = (safe_pickle.MAGIC_NUMBER, 1001, system, OrderedDict(), [])
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in parts))
    with pytest.raises(BadFile, match="damaged"):
        safe_pickle.read_ckpt(path, is_zip=False)


def test_every_bomb_is_listed_with_its_error(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    for number, name in enumerate(sorted(BOMBS)):
        bomb = BOMBS[name] if len(BOMBS[name]) < 1_000_000 else BOMBS[name][:1_000_000]
        write_archive(folder / f"{number}.ckpt", bomb)
    index = ModelIndex({"Checkpoint": [folder]}, CONFIGS, tmp_path / "cache")
    assert len(index.checkpoints()) == len(BOMBS)
    assert all(checkpoint.error for checkpoint in index.checkpoints())


def test_loss_curves_of_a_training_state_are_passed_over(tmp_path):
    table = b"}(" + text("losses") + b"](" + b"G" + bytes(8) + (b"G" + bytes(8)) * 80_000 + b"e"
    path = write_archive(tmp_path / "losses.ckpt", table + text("w") + TENSOR + b"u")
    assert read(path)["w"].shape == (4,)


def test_the_two_networks_of_a_hypernetworks_width_are_named_by_it(tmp_path):
    network = b"}" + text("linear.0.weight") + TENSOR + b"s"
    table = b"}(M\x00\x03" + network + network + b"\x86" + text("step") + b"K\x07u"
    found = list(read(write_archive(tmp_path / "hyper.ckpt", table)))
    assert found == ["768.0.linear.0.weight", "768.1.linear.0.weight"]
