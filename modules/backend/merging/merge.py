"""Merges checkpoints into a new file: it gets its name once it is complete, and memory holds a part of one tensor."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

import torch

from modules.backend.loading.state_dict import FileStateDict, read_state_dict
from modules.backend.merging.ckpt_writer import CkptWriter
from modules.backend.merging.lora_baker import LoraBaker
from modules.backend.merging.tensors import MergeFiles, TensorMerger
from modules.core.atomic import open_writer, remove_leftovers
from modules.core.errors import BadFile, Cancelled, StorageError, UserError
from modules.core.text import escape
from modules.models.checkpoint import Checkpoint
from modules.models.files.header import MAX_HEADER_BYTES, Header
from modules.models.files.safetensors_writer import SafetensorsLayout, make_layout
from modules.models.merging.layout import ResultLayout
from modules.models.merging.metadata import MergedFile, make_recipe_metadata, read_legacy_hash
from modules.params.events import CancelToken, Note, Phase, Progress, Sink
from modules.plan.jobs.merge import MergeInputs, MergePlan, check_free_space

_HASH_BYTES = 1 << 23


def merge_checkpoints(_: object, plan: MergePlan, sink: Sink, cancel: CancelToken) -> None:
    """Write the checkpoint that a plan describes; its path is a note.

    Raises:
        Cancelled: the job was interrupted; nothing is left of it.
        BadFile: a file is damaged, or has changed while it was read.
        UserError: the files cannot be merged, or the name is taken.
        StorageError: the result cannot be written.
    """
    sink(Phase("Reading the files"))
    for note in plan.notes:
        sink(Note(note))
    inputs = plan.read_inputs()
    layout = plan.lay_out(inputs)
    path = plan.choose_path(layout)
    result = None if plan.is_ckpt else _lay_out_safetensors(plan, inputs, layout, sink, cancel)
    opened = _open_files(plan, inputs)
    baker = LoraBaker(plan) if plan.loras else None
    merger = TensorMerger(opened, plan.recipe, plan.request.multiplier, baker)
    sink(Phase("Merging"))
    with _storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        check_free_space(path, layout.size_bytes if result is None else result.size_bytes)
        remove_leftovers(path)
        with _copied_config(plan.copied_config, path), open_writer(path, overwrite=False) as out:
            if result is None:
                writer = CkptWriter(out, layout.infos)
                _write(list(layout.infos), writer.open_tensor, layout, merger, sink, cancel)
                writer.finish()
            else:
                out.write(result.head)
                _write(result.names, lambda _: nullcontext(out), layout, merger, sink, cancel)
    for note in baker.notes() if baker else ():
        sink(Note(note))
    sink(Note(f"Checkpoint saved to {escape(str(path))}"))


def _lay_out_safetensors(
    plan: MergePlan, inputs: MergeInputs, layout: ResultLayout, sink: Sink, cancel: CancelToken
) -> SafetensorsLayout:
    """Return the file with its metadata; their hashes read the checkpoints as a whole."""
    metadata = plan.make_metadata(inputs)
    if plan.request.save_metadata and plan.request.add_merge_recipe:
        files = _describe_files(plan, inputs, sink, cancel)
        metadata |= make_recipe_metadata(files, plan.recipe_fields(layout))
    result = make_layout(layout.infos, metadata)
    if len(result.head) > MAX_HEADER_BYTES:
        raise UserError(
            f"The metadata make a header of {len(result.head) / 1e6:.0f} MB; no program reads more than"
            f" {MAX_HEADER_BYTES / 1e6:.0f} MB.",
            "Leave some of them out.",
        )
    return result


def _write(
    names: Sequence[str],
    open_tensor: Callable[[str], AbstractContextManager[IO[bytes]]],
    layout: ResultLayout,
    merger: TensorMerger,
    sink: Sink,
    cancel: CancelToken,
) -> None:
    """Write the bytes of all tensors, and report progress by tensors.

    Args:
        names: Of the tensors, in the order of the file.
        open_tensor: Returns what takes the bytes of a tensor.
        layout: Of the result.
        merger: Computes them.
        sink: Receives the progress.
        cancel: Stops it.
    """
    rows = {tensor.name: tensor for tensor in layout.tensors}
    started = time.monotonic()
    with _one_thread():
        for done, name in enumerate(names, 1):
            with open_tensor(name) as out:
                for part in merger.compute(rows[name]):
                    _raise_if_interrupted(cancel)
                    out.write(part.reshape(-1).view(torch.uint8).numpy().data)
            speed = done / max(time.monotonic() - started, 1e-9)
            sink(Progress(done, len(names), speed))


@contextmanager
def _one_thread() -> Generator[None]:
    """Compute on one thread: parts of tensors are too small for several, which wait for each other on a busy computer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _open_files(plan: MergePlan, inputs: MergeInputs) -> MergeFiles:
    def read(path: Path, header: Header) -> FileStateDict:
        return read_state_dict(path, header)

    checkpoints = (
        read(file.path, source.header)
        for file, source in zip(plan.files, inputs.sources, strict=True)
    )
    vae = None
    if plan.vae is not None and inputs.vae is not None:
        vae = read(plan.vae.path, inputs.vae.header)
    return MergeFiles(tuple(checkpoints), vae)


def _describe_files(
    plan: MergePlan, inputs: MergeInputs, sink: Sink, cancel: CancelToken
) -> Sequence[MergedFile]:
    """Return what the metadata name of the checkpoints; a hash that is not known yet is computed."""
    found: list[MergedFile] = []
    for file, source in zip(plan.files, inputs.sources, strict=True):
        try:
            sha256 = file.sha256 if file.with_current_stamp() == file else ""
            if not sha256:
                sink(Phase(f"Hashing {file.name}"))
                sha256 = _hash(file, sink, cancel)
            legacy = read_legacy_hash(file.path)
        except OSError as error:
            raise BadFile(f"'{file.name}' cannot be read: {error.strerror or error}.") from error
        found.append(MergedFile(file.name, sha256, legacy, source.header.metadata))
    return found


def _hash(file: Checkpoint, sink: Sink, cancel: CancelToken) -> str:
    digest = hashlib.sha256()
    parts = max(1, -(-file.size_bytes // _HASH_BYTES))
    with file.path.open("rb") as content:
        done = 0
        while chunk := content.read(_HASH_BYTES):
            _raise_if_interrupted(cancel)
            digest.update(chunk)
            done += 1
            sink(Progress(min(done, parts), parts))
    return digest.hexdigest()


def _raise_if_interrupted(cancel: CancelToken) -> None:
    if cancel.is_interrupted():
        raise Cancelled("The merge was interrupted; nothing was saved.")


@contextmanager
def _copied_config(config: Path | None, path: Path) -> Generator[None]:
    """Copy a .yaml to the name of a checkpoint; it is taken away again if that is not written."""
    if config is None:
        yield
        return
    try:
        content = config.read_bytes()
    except OSError as error:
        raise BadFile(f"'{config}' cannot be read: {error.strerror or error}.") from error
    target = path.with_suffix(".yaml")
    with open_writer(target, overwrite=False) as out:
        out.write(content)
    try:
        yield
    except BaseException:
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _storage_errors(path: Path) -> Generator[None]:
    """Turn errors of writing into sentences."""
    try:
        yield
    except FileExistsError:
        raise UserError(
            f"'{path.name}' was created in the meantime and is not overwritten.",
            "Choose another name.",
        ) from None
    except OSError as error:
        raise StorageError(
            f"'{path}' cannot be written: {error.strerror or error}.",
            "Free some disk space, or allow writing to the folder.",
        ) from error
