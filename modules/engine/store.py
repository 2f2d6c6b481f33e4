"""Every job and finished picture in one SQLite file: what a restart and a closed browser do not lose."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modules.core.errors import NotFound
from modules.engine.database import Opened, open_database
from modules.engine.frozen import Frozen, freeze, pictures_of
from modules.engine.given_pictures import GivenPictures
from modules.engine.job import JobStatus
from modules.engine.line import Place
from modules.engine.row import JobRow, notes_of
from modules.params.image import ImageField
from modules.params.request import GenerationRequest
from modules.params.result import GeneratedImage
from modules.params.settings import Settings

logger = logging.getLogger(__name__)

# Pictures lie in the outputs folder; what is told of them here is forgotten, oldest first, beyond this.
_MOST_ENDED = 10_000
# So many failed and cancelled jobs keep the pictures that they were given, to be tried again.
_MOST_RETRIABLE = 50
_COLUMNS = "id, source, round, number, state, task, request, settings, image_count, created, started, ended, error, notes"


class Store:
    """The queue's memory. Opens its file when first used; thread-safe.

    What cannot be written is told once, and the jobs go on without it.

    Args:
        folder: Holds the file, and the pictures that requests bring along.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "jobs.sqlite"
        self._pictures = GivenPictures(folder / "pictures")
        self._lock = threading.RLock()
        self._opened: Opened | None = None
        self._left: list[str] = []
        self._remark = ""
        self._is_closed = False

    # Life

    def remark(self) -> str:
        """Return what the user should know of the file; empty when all is well."""
        with self._lock:
            return self._open().remark or self._remark

    def left_over(self) -> list[JobRow]:
        """Return the jobs that waited when the last server stopped, in order; each only once."""
        with self._lock:
            self._open()
            ids, self._left = self._left, []
        return [self.row(job_id) for job_id in ids]

    def close(self) -> None:
        """Let go of the file; what is told afterwards is not stored."""
        with self._lock:
            self._is_closed = True
            if self._opened is not None:
                self._opened.connection.close()

    # What happens to a job, the JobLog of every job

    @contextmanager
    def frozen(self, request: GenerationRequest, settings: Settings) -> Generator[Frozen]:
        """Yield a request as it is stored, its pictures written; `add` comes before the block ends."""
        names: dict[str, str] = {}
        try:
            names = self._pictures.hold(pictures_of(request) if self.is_durable() else {})
        except OSError as error:
            self._complain(error)
        try:
            yield freeze(request, settings, names)
        finally:
            self._pictures.release(names.values())

    def add(self, place: Place, frozen: Frozen, image_count: int) -> bool:
        """Store a new job; return whether it outlives the server."""
        values = (place.job_id, place.source, place.round, place.number, "queued", frozen.task)
        asked = (frozen.request, frozen.settings, image_count, _now())
        with self._lock:
            stored = self._write(
                f"INSERT INTO jobs ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,NULL,NULL,'','[]')",
                (*values, *asked),
            )
            rows = [(place.job_id, field, name) for field, name in frozen.pictures.items()]
            return stored and self._write_all("INSERT INTO pictures VALUES (?, ?, ?)", rows)

    def started(self, job_id: str) -> None:
        """Note that the device has begun."""
        self._write("UPDATE jobs SET state = 'running', started = ? WHERE id = ?", (_now(), job_id))

    def kept(self, job_id: str, position: int, image: GeneratedImage) -> None:
        """Note a finished picture."""
        values = (image.index, image.seed, str(image.path), image.infotext, image.remark)
        self._write("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", (job_id, position, *values))

    def ended(self, status: JobStatus) -> None:
        """Note how a job ended, and let go of pictures that no job needs."""
        notes = json.dumps(status.notes, ensure_ascii=False)
        with self._lock:
            self._write(
                "UPDATE jobs SET state = ?, ended = ?, error = ?, notes = ? WHERE id = ?",
                (status.state, _now(), status.error, notes, status.id),
            )
            self._let_go_of_pictures(status)

    def moved(self, places: Iterable[Place]) -> None:
        """Note where jobs stand now."""
        rows = [(place.round, place.number, place.job_id) for place in places]
        self._write_all("UPDATE jobs SET round = ?, number = ? WHERE id = ?", rows)

    # What is asked

    def is_durable(self) -> bool:
        """Return whether the file outlives the server."""
        with self._lock:
            return not self._is_closed and self._open().is_durable

    def row(self, job_id: str) -> JobRow:
        """Return a job.

        Raises:
            NotFound: it is not stored.
        """
        rows = self._rows("WHERE id = ?", (job_id,))
        if not rows:
            raise NotFound(
                "This job is no longer known.", "Its pictures are in the outputs folder."
            )
        return rows[0]

    def waiting(self, limit: int) -> list[JobRow]:
        """Return the running jobs, then the waiting ones in order."""
        running = self._rows("WHERE state = 'running'", ())
        return running + self._rows(
            "WHERE state = 'queued' ORDER BY round, number, id LIMIT ?", (limit,)
        )

    def waiting_count(self) -> int:
        """Return how many jobs wait."""
        return sum(map(int, self._column("SELECT count(*) FROM jobs WHERE state = 'queued'", ())))

    def past(self, limit: int) -> list[JobRow]:
        """Return ended jobs, the last one first."""
        return self._rows("WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT ?", (limit,))

    def picture(self, name: str) -> ImageField:
        """Return a picture that a request brought along.

        Raises:
            NotFound: it is no longer kept.
        """
        return self._pictures.read(name)

    # The file

    def _open(self) -> Opened:
        if self._opened is None:
            self._opened = open_database(self._path)
            if self._opened.is_durable:
                self._take_over(self._opened.connection)
        return self._opened

    def _take_over(self, connection: sqlite3.Connection) -> None:
        """Put in order what the last server left: nothing runs any more."""
        with connection:
            connection.execute(
                "UPDATE jobs SET state = 'failed', ended = ?, error = 'The server was stopped while it ran; ' ||"
                " CASE (SELECT count(*) FROM images WHERE job_id = id)"
                " WHEN 1 THEN '1 picture was finished.'"
                " ELSE (SELECT count(*) FROM images WHERE job_id = id) || ' pictures were finished.' END"
                " WHERE state = 'running'",
                (_now(),),
            )
            connection.execute(
                "DELETE FROM jobs WHERE id IN"
                " (SELECT id FROM jobs WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT -1 OFFSET ?)",
                (_MOST_ENDED,),
            )
            for table in ("images", "pictures"):
                connection.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT id FROM jobs)")
        found = connection.execute(
            "SELECT id FROM jobs WHERE state = 'queued' ORDER BY round, number, id"
        )
        self._left = [job_id for (job_id,) in found]
        self._pictures.drop_all_but(
            name for (name,) in connection.execute("SELECT name FROM pictures")
        )

    def _let_go_of_pictures(self, status: JobStatus) -> None:
        """Forget the pictures of a job that is done, and of the failed ones that are long past."""
        if not self.is_durable():
            return
        gone = [status.id]
        if status.state != "done":
            gone = self._column(
                "SELECT id FROM jobs WHERE ended IS NOT NULL AND id IN (SELECT job_id FROM pictures)"
                " ORDER BY ended DESC LIMIT -1 OFFSET ?",
                (_MOST_RETRIABLE,),
            )
        for job_id in gone:
            names = self._column("SELECT name FROM pictures WHERE job_id = ?", (job_id,))
            self._write("DELETE FROM pictures WHERE job_id = ?", (job_id,))
            self._pictures.drop(name for name in names if not self._is_needed(name))

    def _is_needed(self, name: str) -> bool:
        return bool(self._column("SELECT job_id FROM pictures WHERE name = ? LIMIT 1", (name,)))

    def _rows(self, where: str, values: tuple[object, ...]) -> list[JobRow]:
        with self._lock:
            if self._is_closed:
                return []
            cursor = self._open().connection.cursor()
            found = cursor.execute(f"SELECT {_COLUMNS} FROM jobs {where}", values).fetchall()
            return [self._row_of(one, cursor) for one in found]

    def _row_of(self, columns: tuple[Any, ...], cursor: sqlite3.Cursor) -> JobRow:
        # columns: in the order of _COLUMNS, of the types that the schema names
        job_id, source, turn, number, state, task, request, settings, *facts = columns
        count, created, started, ended, error, notes = facts
        images = cursor.execute(
            "SELECT image_index, seed, infotext, path, remark FROM images WHERE job_id = ? ORDER BY position",
            (job_id,),
        ).fetchall()
        pictures = cursor.execute(
            "SELECT field, name FROM pictures WHERE job_id = ?", (job_id,)
        ).fetchall()
        return JobRow(
            Place(turn, number, job_id, source),
            state,
            Frozen(task, request, settings, dict(pictures)),
            count,
            created,
            started,
            ended,
            error,
            notes_of(notes),
            tuple(
                GeneratedImage(index, seed, text, Path(path), remark)
                for index, seed, text, path, remark in images
            ),
        )

    def _column(self, query: str, values: tuple[object, ...]) -> list[str]:
        with self._lock:
            if self._is_closed:
                return []
            return [one for (one,) in self._open().connection.execute(query, values)]

    def _write(self, query: str, values: tuple[object, ...]) -> bool:
        return self._write_all(query, [values])

    def _write_all(self, query: str, rows: Iterable[tuple[object, ...]]) -> bool:
        """Write all rows or none; return whether they outlive the server."""
        try:
            with self._lock:
                if self._is_closed:
                    return False
                opened = self._open()
                with opened.connection:
                    opened.connection.executemany(query, rows)
                return opened.is_durable
        except sqlite3.Error as error:
            self._complain(error)
            return False

    def _complain(self, error: Exception) -> None:
        if not self._remark:
            self._remark = (
                f"The queue cannot be stored: {error}. Jobs still run, but a restart forgets them."
            )
            logger.warning("%s", self._remark)


def _now() -> float:
    return time.time()
