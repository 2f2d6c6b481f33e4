import hashlib
import threading
import time

import pytest

from modules.core.errors import BadFile, NotFound, UserError
from modules.models.families import Family, make_family_registry
from modules.models.index import ModelIndex
from modules.models.ldm.keys import CLIP_TOKEN_EMBEDDING_KEY, UNET_CONTEXT_KEY, UNET_INPUT_KEY
from tests.models.model_files import CONFIGS, shapes_of, write_safetensors

TIMEOUT_S = 60
TINY = {
    name: [1 if size > 9 else size for size in shape] for name, shape in shapes_of("sd1").items()
}


def write(path):
    return write_safetensors(path, TINY)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def manager(folder, tmp_path):
    manager = ModelIndex({"Checkpoint": [folder, tmp_path / "more"]}, CONFIGS, tmp_path / "cache")
    yield manager
    manager.stop()


def test_creating_an_index_does_not_touch_the_disk(tmp_path):
    ModelIndex({"Checkpoint": [tmp_path / "absent"]}, CONFIGS, tmp_path / "cache")
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_are_sorted_by_name_ignoring_case(manager, folder):
    for name in ("b.safetensors", "A.safetensors", "sub/c.safetensors"):
        write(folder / name)
    listed = manager.checkpoints()
    assert [c.name for c in listed] == ["A.safetensors", "b.safetensors", "sub/c.safetensors"]
    assert {c.family for c in listed} == {"SD 1.x"}
    assert {c.error for c in listed} == {""}
    assert listed[2].path == folder / "sub" / "c.safetensors"
    assert listed[2].model_name == "c"


def test_of_two_files_with_the_same_name_the_one_in_the_first_folder_is_listed(
    manager, folder, tmp_path
):
    write(folder / "a.safetensors")
    write(tmp_path / "more" / "a.safetensors")
    write(tmp_path / "more" / "b.safetensors")
    assert [c.path.parent.name for c in manager.checkpoints()] == ["models", "more"]


def test_a_new_and_a_deleted_file_are_noticed_on_refresh(manager, folder):
    write(folder / "a.safetensors")
    assert len(manager.checkpoints()) == 1
    (folder / "a.safetensors").unlink()
    write(folder / "b.safetensors")
    assert [c.name for c in manager.checkpoints()] == ["a.safetensors"]
    manager.refresh()
    assert [c.name for c in manager.checkpoints()] == ["b.safetensors"]


def test_unusable_files_are_listed_with_their_error(manager, folder):
    (folder / "page.safetensors").write_bytes(b"<html>404</html>")
    (folder / "gone.safetensors").symlink_to(folder / "nowhere")
    write_safetensors(folder / "flux.safetensors", {"double_blocks.0.img_attn.qkv.weight": [1]})
    errors = {c.name: c.error for c in manager.checkpoints()}
    assert "web page" in errors["page.safetensors"]
    assert "does not exist" in errors["gone.safetensors"]
    assert errors["flux.safetensors"].startswith("'flux.safetensors' is a Flux checkpoint.")
    with pytest.raises(BadFile, match="Flux"):
        manager.find_checkpoint("flux")
    with pytest.raises(BadFile, match="web page"):
        manager.find_config(manager.checkpoints()[2])


def test_a_finished_download_can_be_loaded_after_a_refresh(manager, folder):
    complete = write(folder / "a.safetensors").read_bytes()
    (folder / "a.safetensors").write_bytes(complete[:-100])
    assert "incomplete" in manager.checkpoints()[0].error
    (folder / "a.safetensors").write_bytes(complete)
    manager.refresh()
    assert manager.checkpoints()[0].error == ""


@pytest.mark.parametrize(
    "name",
    [
        "sub/Dream-v8.safetensors",
        "SUB\\dream-V8.SAFETENSORS",
        "sub/Dream-v8",
        "Dream-v8.safetensors",
        "dream-v8",
        " Dream-v8 ",
        "sub/Dream-v8.safetensors [0123456789]",
        "Dream-v8.safetensors [deadbeef]",
    ],
)
def test_a_checkpoint_is_found_by_every_form_of_its_name(manager, folder, name):
    write(folder / "sub" / "Dream-v8.safetensors")
    write(folder / "other.safetensors")
    assert manager.find_checkpoint(name).name == "sub/Dream-v8.safetensors"


def test_a_checkpoint_is_found_by_its_hash(manager, folder):
    path = write(folder / "a.safetensors")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert manager.sha256(manager.find_checkpoint("a")) == digest
    assert manager.find_checkpoint(digest).name == "a.safetensors"
    assert manager.find_checkpoint(digest[:10].upper()).name == "a.safetensors"
    assert manager.find_checkpoint("a").title == f"a.safetensors [{digest[:10]}]"


