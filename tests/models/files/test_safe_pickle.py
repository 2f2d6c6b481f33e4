import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict

import pytest

from modules.core.errors import BadFile
from modules.models.files import safe_pickle
from tests.models.model_files import write_pickle


class Reducer:
    """Pickles as a function call, as malicious files do."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def attacks(marker):
    return {
        "system": Reducer(os.system, f"touch {marker}"),
        "eval": Reducer(eval, f"open({str(marker)!r}, 'w')"),
        "exec": Reducer(exec, f"open({str(marker)!r}, 'w')"),
        "__import__": Reducer(__import__, "antigravity"),
        "open": Reducer(open, str(marker), "w"),
        "Popen": Reducer(subprocess.Popen, ["touch", str(marker)]),
        "loads": Reducer(pickle.loads, b"N."),
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", list(attacks("")))
def test_a_pickle_that_contains_code_is_refused_by_name_and_not_run(tmp_path, name, zipped):
    marker = tmp_path / "executed"
    path = write_pickle(tmp_path / "bad.ckpt", {"w": attacks(marker)[name]}, zipped=zipped)
    with pytest.raises(BadFile, match=rf"not safe: it asks for \w+\.{name}, which"):
        safe_pickle.read_ckpt(path, is_zip=zipped)
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_python_2_names_do_not_bypass_the_list(tmp_path, zipped):
    path = tmp_path / "old.ckpt"
    program = b"c__builtin__\neval\n(V1\ntR."
    write_pickle(path, {}, zipped=zipped)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program)
    else:
        path.write_bytes(path.read_bytes().replace(pickle.dumps({}, protocol=2), program, 1))
    with pytest.raises(BadFile, match=r"builtins\.eval"):
        safe_pickle.read_ckpt(path, is_zip=zipped)


def test_objects_of_training_frameworks_become_inert(tmp_path):
    # GLOBAL, EMPTY_TUPLE, NEWOBJ, state, BUILD: an object of a class that is not installed here
    callback = b"cpytorch_lightning.callbacks\nModelCheckpoint\n)\x81}U\x04path" + b"U\x01xsb"
    program = b"\x80\x02}(U\x09callbacks" + callback + b"U\x05epochK\x03u."
    path = tmp_path / "lightning.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    assert safe_pickle.read_ckpt(path, is_zip=True).tensors == {}


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02ccollections\nOrderedDict\n}U\x01aK\x01sb.",  # BUILD on a class
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}U\x0c__defaults__Nsb\x86.",  # or a function
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00))tR.",  # a tensor without storage
        b"\x80\x02(U\x07storageNU\x010U\x03cpuK\x05tQ.",  # a storage without type
        b"\x80\x02X\xff\xff\xff\xff.",  # a string of 4 GB
        b"\x80\x02K\x01.",  # a number, not a dict
        b"\x80\x02",
    ],
)
def test_malformed_pickles_are_reported_as_damaged(tmp_path, program):
    path = tmp_path / "damaged.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
    with pytest.raises(BadFile, match="damaged"):
        safe_pickle.read_ckpt(path, is_zip=True)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(safe_pickle.MAX_PICKLE_BYTES + 1))
    with pytest.raises(BadFile, match="damaged"):
        safe_pickle.read_ckpt(path, is_zip=True)


def test_another_zip_archive_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "photos.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("photo.jpg", b"")
    with pytest.raises(BadFile, match="not a PyTorch checkpoint"):
        safe_pickle.read_ckpt(path, is_zip=True)


def test_another_pickle_is_not_a_checkpoint(tmp_path):
    path = tmp_path / "other.ckpt"
    path.write_bytes(pickle.dumps(OrderedDict(a=1), protocol=2))
    with pytest.raises(BadFile, match="not a PyTorch checkpoint"):
        safe_pickle.read_ckpt(path, is_zip=False)
