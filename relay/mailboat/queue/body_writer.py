"""A message's octets on their way into the store: in memory while few, in a file of the spool when many.

Every new message is written here: from clients, plugins and programs, and bounces. Memory use does not depend on what
they send. Knows no envelope and no SMTP; `message.prepare` defines the changes of the octets.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from mailboat.config.settings import TENANT_FIELD, Nul, Settings
from mailboat.message import received
from mailboat.message.body_hash import TextHashTap
from mailboat.message.prepare import NulError, Preparation, UnfitError
from mailboat.message.taps import AsciiTap, BodyTap, SizeTap
from mailboat.model.envelope import Body, SpooledBody
from mailboat.queue.store import Store

SPOOL_THRESHOLD = 256 * 1024
"""Octets of a body that are kept in memory; a larger one goes to a file. Above it, the file's own fsyncs cost less
than the second copy that a database's log makes; below, they cost more."""

MAX_PARTS = 512
"""Most pieces in memory before they are joined: each costs more than its octets, and a client can send single
octets."""


def prepare(
    settings: Settings,
    id: str,  # noqa: A002 - the field's word
    date: bytes,
    *,
    trace: bytes = b"",
    removed: Sequence[str] = (),
    look: Callable[[bytes], None] | None = None,
) -> Preparation:
    """What is done to a new message with this queue id. `trace`: fields that go below the one of `received_header`."""
    if settings.tenants:
        removed = (*removed, TENANT_FIELD)
    trace = received.outbound_trace(settings.outbound.received_header, date) + trace
    names = [name.encode() for name in removed] if removed else ()
    taps = () if settings.signer is None else (TextHashTap(settings.signer.form.body),)
    return Preparation(id, settings.me, date, trace, settings.smtp.max_received, names, taps, look)


