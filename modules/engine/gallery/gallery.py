"""The gallery: lists, finds, marks and trashes saved images, which it identifies by ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modules.core.errors import NotFound, StorageError, UserError
from modules.core.paths import Paths
from modules.engine.gallery.favourites import Favourites
from modules.engine.gallery.image_index import ImageIndex, IndexPage
from modules.engine.gallery.image_search import ImageSearch
from modules.engine.gallery.roots import TRASH, Root, list_roots
from modules.engine.gallery.scanner import Scanner, ScanState, favourite_line, place_of
from modules.infotext.foreign.json_formats import JsonFormat

FACETS = ("folder", "model", "sampler", "size")


@dataclass(frozen=True)
class GalleryImage:
    """An image of the gallery.

    Args:
        root: The folder that it is in.
        path: Its file.
        row: The columns of the index.
    """

    root: Root
    path: Path
    row: dict[str, Any]


class Gallery:
    """Every saved image; nothing is read before `start`.

    Args:
        paths: Where outputs, index and favourites are; files are moved in the outputs folder alone.
        spare: Returns the folder of images that could not be written there.
        a1111_folder: Returns the folder of an A1111 installation, or "".
        json_formats: Formats of programs that write JSON.
    """

    def __init__(
        self,
        paths: Paths,
        spare: Callable[[], Path],
        a1111_folder: Callable[[], str],
        json_formats: Iterable[JsonFormat],
    ) -> None:
        self._list_roots = lambda: list_roots(paths.outputs, spare(), a1111_folder())
        self._index = ImageIndex(paths.cache / "gallery.sqlite3")
        self._favourites = Favourites(paths.favourites_file)
        self._scanner = Scanner(self._index, self._list_roots, self._favourites, json_formats)

    def start(self) -> None:
        """Start indexing in the background."""
        self._scanner.start()

    def stop(self) -> None:
        """Stop indexing."""
        self._scanner.stop()
        self._index.close()

    def refresh(self) -> None:
        """Bring the index up to date now, in the caller's thread."""
        self._scanner.scan()

    def watch(self) -> ScanState:
        """Return how far indexing is, and have the folders scanned: somebody is looking."""
        self._scanner.wake()
        return self._scanner.state

    @property
    def revision(self) -> int:
        """Return a number that grows with every change of the index."""
        return self._scanner.state.revision

    def counts(self) -> tuple[int, int]:
        """Return how many images there are outside the trash and in it."""
        return self._index.counts()

    def page(self, search: ImageSearch, cursor: str = "", limit: int = 200) -> IndexPage:
        """Return the next images of a search; see `ImageIndex.page`.

        Raises:
            UserError: the search cannot be read.
        """
        return self._index.page(search, cursor, limit)

    def facets(self) -> dict[str, list[tuple[str, int]]]:
        """Return the folders, models, samplers and sizes that occur, and how often."""
        return {name: self._index.facets(name) for name in FACETS}

    def find(self, image_id: str) -> GalleryImage:
        """Return an image.

        Raises:
            NotFound: there is no such image, or its file is no longer there.
        """
        row = self._index.find(image_id)
        roots = {root.key: root for root in self._list_roots()[0]}
        root = roots.get(row["root"]) if row else None
        if row is None or root is None:
            raise NotFound("There is no such picture.", "It was moved or deleted; reload the page.")
        path = (root.folder / os.fsdecode(row["path"])).resolve()
        if not path.is_relative_to(root.folder) or not path.is_file():
            raise NotFound(f"The file {path.name} is no longer there.")
        return GalleryImage(root, path, row)

    def thumbnail(self, image_id: str) -> bytes:
        """Return an image's thumbnail, a JPEG.

        Raises:
            NotFound: there is no such image.
        """
        data = self._index.thumbnail(image_id)
        if not data:
            raise NotFound("There is no such picture.", "It was moved or deleted; reload the page.")
        return data

    def set_favourite(self, ids: Sequence[str], is_favourite: bool) -> None:
        """Mark images as favourites or not.

        Raises:
            NotFound: there is no such image.
            StorageError: the file of favourites cannot be written.
        """
        images = [self.find(image_id) for image_id in ids]
        lines = [favourite_line(image.root, image.row["path"]) for image in images]
        self._favourites.change(lines, is_favourite)
        self._index.set_favourite(ids, is_favourite)
        self._scanner.mark_changed()

    def trash(self, ids: Sequence[str]) -> list[str]:
        """Move images to the trash and return their new ids; all are checked before the first is moved.

        Raises:
            NotFound: there is no such image.
            UserError: one is not in the outputs folder.
            StorageError: a file cannot be moved.
        """
        images = [self.find(image_id) for image_id in ids]
        for image in images:
            if image.root.is_read_only:
                raise UserError(
                    f"{image.path.name} is in {image.root.folder}, whose files are only read.",
                    "Delete it there yourself.",
                )
        fresh = [image for image in images if not image.row["is_trashed"]]
        return [self._move(image, f"{TRASH}/".encode() + image.row["path"]) for image in fresh]

    def restore(self, ids: Sequence[str]) -> list[str]:
        """Move images from the trash to where they were and return their new ids; no file is overwritten.

        Raises:
            NotFound: there is no such image.
            StorageError: a file cannot be moved.
        """
        images = [self.find(image_id) for image_id in ids]
        trashed = [image for image in images if image.row["is_trashed"]]
        return [
            self._move(image, image.row["path"].removeprefix(f"{TRASH}/".encode()))
            for image in trashed
        ]

    def erase(self, ids: Sequence[str]) -> int:
        """Delete images of the trash for good, and return how many; others stay.

        Raises:
            NotFound: there is no such image.
            StorageError: a file cannot be deleted.
        """
        images = [self.find(image_id) for image_id in ids]
        trashed = [image for image in images if image.row["is_trashed"]]
        for image in trashed:
            with self._scanner.moving:
                try:
                    image.path.unlink(missing_ok=True)
                except OSError as error:
                    raise StorageError(
                        f"{image.path.name} cannot be deleted: {error.strerror or error}.",
                        "Check the permissions of the outputs folder.",
                    ) from error
                self._index.forget([image.row["id"]])
                if image.row["is_favourite"]:
                    line = favourite_line(image.root, image.row["path"])
                    self._favourites.change([line], False)
        self._scanner.mark_changed()
        return len(trashed)

    def empty_trash(self) -> int:
        """Delete every image of the trash for good, and return how many.

        Raises:
            StorageError: a file cannot be deleted.
        """
        return self.erase([one for one in self._index.trashed_ids() if self._has_file(one)])

    def _has_file(self, image_id: str) -> bool:
        try:
            self.find(image_id)
        except NotFound:  # deleted by hand; the next scan forgets it
            return False
        return True

    def _move(self, image: GalleryImage, wanted: bytes) -> str:
        """Move an image to a path in its root, or to the first free one next to it; return its new id."""
        root = image.root
        with self._scanner.moving:
            try:
                target = _claim(root.folder / os.fsdecode(wanted))
                try:
                    image.path.replace(target)
                except BaseException:
                    target.unlink(missing_ok=True)
                    raise
            except OSError as error:
                raise StorageError(
                    f"{image.path.name} cannot be moved: {error.strerror or error}.",
                    "Check the permissions of the outputs folder.",
                ) from error
            path = os.fsencode(target.relative_to(root.folder).as_posix())
            new_id = root.image_id(path)
            changes = {"id": new_id, "path": path, **place_of(root, path)}
            self._index.move(image.row["id"], changes)
            if image.row["is_favourite"]:
                self._favourites.change([favourite_line(root, path)], True)
                self._favourites.change([favourite_line(root, image.row["path"])], False)
        self._scanner.mark_changed()
        return new_id


def _claim(path: Path) -> Path:
    """Create an empty file under a path or the first free name next to it, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        name = f"{path.stem}-{number}{path.suffix}" if number else path.name
        try:
            path.with_name(name).touch(exist_ok=False)
        except FileExistsError:
            number += 1
            continue
        return path.with_name(name)
