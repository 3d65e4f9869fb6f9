"""A message's octets on their way into the store: in memory while few, in a file of the spool when many.

Memory does not depend on what clients and programs send. Knows no envelope and no SMTP; what is put on a header says
the `head` of whoever writes (`message.prepare`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mailboat.config.settings import Nul
from mailboat.message.prepare import NulError, UnfitError
from mailboat.model.envelope import Body, SpooledBody
from mailboat.queue.store import Store

SPOOL_THRESHOLD = 256 * 1024
"""Octets of a body that are kept in memory; a larger one goes to a file. Above it, the file's own fsyncs cost less
than the second copy that a database's log makes; below, they cost more."""

MAX_PARTS = 512
"""Pieces that are kept apart: each costs more than its octets, and a client can send one octet at a time."""


class BodyWriter:
    """The octets of one message. After a fault they are thrown away."""

    def __init__(self, store: Store, head: Callable[[bytes, bool], bytes], nul: Nul = Nul.PASS) -> None:
        """`head` is called once, with the first octets and whether they are all: it returns them with what is added."""
        self._store = store
        self._head = head
        self._nul = nul
        self.has_nul = False
        """A NUL octet came."""
        self.fault: OSError | UnfitError | None = None
        """Why the message cannot be taken."""
        self._parts: list[bytes] = []
        self._octets = 0
        """In memory."""
        self._file = -1
        self._path = ""
        self._file_size = 0

    def write(self, octets: bytes) -> None:
        """Take octets of the message."""
        if self.fault is not None:
            return
        if b"\0" in octets:
            octets = self._without_nul(octets)
        self._parts.append(octets)
        self._octets += len(octets)
        if self._file >= 0 or self._octets > SPOOL_THRESHOLD:
            self._spill()
        elif len(self._parts) > MAX_PARTS:
            self._parts = [b"".join(self._parts)]

    def finish(self) -> Body:
        """The whole message, ready for a draft. Raises what became `fault`."""
        body = b""
        if self._file < 0 and self.fault is None:
            body = self._headed(b"".join(self._parts), whole=True)
        if self.fault is not None:
            self.discard()
            raise self.fault
        self._parts.clear()
        return self._close_file() if self._file >= 0 else body

    def discard(self) -> None:
        """Forget the octets, and remove the file if there is one."""
        self._parts.clear()
        self._octets = 0
        if self._file >= 0:
            # What cannot be closed or removed now, the store removes at its next start.
            with suppress(OSError):
                self._close_file()
            with suppress(OSError):
                Path(self._path).unlink(missing_ok=True)

    def _without_nul(self, octets: bytes) -> bytes:
        self.has_nul = True
        if self._nul is Nul.REFUSE:
            self.discard()
            self.fault = NulError("the message holds a NUL octet")
        return octets if self._nul is Nul.PASS else octets.replace(b"\0", b"")

    def _headed(self, first: bytes, *, whole: bool) -> bytes:
        try:
            return self._head(first, whole)
        except UnfitError as error:
            self.fault = error
            return b""

    def _spill(self) -> None:
        pending = b"".join(self._parts)
        self._parts.clear()
        self._octets = 0
        try:
            if self._file < 0:
                pending = self._headed(pending, whole=False)
                if self.fault is not None:
                    return
                self._path, self._file = self._store.new_body_file()
            self._file_size += len(pending)
            _write_all(self._file, pending)
        except OSError as error:
            self.discard()
            self.fault = error

    def _close_file(self) -> Body:
        """The file as a body, the store's from now on. Raises OSError, and then it is removed."""
        file, self._file = self._file, -1  # whatever comes of it, it is closed once
        try:
            os.close(file)
        except OSError:  # some file systems tell only now that they are full
            Path(self._path).unlink(missing_ok=True)
            raise
        return SpooledBody(self._path, self._file_size)


def discard_body(body: Body) -> None:
    """Remove the file of a finished body that goes into no draft, if it has one."""
    if isinstance(body, SpooledBody):
        with suppress(OSError):
            Path(body.path).unlink(missing_ok=True)


def _write_all(file: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(file, view) :]