class BodyWriter:
    """The octets of one message, discarded after a fault. Its file is written in threads, never on the event loop."""

    # Values that nearly every message keeps to its end; they are not set for each.
    has_nul = False
    """The message has a NUL octet."""
    tls_required_no = False
    """Its header says `TLS-Required: No`, once it is finished."""
    fault: OSError | UnfitError | None = None
    """Why the message cannot be stored."""
    _octets = 0
    """In memory."""
    _spooled = False
    """The message is too large for memory."""
    _at_work = False
    """A thread is using the file."""
    _unwanted = False
    """`discard` was called while a thread was using the file."""
    _file = -1
    _path = ""
    _taps: tuple[BodyTap, ...] = ()

    def __init__(self, store: Store, preparation: Callable[[], Preparation], nul: Nul = Nul.PASS) -> None:
        """`preparation` is called once, when the first octets go to the disk or all are there."""
        self._store = store
        self._preparation: Callable[[], Preparation] | None = preparation
        self._nul = nul
        self.ascii = AsciiTap()
        """Whether the message is ASCII, once it is finished."""
        self._parts: list[bytes] = []

    @property
    def text_digest(self) -> bytes | None:
        """The hash of the text for a DKIM signature, once the message is finished; None if it cannot be signed."""
        tap = next((tap for tap in self._taps if isinstance(tap, TextHashTap)), None)
        return None if tap is None else tap.digest()

    def write(self, octets: bytes) -> asyncio.Future[None] | None:
        """Add octets to the message. If a future is returned, wait for it before any other call: the disk is slower.

        The future never fails; `fault` has the error.
        """
        if self.fault is not None:
            return None
        if b"\0" in octets:
            octets = self._without_nul(octets)
            if self.fault is not None:
                return None
        self._parts.append(octets)
        self._octets += len(octets)
        if self._octets > SPOOL_THRESHOLD:
            return self._spill()
        if len(self._parts) > MAX_PARTS:
            self._parts = [b"".join(self._parts)]
        return None

    def finish(self) -> Body | asyncio.Future[Body]:
        """The whole message, ready for a draft, or a future of it if its file must be finished first.

        Raises `fault`, or the future fails with it.
        """
        if self.fault is None and not self._spooled:
            body = self._headed(self._pop_octets(), whole=True)
            for tap in self._taps:
                tap.feed(body)
        if self.fault is not None:
            self.discard()
            raise self.fault
        if not self._spooled:
            return body
        self._at_work = True
        completed = asyncio.get_running_loop().run_in_executor(None, self._complete, self._pop_octets())
        completed.add_done_callback(self._idle)
        return completed

    async def completed(self) -> Body:
        """The result of `finish`, awaited; when cancelled, `discard` removes the file."""
        body = self.finish()
        if isinstance(body, asyncio.Future):
            await asyncio.wait([body])  # which does not cancel it
            body = body.result()
        return body

    def discard(self) -> None:
        """Drop the octets, and remove the file if there is one, at once or when its thread has finished."""
        self._parts.clear()
        self._octets = 0
        self._preparation = None
        self._unwanted = True
        if not self._at_work:
            self._remove()

    def _without_nul(self, octets: bytes) -> bytes:
        self.has_nul = True
        if self._nul is Nul.REFUSE:
            self.discard()
            self.fault = NulError("the message holds a NUL octet")
        return octets if self._nul is Nul.PASS else octets.replace(b"\0", b"")

    def _pop_octets(self) -> bytes:
        """The octets in memory, which are removed from it."""
        octets = b"".join(self._parts)
        self._parts.clear()
        self._octets = 0
        return octets

    def _headed(self, first: bytes, *, whole: bool) -> bytes:
        assert self._preparation is not None
        preparation = self._preparation()
        self._preparation = None  # it usually belongs to the writer's owner: no cycle remains for the collector
        self.ascii.skip = len(preparation.trace)
        self._taps = (self.ascii, *preparation.taps)
        try:
            head, facts = preparation.head(first, whole)
        except UnfitError as error:
            self.fault = error
            return b""
        self.tls_required_no = facts.tls_required_no
        return head

    def _spill(self) -> asyncio.Future[None] | None:
        pending = self._pop_octets()
        if not self._spooled:
            pending = self._headed(pending, whole=False)
            if self.fault is not None:
                return None
            self._spooled = True
            self._size = SizeTap()
            self._taps = (self._size, *self._taps)  # the size of the octets in memory is known
        self._at_work = True
        appended = asyncio.get_running_loop().run_in_executor(None, self._append, pending)
        appended.add_done_callback(self._idle)
        return appended

    def _idle(self, _: object) -> None:
        """The thread has finished; a complete file belongs to the owner of the body."""
        self._at_work = False
        if self._unwanted:
            self._remove()
        elif self._file < 0:
            self._path = ""

    # In a thread.

    def _append(self, octets: bytes) -> None:
        try:
            self._put(octets)
        except Exception as error:  # noqa: BLE001 - # after any error, half a message must not count as a message
            self.fault = error if isinstance(error, OSError) else OSError(errno.EIO, repr(error))
            self._remove()

    def _complete(self, octets: bytes) -> Body:
        try:
            self._put(octets)
            self._close()  # some file systems report only now that they are full
        except Exception:
            self._remove()
            raise
        return SpooledBody(self._path, self._size.octets)

    def _put(self, octets: bytes) -> None:
        if self._file < 0:
            self._path, self._file = self._store.new_body_file()
        for tap in self._taps:
            tap.feed(octets)
        _write_all(self._file, octets)

    def _close(self) -> None:
        file, self._file = self._file, -1  # closed once, even if that fails
        if file >= 0:
            os.close(file)

    def _remove(self) -> None:
        # The store removes at its next start what cannot be closed or removed now.
        with suppress(OSError):
            self._close()
        if self._path:
            with suppress(OSError):
                Path(self._path).unlink(missing_ok=True)


def discard_body(body: Body) -> None:
    """Remove the file of a finished body that becomes no draft, if it has one."""
    if isinstance(body, SpooledBody):
        with suppress(OSError):
            Path(body.path).unlink(missing_ok=True)


def _write_all(file: int, octets: bytes) -> None:
    view = memoryview(octets)
    while view:
        view = view[os.write(file, view) :]