def test_a_missing_checkpoint_is_not_replaced_by_another(manager, folder):
    write(folder / "dream-v8.safetensors")
    with pytest.raises(NotFound) as caught:
        manager.find_checkpoint("dream-v7")
    assert "no checkpoint named 'dream-v7'" in caught.value.message
    assert "Did you mean 'dream-v8.safetensors'?" in caught.value.hint
    assert str(folder) in caught.value.hint


@pytest.mark.parametrize("name", ["", "[]", "../../etc/passwd", "0123456789", "x" * 10_000])
def test_an_invalid_name_is_not_found(manager, folder, name):
    write(folder / "a.safetensors")
    with pytest.raises(NotFound):
        manager.find_checkpoint(name)


def test_an_ambiguous_name_is_an_error(manager, folder):
    write(folder / "one" / "a.safetensors")
    write(folder / "two" / "a.safetensors")
    with pytest.raises(UserError, match=r"'one/a\.safetensors' or 'two/a\.safetensors'"):
        manager.find_checkpoint("a")
    assert manager.find_checkpoint("one/a").name == "one/a.safetensors"


def test_a_file_deleted_after_listing_is_not_found(manager, folder):
    write(folder / "a.safetensors")
    manager.refresh()
    (folder / "a.safetensors").unlink()
    with pytest.raises(NotFound, match="no longer at"):
        manager.find_checkpoint("a")


def test_the_checkpoints_own_yaml_takes_precedence_over_its_familys(manager, folder):
    write(folder / "a.safetensors")
    write(folder / "b.safetensors")
    (folder / "b.yaml").write_text("model: {}", encoding="utf-8")
    assert manager.find_config(manager.find_checkpoint("a")) == CONFIGS / "v1-inference.yaml"
    assert manager.find_config(manager.find_checkpoint("b")) == folder / "b.yaml"


def test_hashes_are_computed_in_the_background_and_added_to_the_titles(manager, folder):
    write(folder / "a.safetensors")
    write(folder / "b.safetensors")
    (folder / "bad.safetensors").write_bytes(b"")
    done = threading.Semaphore(0)
    manager.start_hashing(done.release)
    assert done.acquire(timeout=TIMEOUT_S)
    assert done.acquire(timeout=TIMEOUT_S)
    listed = manager.checkpoints()
    assert [bool(c.sha256) for c in listed] == [True, True, False]
    manager.refresh()
    assert manager.checkpoints() == listed


def test_a_checkpoint_added_later_is_hashed_too(manager, folder):
    done = threading.Event()
    manager.start_hashing(done.set)
    write(folder / "a.safetensors")
    manager.refresh()
    assert done.wait(TIMEOUT_S)
    assert manager.checkpoints()[0].sha256


def test_a_refresh_of_a_thousand_known_checkpoints_takes_less_than_a_second(manager, folder):
    shapes = {name: TINY[name] for name in (UNET_INPUT_KEY, CLIP_TOKEN_EMBEDDING_KEY)}
    first = write_safetensors(folder / "0.safetensors", shapes | {UNET_CONTEXT_KEY: [1, 1]})
    for number in range(1, 1000):
        (folder / f"{number}.safetensors").symlink_to(first)
    manager.refresh()
    started = (
        time.thread_time()
    )  # of this thread only, whatever else the process and the machine do
    manager.refresh()
    assert time.thread_time() - started < 1.0
    assert [c.error for c in manager.checkpoints()] == [""] * 1000


class OddFamily(Family):
    """Fails on one file."""

    def matches(self, header):
        if "odd" in header.tensors:
            raise OverflowError("cannot convert float infinity to integer")
        return False


def test_an_unforeseen_fault_of_one_file_is_its_own_error(folder, tmp_path):
    write(folder / "good.safetensors")
    write_safetensors(folder / "odd.safetensors", {**TINY, "odd": [1]})
    header = b'{"a":{"dtype":"Q","shape":[1],"data_offsets":[0,1' + b"0" * 4000 + b"]}}"
    (folder / "huge.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    families = make_family_registry()
    families.add(OddFamily("Odd", ()))
    index = ModelIndex({"Checkpoint": [folder]}, CONFIGS, tmp_path / "cache", families=families)
    good, huge, odd = index.checkpoints()
    assert good.error == ""
    assert "damaged list of tensors" in huge.error
    assert odd.error.startswith("'odd.safetensors' cannot be examined: OverflowError")
