"""Versions of the job database: each migration makes the next one of the version before, in one transaction.

A migration is never changed once it has been released: it uses the tables as they were, not today's classes.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, cast

Migration = Callable[[sqlite3.Connection], None]

_VERSION_1 = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    source TEXT NOT NULL,
    round INTEGER NOT NULL,
    number INTEGER NOT NULL,
    state TEXT NOT NULL,
    task TEXT NOT NULL,
    request TEXT NOT NULL,
    settings TEXT NOT NULL,
    image_count INTEGER NOT NULL,
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    error TEXT NOT NULL DEFAULT '',
    notes TEXT NOT NULL DEFAULT '[]'
) WITHOUT ROWID;
CREATE INDEX jobs_by_state ON jobs (state, round, number);
CREATE INDEX jobs_by_end ON jobs (ended);
CREATE TABLE images (
    job_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    image_index INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    path TEXT NOT NULL,
    infotext TEXT NOT NULL,
    remark TEXT NOT NULL,
    PRIMARY KEY (job_id, position)
) WITHOUT ROWID;
CREATE TABLE pictures (
    job_id TEXT NOT NULL,
    field TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (job_id, field)
) WITHOUT ROWID;
CREATE INDEX pictures_by_name ON pictures (name)
"""
# Images have rows of their own: they outlive the record of their job. Input images belong to a job or a group.
_VERSION_2 = """
ALTER TABLE images RENAME TO images_of_version_1;
CREATE TABLE images (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    image_index INTEGER NOT NULL,
    path TEXT NOT NULL,
    created REAL NOT NULL,
    model TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    seed INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    infotext TEXT NOT NULL,
    warning TEXT NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0,
    UNIQUE (job_id, position)
);
CREATE INDEX images_by_time ON images (created);
CREATE TABLE input_images (
    owner_id TEXT NOT NULL,
    field TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (owner_id, field)
) WITHOUT ROWID;
CREATE INDEX input_images_by_name ON input_images (name);
INSERT INTO input_images SELECT job_id, field, name FROM pictures;
DROP TABLE pictures;
CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    script TEXT NOT NULL,
    args TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL,
    task TEXT NOT NULL,
    request TEXT NOT NULL,
    settings TEXT NOT NULL,
    created REAL NOT NULL,
    ended REAL,
    error TEXT NOT NULL DEFAULT '',
    notes TEXT NOT NULL DEFAULT '[]'
) WITHOUT ROWID;
CREATE INDEX groups_by_end ON groups (ended);
CREATE TABLE cells (
    group_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    job_id TEXT NOT NULL,
    state TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    notes TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (group_id, position, attempt)
) WITHOUT ROWID;
CREATE INDEX cells_by_job ON cells (job_id)
"""
# Scripts make images of their cells' images: these have the group's id in place of a job's.
_VERSION_3 = """
ALTER TABLE images ADD COLUMN kind TEXT NOT NULL DEFAULT 'image';
ALTER TABLE cells ADD COLUMN is_shown INTEGER NOT NULL DEFAULT 1
"""
_SIZE = re.compile(r"\bSize: ([1-9]\d{0,5})x([1-9]\d{0,5})\b")
_HIRES_SIZE = re.compile(r"\bHires resize: (\d{1,6})x(\d{1,6})\b")
_HIRES_SCALE = re.compile(r"\bHires upscale: (\d{1,3}(?:\.\d{1,6})?)")


def _create_version_1(connection: sqlite3.Connection) -> None:
    _run(connection, _VERSION_1)


def _make_version_2(connection: sqlite3.Connection) -> None:
    _run(connection, _VERSION_2)
    rows = connection.execute(
        "SELECT images.*, jobs.request, coalesce(jobs.ended, jobs.started, jobs.created) AS created"
        " FROM images_of_version_1 AS images JOIN jobs ON jobs.id = images.job_id"
    )
    connection.executemany(
        "INSERT INTO images (job_id, position, image_index, path, created, model, width, height,"
        " seed, prompt, infotext, warning) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        map(_image_of_version_2, rows),
    )
    connection.execute("DROP TABLE images_of_version_1")


def _image_of_version_2(row: sqlite3.Row) -> tuple[object, ...]:
    request = _parse_request(row["request"])
    width, height = _size_in_infotext(row["infotext"])
    return (
        row["job_id"],
        row["position"],
        row["image_index"],
        row["path"],
        row["created"],
        request.get("sd_model_checkpoint", ""),
        width,
        height,
        row["seed"],
        request.get("prompt", ""),
        row["infotext"],
        row["remark"],
    )


def _parse_request(text: str) -> dict[str, Any]:
    """Return the fields of a stored request; none if it is damaged, so that one row does not keep all others back."""
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}


def _size_in_infotext(infotext: str) -> tuple[int, int]:
    """Return the size of an image by its infotext; opening the files of thousands would take minutes on a slow disk."""
    parameters = infotext.rpartition("\n")[2]
    size = _SIZE.search(parameters)
    if size is None:
        return 0, 0
    width, height = int(size[1]), int(size[2])
    if resized := _HIRES_SIZE.search(parameters):  # a side of 0 keeps the proportions
        to_width, to_height = int(resized[1]), int(resized[2])
        return to_width or to_height * width // height, to_height or to_width * height // width
    scale = _HIRES_SCALE.search(parameters)
    factor = float(scale[1]) if scale else 1.0
    return int(width * factor), int(height * factor)


def _make_version_3(connection: sqlite3.Connection) -> None:
    _run(connection, _VERSION_3)


# In order; the first one makes version 1 of an empty file.
MIGRATIONS: Sequence[Migration] = (_create_version_1, _make_version_2, _make_version_3)


def migrate(connection: sqlite3.Connection, version: int, migrations: Sequence[Migration]) -> None:
    """Bring a database of an earlier version up to date: completely, or not at all.

    Args:
        connection: To the database, outside of a transaction.
        version: Its version; 0 is an empty file.
        migrations: Those of all versions.

    Raises:
        Exception: what a migration raised; the database is as it was.
    """
    connection.execute("BEGIN IMMEDIATE")
    with connection:  # commits, or rolls back
        for change in migrations[version:]:
            change(connection)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run statements; `executescript` would end the transaction."""
    for statement in script.split(";"):
        connection.execute(statement)
