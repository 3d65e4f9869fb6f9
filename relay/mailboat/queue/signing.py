"""Signs drafts with DKIM: after the last hook and before the commit, in threads of its own, never on the event loop.

Called for every draft if there are keys. The text was hashed while it was received; only the header is read here.
`mailboat.dkim` makes the signatures.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from mailboat.dkim.signer import CannotSignError, Signer
from mailboat.message import headers
from mailboat.message.header import split_fields
from mailboat.model.clock import Clock
from mailboat.model.envelope import Body, Draft, SpooledBody
from mailboat.model.observer import DkimResult, Observer
from mailboat.queue.store import StorageError

log = logging.getLogger(__name__)

GROUP = 8
"""Most drafts that a thread signs before it reports them; if more wait, another thread helps. As with group commit, two
changes of threads for one message cost nearly as much as for several, which then share a commit, too."""

_Signing = tuple[Callable[[], Draft], asyncio.Future[Draft]]


class SigningThreads:
    """Sign drafts in groups, in as many threads as cores: `cryptography` releases the interpreter lock meanwhile."""

    def __init__(self, most: int) -> None:
        """`most` threads, started when they are needed."""
        self._most = most
        self._threads = ThreadPoolExecutor(most, "dkim")
        self._lock = threading.Lock()
        self._waiting: deque[_Signing] = deque()
        self._running = 0

    def submit(self, sign: Callable[[], Draft]) -> asyncio.Future[Draft]:
        """Call `sign` in a thread."""
        signed = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiting.append((sign, signed))
            needed = not self._running or (len(self._waiting) >= GROUP and self._running < self._most)
            self._running += needed
        if needed:
            self._threads.submit(self._run)
        return signed

    def _run(self) -> None:
        while group := self._next_group():
            done = [(signed, _result_of(sign)) for sign, signed in group]
            for loop in {signed.get_loop() for signed, _ in done}:
                with suppress(RuntimeError):  # it is closed: nobody waits any more
                    loop.call_soon_threadsafe(_resolve, [one for one in done if one[0].get_loop() is loop])

    def _next_group(self) -> list[_Signing]:
        with self._lock:
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            self._running -= not group
            return group


def _result_of(sign: Callable[[], Draft]) -> Draft | Exception:
    try:
        return sign()
    except Exception as error:  # noqa: BLE001 - told to who waits
        return error


def _resolve(done: Sequence[tuple[asyncio.Future[Draft], Draft | Exception]]) -> None:
    for signed, result in done:
        if signed.done():
            continue  # given up
        if isinstance(result, Exception):
            signed.set_exception(result)
        else:
            signed.set_result(result)


_THREADS: Final = SigningThreads(os.cpu_count() or 1)


async def sign(draft: Draft, text_digest: bytes | None, signer: Signer, clock: Clock, observer: Observer) -> Draft:
    """The draft with the signatures of all its keys; the same draft if it has none.

    `text_digest` is None where the header is too long to be signed. Raises StorageError where the message is to wait
    until it can be signed.
    """
    try:
        signed = await _THREADS.submit(partial(_signed, draft, text_digest, signer, int(clock.now())))
    except CannotSignError as error:
        observer.dkim_judged(DkimResult.ERROR)
        waits = "is refused for now" if signer.strict else "is sent without a DKIM signature"
        log.error("%s %s: %s", draft.id, waits, error)  # noqa: TRY400 - the reason is enough
        if signer.strict:
            raise StorageError(f"{draft.id} cannot be signed: {error}") from error
        return draft
    for by in signed.signed_by:
        observer.dkim_judged(DkimResult.SIGNED, by.algorithm.partition("-")[0])
    if not signed.signed_by:
        observer.dkim_judged(DkimResult.UNSIGNED)
    return signed


# In a thread.


def _signed(draft: Draft, text_digest: bytes | None, signer: Signer, now: int) -> Draft:
    if text_digest is None:
        return draft
    try:
        fields = split_fields(_header(draft.body))
    except OSError as error:
        raise CannotSignError(str(error)) from error
    octets, signed_by = signer.sign(fields, text_digest, now)
    return replace(draft, body=_topped(octets, draft.body), signed_by=signed_by) if signed_by else draft


def _header(body: Body) -> bytes:
    if isinstance(body, SpooledBody):
        with open(body.path, "rb") as file:  # noqa: PTH123 - a plain path of the store's
            first = file.read(headers.SCAN_LIMIT)
    else:
        first = body
    return first[: max(headers.scan(first).header_end, 0)]


def _topped(octets: bytes, body: Body) -> Body:
    if isinstance(body, SpooledBody):
        return replace(body, size=body.size + len(octets), head=octets + body.head)
    return octets + body
