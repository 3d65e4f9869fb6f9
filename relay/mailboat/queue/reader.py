"""Reads while the commit thread writes: a few threads, each with its own read-only connection.

Readers of a write-ahead log neither wait for the writer nor make it wait. Owned by `spool`.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, TypeVar

from mailboat.queue.faults import storage_error
from mailboat.queue.store import StorageError

THREADS = 2
"""Two, so that one may scan a long queue while the other reads a body."""

P = ParamSpec("P")
T = TypeVar("T")


class Reader:
    """Runs functions of `queries` in threads."""

    def __init__(self, path: str, open_reader: Callable[[], sqlite3.Connection]) -> None:
        """`open_reader` makes a connection."""
        self._path = path
        self._open_reader = open_reader
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix=f"read {path}")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def ask(self, question: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **_: P.kwargs) -> T:
        """The result of a query. Raises `StorageError`."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, lambda: self._ask(question, *args))
        except RuntimeError as error:
            raise StorageError("the queue is closed") from error

    def _ask(self, question: Callable[..., T], *args: object) -> T:
        try:
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = self._local.connection = self._open_reader()
                self._connections.append(connection)
            return question(connection, *args)
        except (sqlite3.Error, OSError) as error:
            self._forget()
            raise storage_error(error, self._path) from error

    def _forget(self) -> None:
        """Close a connection after an error."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            self._local.connection = None
            self._connections.remove(connection)
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    async def close(self) -> None:
        """Finish running reads and close the connections."""
        await asyncio.get_running_loop().run_in_executor(None, self._pool.shutdown)
        while self._connections:
            with contextlib.suppress(sqlite3.Error):
                self._connections.pop().close()
