"""The SQLite file of the job store: checked when opened, moved aside if damaged, locked by one server."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

logger = logging.getLogger(__name__)

VERSION = 1
_SCHEMA = """
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
CREATE INDEX pictures_by_name ON pictures (name);
"""
# Another server releases its lock when it ends, never while it runs.
_LOCK_TIMEOUT_S = 0.5


class Database:
    """A connection, and a warning about its file.

    Args:
        connection: To the file, or to memory if the file is not available. Its rows are `sqlite3.Row`.
        is_durable: Whether it outlives the server.
        warning: One sentence if there was a problem; else empty.
    """

    def __init__(self, connection: sqlite3.Connection, is_durable: bool, warning: str) -> None:
        self.connection = connection
        self.is_durable = is_durable
        self.warning = warning


def open_database(path: Path) -> Database:
    """Return the opened database; a damaged file is moved aside, an unavailable one is replaced by memory."""
    warning = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return Database(_connect(path), True, "")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            warning = _move_aside(path, str(error))
            return Database(_connect(path), True, warning)
    except sqlite3.OperationalError as error:
        reason = (
            "another server uses this data folder"
            if "locked" in str(error)
            else f"{path.name} cannot be opened ({error})"
        )
    except OSError as error:
        reason = f"{path.name} cannot be written ({error.strerror or error})"
    warning = f"{warning} The queue will be lost at the end of this run: {reason}.".strip()
    logger.warning("%s", warning)
    memory = sqlite3.connect(":memory:", check_same_thread=False)
    memory.row_factory = sqlite3.Row
    memory.executescript(_SCHEMA)
    return Database(memory, False, warning)


def _connect(path: Path) -> sqlite3.Connection:
    """Return a connection to an intact file of this schema version.

    Raises:
        sqlite3.OperationalError: another server has locked it, or the disk cannot be read or written.
        sqlite3.DatabaseError: it is damaged, or of a later version.
    """
    connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        # Exclusive: two servers on one data folder would run each other's jobs.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL a kill of the process loses nothing even so; only a power cut loses the last moment.
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()["user_version"]
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"its version is {version}, this program's is {VERSION}")
        result = connection.execute("PRAGMA quick_check(1)").fetchone()["quick_check"]
        if result != "ok":
            raise sqlite3.DatabaseError(str(result))
        with connection:  # takes the lock now, not with the first job
            connection.execute("DELETE FROM jobs WHERE id = ''")
    except BaseException:
        connection.close()
        raise
    return connection


def _move_aside(path: Path, reason: str) -> str:
    """Rename an unusable file and its journal, and return a sentence for the user."""
    number = 0
    while (aside := path.with_name(f"{path.name}.unreadable{number or ''}")).exists():
        number += 1
    path.replace(aside)
    for suffix in ("-wal", "-shm"):
        journal = path.with_name(path.name + suffix)
        if journal.exists():
            journal.replace(aside.with_name(aside.name + suffix))
    warning = f"{path.name} is unreadable ({reason}); a new queue is started, the file is kept as {aside.name}."
    logger.warning("%s", warning)
    return warning
