"""The full-text index of the images' prompts, where this machine's SQLite has FTS5.

It is no part of a migration: a database moves between machines whose SQLite differs.
"""

from __future__ import annotations

import sqlite3

_TRIGGERS = {
    "images_are_added": (
        "AFTER INSERT ON images BEGIN"
        " INSERT INTO image_search (rowid, prompt) VALUES (new.id, new.prompt); END"
    ),
    "images_are_deleted": (
        "AFTER DELETE ON images BEGIN"
        " INSERT INTO image_search (image_search, rowid, prompt)"
        " VALUES ('delete', old.id, old.prompt); END"
    ),
}


def has_full_text_search(connection: sqlite3.Connection) -> bool:
    """Return whether this SQLite has FTS5."""
    options = {name for (name, *_) in connection.execute("PRAGMA compile_options")}
    return "ENABLE_FTS5" in options


def index_prompts(connection: sqlite3.Connection, has_search: bool | None = None) -> None:
    """Keep the index `image_search` up to date from now on, or leave it alone where SQLite cannot.

    Args:
        connection: To a database of the latest version.
        has_search: Whether SQLite has FTS5; asked by default.
    """
    with connection:
        if not (has_full_text_search(connection) if has_search is None else has_search):
            for name in _TRIGGERS:
                connection.execute(f"DROP TRIGGER IF EXISTS {name}")
            return
        known = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        if _TRIGGERS.keys() <= {name for (name, *_) in known}:
            return
        connection.execute(
            "CREATE VIRTUAL TABLE IF NOT EXISTS image_search"
            " USING fts5 (prompt, content = 'images', content_rowid = 'id')"
        )
        connection.execute("INSERT INTO image_search (image_search) VALUES ('rebuild')")
        for name, body in _TRIGGERS.items():
            connection.execute(f"CREATE TRIGGER {name} {body}")
