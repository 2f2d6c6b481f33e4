"""Downloads: the list of all downloads, the thread that works on them one by one, and their file."""

from __future__ import annotations

import dataclasses
import http.client
import json
import logging
import secrets
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

from modules.core.atomic import PartFile, write_text
from modules.core.errors import (
    BadFile,
    NotFound,
    StorageError,
    UserError,
    WebUIError,
    internal_error,
)
from modules.core.paths import Paths
from modules.core.private import create_own_file
from modules.core.public_web import split_url
from modules.core.user_files import read_or_move_aside
from modules.engine.downloads.catalogue import CatalogueEntry, read_catalogue
from modules.engine.downloads.download import Download, parse_downloads
from modules.engine.downloads.file_check import check_file
from modules.engine.downloads.names import (
    check_name,
    direct_address,
    name_in_address,
    name_in_disposition,
    shown_address,
)
from modules.engine.downloads.package import (
    PACKAGES,
    Package,
    bring_package,
    find_package,
)
from modules.engine.downloads.tokens import Tokens
from modules.engine.downloads.transfer import Stopped, Transfer, Web
from modules.engine.downloads.web_proxy import WebProxy
from modules.models.index import ModelIndex
from modules.models.kinds import ModelKind

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 2


class Downloads:
    """Downloads model files, one at a time; a stop of the server only interrupts them.

    Args:
        paths: Where the list and the tokens are kept, and the configs.
        models: Its folders take the files.
        web: How the internet is reached; by default, public addresses with https.
        catalogue: The official files.
        packages: Those whose wheels hold some of them.
    """

    def __init__(
        self,
        paths: Paths,
        models: ModelIndex,
        web: Web | None = None,
        catalogue: tuple[CatalogueEntry, ...] | None = None,
        packages: Sequence[Package] = PACKAGES,
    ) -> None:
        self.tokens = Tokens(paths.data / "tokens.json")
        self.catalogue = read_catalogue() if catalogue is None else catalogue
        self._packages = packages
        self._configs = paths.configs
        self._file = paths.data / "downloads.json"
        self._models = models
        self.web = web or Web(self.tokens)
        self._lock = threading.RLock()
        self._downloads: dict[str, Download] = {}
        self._stop = threading.Event()  # of the download that runs
        self._running_id = ""
        self._is_stopping = False
        self._is_unreadable = False
        self._thread: threading.Thread | None = None
        self.is_allowed = True

    def configure(self, *, is_allowed: bool, proxy: WebProxy | None) -> None:
        """Set whether anything is downloaded, and by which proxy; call it before `restore`."""
        self.is_allowed = is_allowed
        self.web = dataclasses.replace(self.web, proxy=proxy)

    def restore(self) -> None:
        """Read the list; downloads that a stop of the server interrupted go on."""
        with self._lock:
            for download in self._read():
                if download.is_active:
                    download.state = "waiting"
                self._downloads[download.id] = download
            self._work()

    def stop(self) -> None:
        """Interrupt the download that runs; it goes on with the next start."""
        with self._lock:
            self._is_stopping = True
            self._stop.set()
            thread = self._thread
        if thread is not None:
            thread.join(_STOP_TIMEOUT_S)

    def snapshot(self) -> list[Download]:
        """Return a snapshot of all downloads, oldest first."""
        with self._lock:
            return [dataclasses.replace(download) for download in self._downloads.values()]

    def folder(self, kind: str) -> Path:
        """Return the folder that takes new files of a kind.

        Raises:
            UserError: there is none.
        """
        folders = self._models.folders(kind)
        if not folders:
            raise UserError(f"This version has no folder for files of the kind '{kind}'.")
        return folders[0]

    def has(self, entry: CatalogueEntry) -> bool:
        """Return whether a file of the catalogue's name is in a folder of its kind."""
        return any((folder / entry.file).exists() for folder in self._models.folders(entry.kind))

    def missing(self, kind: str) -> list[str]:
        """Return the ids of the catalogue's entries of a kind that can be downloaded and are not there."""
        entries = [one for one in self.catalogue if one.kind == kind and not self.has(one)]
        return [entry.id for entry in entries] if self.is_allowed else []

    def add_official(self, entry_id: str) -> Download:
        """Download a file of the catalogue.

        Raises:
            NotFound: there is no such entry.
            UserError: the file is there already, or being downloaded.
        """
        entry = next((one for one in self.catalogue if one.id == entry_id), None)
        if entry is None:
            raise NotFound(f"The catalogue has no entry '{entry_id}'.", "Reload the page.")
        return self._add(
            Download(
                secrets.token_hex(8),
                list(entry.addresses),
                entry.kind,
                name=entry.file,
                size_bytes=entry.size_bytes,
                sha256=entry.sha256,
                config=entry.config,
                page=entry.page,
            )
        )

    def add_address(self, url: str, kind: str, name: str = "", sha256: str = "") -> Download:
        """Download a file from any address.

        Args:
            url: With https://; the pages of Hugging Face and Civitai are understood.
            kind: Its row of KINDS.
            name: Of the file; by default the one that the server or the address says.
            sha256: That the file must have, if known.

        Raises:
            UserError: the address, the name or the sum is none, or the file is there already, or being downloaded.
        """
        url = direct_address(url)
        split_url(url, self.web.schemes)
        sha256 = sha256.strip().lower()
        if sha256 and (len(sha256) != 64 or set(sha256) - set("0123456789abcdef")):
            raise UserError(f"'{sha256}' is no SHA-256.", "It has 64 digits from 0 to f.")
        row = self._models.kinds.get(kind)
        if name.strip():
            name = check_name(name.strip(), row)
        return self._add(
            Download(secrets.token_hex(8), [url], row.name, name=name.strip(), sha256=sha256)
        )

    def pause(self, download_id: str) -> None:
        """Pause a download; what has arrived is kept."""
        with self._lock:
            download = self._find(download_id)
            if download.is_active:
                download.state = "paused"
                self._interrupt(download)
                self._write()

    def resume(self, download_id: str) -> None:
        """Go on with a paused or failed download."""
        self._check_allowed()
        with self._lock:
            download = self._find(download_id)
            if download.state in ("paused", "failed"):
                download.state, download.error = "waiting", ""
                self._write()
                self._work()

    def remove(self, download_id: str) -> None:
        """Take a download from the list, and delete what has arrived of an unfinished one."""
        with self._lock:
            download = self._find(download_id)
            self._interrupt(download)
            del self._downloads[download_id]
            self._write()
            if self._running_id != download_id:  # else the worker deletes it
                self._part(download).unlink(missing_ok=True)

    def _find(self, download_id: str) -> Download:
        download = self._downloads.get(download_id)
        if download is None:
            raise NotFound(f"There is no download '{download_id}'.", "Reload the page.")
        return download

    def _check_allowed(self) -> None:
        if not self.is_allowed:
            raise UserError("This server was started with --no-downloads: put files there by hand.")

    def _add(self, download: Download) -> Download:
        self._check_allowed()
        folder = self.folder(download.kind)
        with self._lock:
            others = [one for one in self._downloads.values() if one.state != "done"]
            if any(one.addresses[0] == download.addresses[0] for one in others):
                raise UserError(f"'{download.shown_name}' is on its way already.", "See the list.")
            if download.name:
                self._check_free(folder / download.name)
            self._downloads[download.id] = download
            self._write()
            self._work()
        return download

    def _check_free(self, target: Path) -> None:
        if target.exists():
            raise UserError(
                f"'{target}' exists already and is not overwritten.",
                "Use another name, or move the file away first.",
            )

    def _part(self, download: Download) -> Path:
        return self.folder(download.kind) / f"download-{download.id}.part"

    def _interrupt(self, download: Download) -> None:
        if download.id == self._running_id:
            self._stop.set()

    def _work(self) -> None:
        """Start the thread if there is work and none runs."""
        is_waiting = any(one.state == "waiting" for one in self._downloads.values())
        if is_waiting and self.is_allowed and self._thread is None and not self._is_stopping:
            self._thread = threading.Thread(target=self._run, name="downloads", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                waiting = (one for one in self._downloads.values() if one.state == "waiting")
                download = None if self._is_stopping else next(waiting, None)
                if download is None:
                    self._thread = None
                    return
                self._running_id, self._stop = download.id, threading.Event()
                download.state = "running"
            self._run_one(download)

    def _run_one(self, download: Download) -> None:
        error = ""
        try:
            self._bring(download, self._stop)
        except Stopped:
            pass
        except Exception as caught:
            if not isinstance(caught, WebUIError):
                logger.exception("The download '%s' failed.", download.shown_name)
            error = str(internal_error(caught))
        with self._lock:
            self._running_id = ""
            if download.id not in self._downloads:
                self._part(download).unlink(missing_ok=True)
            elif error:
                download.state, download.error = "failed", f"{error} {self._manual(download)}"
                logger.warning("%s", error)
            elif download.state != "done" and download.state != "paused":
                download.state = "waiting"  # the server stops, or it was paused and resumed at once
            self._write()

    def _manual(self, download: Download) -> str:
        page, name = (
            download.page or shown_address(download.addresses[0]),
            download.name or "the file",
        )
        yaml = Path(name).with_suffix(".yaml")
        with_config = (
            f", with a copy of configs/{download.config} as '{yaml}'" if download.config else ""
        )
        return (
            f"By hand: download {name} from {page} in a browser and put it into "
            f"'{self.folder(download.kind)}'{with_config}."
        )

    def _bring(self, download: Download, stop: threading.Event) -> None:
        """Download, check and place one file, or those of a package."""
        package = find_package(download.addresses[0], self._packages)
        if package is not None:
            bring_package(download, package, self._models, stop, self._lock)
            return
        part = self._part(download)
        kind = self._models.kinds.get(download.kind)

        def name(headers: http.client.HTTPMessage) -> None:
            if not download.name:
                offered = name_in_disposition(headers.get("content-disposition", ""))
                download.name = check_name(offered or name_in_address(download.addresses[0]), kind)
            self._check_free(self.folder(download.kind) / download.name)

        try:
            Transfer(download, part, self.web, stop, name).run()
            with self._lock:
                if stop.is_set():
                    raise Stopped
                download.state = "checking"
            found = check_file(download, part, self._models, stop)
        except BadFile:
            part.unlink(missing_ok=True)  # resuming would only append to it
            raise
        self._place(download, part, found)

    def _place(self, download: Download, part: Path, kind: ModelKind) -> None:
        """Put the complete file and its .yaml into the folder of its kind."""
        folder = self.folder(kind.name)
        target = folder / check_name(download.name, kind)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._check_free(target)
            if part.parent != folder:
                part = Path(shutil.move(part, folder / part.name))  # it may be on another disk
            config = target.with_suffix(".yaml")
            if download.config and not config.exists():
                write_text(config, (self._configs / download.config).read_text(encoding="utf-8"))
            with part.open("ab") as file:
                PartFile(part, file).create(target)
            part.unlink(missing_ok=True)
        except FileExistsError:
            self._check_free(target)
            raise
        except OSError as error:
            raise StorageError(
                f"'{target}' cannot be written: {error.strerror or error}.",
                "Allow writing to the folder and resume.",
            ) from error
        with self._lock:
            if kind.name != download.kind:
                download.kind = kind.name
                download.note = f"It is a {kind.noun}, and is in the folder of those."
            download.state = "done"
        self._models.refresh(kind.name)
        logger.info("Downloaded '%s'.", target)

    def _read(self) -> list[Download]:
        try:
            return read_or_move_aside(self._file, parse_downloads) or []
        except OSError as error:
            self._is_unreadable = True
            logger.warning("The list of downloads '%s' cannot be read: %s", self._file, error)
            return []

    def _write(self) -> None:
        """Store the list; an address can hold a token, so that it is for this user alone."""
        if self._is_unreadable:  # there may be downloads in it
            return
        rows = [dataclasses.asdict(download) for download in self._downloads.values()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            create_own_file(self._file)
            write_text(self._file, json.dumps(rows))
        except OSError as error:
            logger.warning("The list of downloads '%s' cannot be written: %s", self._file, error)
