"""What passes between the server and a worker's process: work as bytes, and messages of its events, logs and end."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from PIL import Image

from modules.core import errors
from modules.core.errors import WebUIError, internal_error
from modules.engine.executors.worker_link import Memory
from modules.models.files.scan import ModelFile
from modules.params.events import CancelToken, Event, Preview
from modules.plan.work import Work

_PREVIEW_QUALITY = 90


@dataclass(frozen=True)
class PreviewMessage:
    """A preview as JPEG: it is looked at for a moment."""

    jpeg: bytes


@dataclass(frozen=True)
class LogMessage:
    """A line that the worker has logged, with its traceback if it has one."""

    level: int
    text: str


@dataclass(frozen=True)
class ErrorMessage:
    """The error with which the work ended.

    Args:
        kind: Name of its class in `core/errors`.
        message: Its sentence.
        hint: What to do.
    """

    kind: str
    message: str
    hint: str


@dataclass(frozen=True)
class ResultMessage:
    """The end of the work. Any: the result depends on its kind."""

    result: Any


@dataclass(frozen=True)
class EventMessage:
    """An event; pictures in it are pickled with all their pixels."""

    event: Event


@dataclass(frozen=True)
class Requests:
    """The requests of a `CancelToken` at a moment."""

    interrupt: bool
    skip: bool
    watch: bool
    unfinished: bool

    @classmethod
    def of(cls, cancel: CancelToken) -> Requests:
        """Return the requests of a token."""
        return cls(
            cancel.is_interrupted(),
            cancel.is_batch_skipped(),
            cancel.wants_preview(),
            cancel.wants_unfinished(),
        )

    @property
    def are_any(self) -> bool:
        """Return whether there is any."""
        return self.interrupt or self.skip or self.watch or self.unfinished

    def pass_on(self, cancel: CancelToken) -> None:
        """Make the requests of another token."""
        if self.interrupt:
            cancel.interrupt()
        if self.skip:
            cancel.skip_batch()
        if self.watch:
            cancel.watch()
        if self.unfinished:
            cancel.want_unfinished()


Message = EventMessage | PreviewMessage | LogMessage | Memory | ErrorMessage | ResultMessage


def pack_event(event: Event) -> Message:
    """Return the message of an event."""
    if not isinstance(event, Preview):
        return EventMessage(event)
    buffer = io.BytesIO()
    event.image.convert("RGB").save(buffer, format="JPEG", quality=_PREVIEW_QUALITY)
    return PreviewMessage(buffer.getvalue())


def unpack_preview(message: PreviewMessage) -> Preview:
    """Return the preview of a message."""
    with Image.open(io.BytesIO(message.jpeg)) as image:
        return Preview(image.convert("RGB"))


def pack_error(error: BaseException) -> ErrorMessage:
    """Return the message of an error: its nearest class in `core/errors`, which all of the program knows."""
    failure = internal_error(error)
    kind = next(one for one in type(failure).__mro__ if getattr(errors, one.__name__, None) is one)
    return ErrorMessage(kind.__name__, failure.message, failure.hint)


def unpack_error(message: ErrorMessage) -> WebUIError:
    """Return the error of a message."""
    kind: type[WebUIError] = getattr(errors, message.kind)
    return kind(message.message, message.hint)


def pack_work(work: Work[Any]) -> tuple[bytes, list[Path]]:
    """Return some work as bytes, and the files of this machine that it names."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dump(work)
    return buffer.getvalue(), [path for path in pickler.paths if path.is_file()]


def unpack_work(packed: bytes, places: Mapping[str, str]) -> Work[Any]:
    """Return the work that `pack_work` has packed.

    Args:
        packed: The bytes; they come from the server, which may run any code on its workers.
        places: Where files are on this machine, by their paths on the server's; the others have the same path.
    """
    return _Unpickler(io.BytesIO(packed), places).load()


class _Pickler(pickle.Pickler):
    """Leaves paths, and what is known of model files, to the machine that reads them."""

    def __init__(self, file: io.BytesIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self.paths: dict[Path, None] = {}

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Path):
            self.paths[obj] = None
            return "path", str(obj)
        if isinstance(obj, ModelFile):
            return "file", type(obj), {one.name: getattr(obj, one.name) for one in fields(obj)}
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, places: Mapping[str, str]) -> None:
        super().__init__(file)
        self._places = places

    def persistent_load(self, pid: Any) -> Any:
        if pid[0] == "path":
            return Path(self._places.get(pid[1], pid[1]))
        file: ModelFile = pid[1](**pid[2])
        return file.with_current_stamp() or file
