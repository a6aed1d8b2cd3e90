"""SQLite (WAL): which jobs wait, in which order, which stops and which room were asked for."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS queue (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        job_id TEXT NOT NULL UNIQUE,
        created REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS stop_requests (
        job_id TEXT PRIMARY KEY,
        created REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS room_requests (
        job_id TEXT PRIMARY KEY,
        created REAL NOT NULL
    )""",
)


class Catalog:
    """What waits. A job's folder is the truth about what ran; this is the truth about what is still to run.

    Safe to share between threads and processes: a connection a call, every change one transaction.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._transaction() as connection:
            for statement in SCHEMA:
                connection.execute(statement)

    def enqueue(self, job_id: str) -> None:
        """Put a job at the end of the line; one that waits already keeps its place."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM stop_requests WHERE job_id = ?", (job_id,))
            connection.execute("INSERT OR IGNORE INTO queue (job_id, created) VALUES (?, ?)", (job_id, time.time()))

    def dequeue(self, job_id: str) -> bool:
        """Take a job out of the line; False when it was not waiting."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM room_requests WHERE job_id = ?", (job_id,))
            return connection.execute("DELETE FROM queue WHERE job_id = ?", (job_id,)).rowcount > 0

    def waiting(self) -> list[str]:
        """The ids of the waiting jobs, the next one first."""
        with self._transaction() as connection:
            return [row[0] for row in connection.execute("SELECT job_id FROM queue ORDER BY position")]

    def request_stop(self, job_id: str) -> None:
        """Ask the supervisor to stop a job that runs; asking again changes nothing."""
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO stop_requests VALUES (?, ?)", (job_id, time.time()))

    def stop_requests(self) -> dict[str, float]:
        """The jobs to be stopped, and when that was asked (seconds since 1970)."""
        with self._transaction() as connection:
            return dict(connection.execute("SELECT job_id, created FROM stop_requests").fetchall())

    def request_room(self, job_id: str) -> None:
        """Ask the supervisor to unload chats for a job in line; it is forgotten when the job leaves the line."""
        with self._transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO room_requests VALUES (?, ?)", (job_id, time.time()))

    def room_requests(self) -> set[str]:
        """The jobs for which chats are to be unloaded."""
        with self._transaction() as connection:
            return {row[0] for row in connection.execute("SELECT job_id FROM room_requests")}

    def clear_stop(self, job_id: str) -> None:
        """Forget a stop that was carried out."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM stop_requests WHERE job_id = ?", (job_id,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=5, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()
