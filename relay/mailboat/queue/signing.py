"""Signs drafts with DKIM: after the last hook and before the commit, in threads of its own, never on the event loop.

Called for every draft if there are keys. The text was hashed while it was received; only the header is read here.
`mailboat.dkim` makes the signatures.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
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

_THREADS: Final = ThreadPoolExecutor(os.cpu_count() or 1, "dkim")
"""As many threads as cores: `cryptography` releases the interpreter lock while it signs. Started when used."""


async def sign(draft: Draft, text_digest: bytes | None, signer: Signer, clock: Clock, observer: Observer) -> Draft:
    """The draft with the signatures of all its keys; the same draft if it has none.

    `text_digest` is None where the header is too long to be signed. Raises StorageError where the message is to wait
    until it can be signed.
    """
    signing = partial(_signed, draft, text_digest, signer, int(clock.now()))
    try:
        signed = await asyncio.get_running_loop().run_in_executor(_THREADS, signing)
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
