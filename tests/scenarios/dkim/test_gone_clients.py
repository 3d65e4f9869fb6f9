"""Clients that leave while their mail is being signed: without a 250, nothing is queued and nothing is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import Rig, serving
from tests.support.smtp_client import PATIENCE, TEXT, Client
from tests.support.stores import files_in, until

from mailboat.dkim.keys import Algorithm, SigningKey, make_key
from mailboat.dkim.signer import Signer, SigningDomain
from mailboat.model.envelope import SignedBy
from mailboat.model.observer import Observer
from mailboat.queue.opening import open_spool

SMALL = b"From: a@example.com\r\n" + TEXT
LARGE = SMALL + b"a line\r\n" * 100_000
KEY = SigningKey("example.com", "s1", make_key(Algorithm.ED25519))


class HeldSigner(Signer):
    """Signs when it is told to."""

    started = threading.Event()
    released = threading.Event()

    def sign(self, fields: Sequence[bytes], body_digest: bytes, now: int) -> tuple[bytes, list[SignedBy]]:
        """In a thread."""
        self.started.set()
        assert self.released.wait(PATIENCE)
        return Signer.sign(self, fields, body_digest, now)


@pytest.fixture
def signer() -> HeldSigner:
    HeldSigner.started.clear()
    HeldSigner.released.clear()
    return HeldSigner({KEY.domain: SigningDomain((KEY,))})


async def signing(rig: Rig, signer: HeldSigner, mail: bytes) -> Client:
    """A client that has sent its last dot, and whose mail is being signed."""
    rig.configure(signer=signer)
    client = await rig.greeted()
    await client.begin()
    client.send(mail + b".\r\n")
    assert await asyncio.to_thread(signer.started.wait, PATIENCE)
    return client


@pytest.mark.parametrize("mail", [SMALL, LARGE], ids=["in memory", "in a file"])
async def test_the_mail_of_a_client_that_breaks_off_while_it_is_signed_is_dropped(
    tmp_path: Path, signer: HeldSigner, mail: bytes
) -> None:
    store = await open_spool(tmp_path, 0, clock := FixedClock(), Observer())
    try:
        async with serving(store, clock) as rig:
            client = await signing(rig, signer, mail)
            client.reset()
            await rig.facts.until(lambda facts: facts.here == 0)
            signer.released.set()
            another = await rig.greeted()
            assert (await another.mail(SMALL)).startswith("250 ")  # whatever was to be queued before it is by now
            await another.quit()
            assert len(rig.facts.mails) == len(await rig.mails()) == 1
            await until(lambda: files_in(tmp_path / "incoming") == [])
    finally:
        await store.close()


async def test_a_client_that_sends_no_more_while_its_mail_is_signed_gets_its_250(signer: HeldSigner) -> None:
    async with serving() as rig:
        client = await signing(rig, signer, SMALL)
        client.half_close()
        signer.released.set()
        assert (await client.rest()).startswith(b"250 2.0.0 Message Queued (")
        client.close()
        [mail] = await rig.mails()
        assert mail.body.startswith(b"DKIM-Signature: ")
