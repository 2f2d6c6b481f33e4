"""Stores groups of jobs and their cells, so that a group goes on after a restart."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence

from modules.engine.jobs.database.database import Database
from modules.engine.jobs.group_record import (
    CellAttempt,
    CellSummary,
    GroupRecord,
    attempt_from_row,
    group_from_row,
    summarize_cells,
)
from modules.engine.jobs.job_record import read_images, renumber
from modules.engine.jobs.job_status import JobState
from modules.params.results import GeneratedImage

# Records of ended groups beyond this number are deleted, oldest first.
_MAX_ENDED = 500


class GroupStore:
    """Persistent storage of groups, in the database of the jobs. Thread-safe.

    Args:
        database: Holds the tables `groups` and `cells`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: GroupRecord) -> None:
        """Store a new group; its input images are held by the caller."""
        group = {
            "id": record.id,
            "script": record.script,
            "args": record.args,
            "source": record.source,
            "state": record.state,
            "task": record.stored_request.task,
            "request": record.stored_request.request,
            "settings": record.stored_request.settings,
            "created": time.time(),
        }
        input_images = [
            {"owner_id": record.id, "field": field, "name": name}
            for field, name in record.stored_request.image_names.items()
        ]
        with self._database.lock:
            self._database.insert("groups", [group])
            if input_images:
                self._database.insert("input_images", input_images)

    def log_attempt(self, group_id: str, attempt: CellAttempt) -> None:
        """Record a cell's job, or how the cell ended."""
        self._database.write(
            "INSERT OR REPLACE INTO cells"
            " (group_id, position, attempt, job_id, state, error, notes, is_shown)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                group_id,
                attempt.position,
                attempt.attempt,
                attempt.job_id,
                attempt.state,
                attempt.error,
                json.dumps(attempt.notes, ensure_ascii=False),
                attempt.is_shown,
            ),
        )

    def log_end(self, group_id: str, state: JobState, error: str, notes: Sequence[str]) -> None:
        """Record how a group ended."""
        self._database.write(
            "UPDATE groups SET state = ?, ended = ?, error = ?, notes = ? WHERE id = ?",
            (state, time.time(), error, json.dumps(notes, ensure_ascii=False), group_id),
        )

    def list_unended(self) -> list[GroupRecord]:
        """Return the groups that have not ended, oldest first; at a start, those that the last stop interrupted."""
        rows = self._database.select("SELECT * FROM groups WHERE ended IS NULL ORDER BY created")
        return [self._read(row) for row in rows]

    def record(self, group_id: str) -> GroupRecord | None:
        """Return the record of a group, or None if it is not stored."""
        rows = self._database.select("SELECT * FROM groups WHERE id = ?", (group_id,))
        return self._read(rows[0]) if rows else None

    def attempts(self, group_id: str) -> list[CellAttempt]:
        """Return the jobs of a group's cells, in order."""
        rows = self._database.select(
            "SELECT * FROM cells WHERE group_id = ? ORDER BY position, attempt", (group_id,)
        )
        return [attempt_from_row(row) for row in rows]

    def cells(self, group_id: str) -> list[CellSummary]:
        """Return the cells of a group that have begun, in order."""
        return summarize_cells(
            self._database.select(
                "SELECT cells.*,"
                " (SELECT count(*) FROM images WHERE images.job_id = cells.job_id) AS image_count"
                " FROM cells WHERE group_id = ? ORDER BY position, attempt",
                (group_id,),
            )
        )

    def script(self, group_id: str) -> tuple[str, str] | None:
        """Return the name of a group's script and its arguments as JSON, or None if the group is not stored."""
        rows = self._database.select("SELECT script, args FROM groups WHERE id = ?", (group_id,))
        return (rows[0]["script"], rows[0]["args"]) if rows else None

    def images(self, attempts: Sequence[CellAttempt]) -> tuple[GeneratedImage, ...]:
        """Return the finished images of a cell's jobs, in order."""
        return tuple(
            image
            for attempt in attempts
            for image in read_images(
                self._database.select(
                    "SELECT * FROM images WHERE job_id = ? ORDER BY position", (attempt.job_id,)
                )
            )
        )

    def own_images(self, group_id: str) -> list[GeneratedImage]:
        """Return the images that a group's script has made of those of its cells, in order."""
        return read_images(
            self._database.select(
                "SELECT * FROM images WHERE job_id = ? ORDER BY position", (group_id,)
            )
        )

    def _read(self, row: sqlite3.Row) -> GroupRecord:
        cell_images = self._database.select(
            "SELECT images.* FROM cells JOIN images ON images.job_id = cells.job_id"
            " WHERE group_id = ? AND is_shown ORDER BY cells.position, attempt, images.position",
            (row["id"],),
        )
        images = [*read_images(cell_images), *self.own_images(row["id"])]
        input_images = self._database.select(
            "SELECT * FROM input_images WHERE owner_id = ?", (row["id"],)
        )
        return group_from_row(row, renumber(images, 0), input_images)


def recover_groups(connection: sqlite3.Connection) -> None:
    """Delete ended groups beyond the limit, and the queued jobs of groups, which submit them again."""
    connection.execute(
        "DELETE FROM groups WHERE id IN"
        " (SELECT id FROM groups WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT -1 OFFSET ?)",
        (_MAX_ENDED,),
    )
    connection.execute("DELETE FROM cells WHERE group_id NOT IN (SELECT id FROM groups)")
    connection.execute(
        "DELETE FROM jobs WHERE state = 'queued' AND id IN"
        " (SELECT job_id FROM cells JOIN groups ON groups.id = cells.group_id"
        " WHERE groups.ended IS NULL)"
    )
