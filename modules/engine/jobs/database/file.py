"""Opens the SQLite file of the job store: checked, migrated and locked by one server.

A damaged file is moved aside; one of a newer version, or one that cannot be migrated, is left as it is.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from modules.core.private import close_to_others, create_own_file
from modules.engine.jobs.database.image_search import index_prompts
from modules.engine.jobs.database.migrations import MIGRATIONS, Migration, migrate

logger = logging.getLogger(__name__)

# Another server releases its lock when it ends, never while it runs.
_LOCK_TIMEOUT_S = 0.5


class UnusableVersion(Exception):
    """The file is intact, but this program cannot use it; it is left as it is."""


@dataclass(frozen=True)
class OpenedFile:
    """A connection, and what there is to say about its file.

    Args:
        connection: To the file, or to memory if the file cannot be used. Its rows are `sqlite3.Row`.
        is_durable: Whether it outlives the server.
        warning: One sentence if there was a problem; else empty.
    """

    connection: sqlite3.Connection
    is_durable: bool
    warning: str


def open_database(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> OpenedFile:
    """Return the opened database; in memory, with a warning, if the file cannot be used."""
    warning = ""
    try:
        # Prompts and input images: SQLite gives its journals the permissions of the file.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        close_to_others(path.parent)
        try:
            return OpenedFile(_connect(path, migrations), True, "")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            warning = _move_aside(path, str(error))
            return OpenedFile(_connect(path, migrations), True, warning)
    except UnusableVersion as error:
        reason = str(error)
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
    migrate(memory, 0, migrations)
    return OpenedFile(memory, False, warning)


def _connect(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    """Return a connection to an intact file of the latest version.

    Raises:
        UnusableVersion: a newer program wrote it, or it cannot be migrated.
        sqlite3.OperationalError: another server has locked it, or the disk cannot be read or written.
        sqlite3.DatabaseError: it is damaged.
    """
    version = _read_version(path)
    if version > len(migrations):
        raise UnusableVersion(
            f"a newer version of this program wrote {path.name}, which is left as it is"
            f" (its version is {version}, this program's is {len(migrations)})"
        )
    create_own_file(path)
    connection = sqlite3.connect(path, timeout=_LOCK_TIMEOUT_S, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    try:
        # Exclusive: two servers on one data folder would run each other's jobs.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        # In WAL a kill of the process loses nothing even so; only a power cut loses the last moment.
        connection.execute("PRAGMA synchronous = NORMAL")
        if version < len(migrations):
            _migrate(connection, path, version, migrations)
        _backup_path(path).unlink(missing_ok=True)
        index_prompts(connection)
        with connection:  # takes the lock now, not with the first job
            connection.execute("DELETE FROM jobs WHERE id = ''")
    except BaseException:
        connection.close()
        raise
    return connection


def _read_version(path: Path) -> int:
    """Return the version of a file without writing to it or next to it; 0 if there is none.

    Raises:
        sqlite3.DatabaseError: it is damaged, or locked by another server.
    """
    if not path.exists():
        return 0
    # What a killed server wrote last is in its journal alone; without one, no journal must be created.
    journal = path.with_name(f"{path.name}-wal")
    mode = "mode=ro" if journal.exists() and journal.stat().st_size else "immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    with closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_TIMEOUT_S)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if result != "ok":
        raise sqlite3.DatabaseError(str(result))
    return version


def _migrate(
    connection: sqlite3.Connection, path: Path, version: int, migrations: Sequence[Migration]
) -> None:
    """Migrate a file, with a copy of it next to it until it has succeeded.

    Raises:
        UnusableVersion: a migration failed; the file is as it was, and the copy is kept.
    """
    backup = _backup_path(path)
    try:
        if version:
            backup.unlink(missing_ok=True)
            create_own_file(backup)
            with closing(sqlite3.connect(backup)) as copy:
                connection.backup(copy)
        migrate(connection, version, migrations)
    except (sqlite3.Error, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        logger.exception("%s could not be migrated from version %s.", path.name, version)
        raise UnusableVersion(
            f"{path.name} of version {version} cannot be converted to version {len(migrations)}"
            f" ({error}); it is left as it is"
        ) from error
    if version:
        logger.info("%s: version %s became version %s.", path.name, version, len(migrations))


def _backup_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.backup")


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
