"""Messages over `databytes` are refused: at MAIL where SIZE says so, at their end otherwise (RFC 1870 6)."""

from __future__ import annotations

import pytest
from tests.support.ingress import serving

from mailboat.model.observer import RejectReason
from mailboat.queue.body_writer import SPOOL_THRESHOLD

LINE = b"x" * 62 + b"\r\n"


async def test_a_size_over_the_limit_is_refused_at_mail() -> None:
    async with serving(databytes=10_000) as rig:
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:<alice@sender.test> SIZE=10001")).startswith("552 5.3.4 ")
        assert (await client.ask("MAIL FROM:<alice@sender.test> SIZE=99999999999999999999")).startswith("552 5.3.4 ")
        assert (await client.ask("MAIL FROM:<alice@sender.test> SIZE=10000")).startswith("250 2.1.0 ")
        await client.quit()
        assert rig.facts.reasons == [RejectReason.TOO_BIG] * 2


@pytest.mark.parametrize("limit", [10_240, SPOOL_THRESHOLD * 2], ids=["in memory", "in a file"])
async def test_what_is_sent_counts_whatever_size_said(limit: int) -> None:
    """To the octet: one message of just the limit is taken, one octet more is not, and the session goes on."""
    async with serving(databytes=limit) as rig:
        client = await rig.greeted()
        for excess, reply in ((b"x", "552 5.3.4 "), (b"", "250 2.0.0 ")):
            await client.begin(parameters=" SIZE=100")
            client.send(excess + LINE * (limit // len(LINE)) + b".\r\n")
            assert (await client.reply()).startswith(reply)
        await client.quit()
        [mail] = await rig.mails()
        assert mail.body.endswith(LINE * (limit // len(LINE)))
        assert rig.facts.reasons == [RejectReason.TOO_BIG]


async def test_dots_that_are_stuffed_do_not_count() -> None:
    async with serving(databytes=10_000) as rig:
        client = await rig.greeted()
        assert (await client.mail(b"..\r\n" * 3333)).startswith("250 2.0.0 ")
        await client.quit()


async def test_a_stream_far_over_the_limit_is_cut_off() -> None:
    """A client that is refused at the end of 10 GB has had us read 10 GB."""
    async with serving(databytes=10_000) as rig:
        client = await rig.greeted()
        await client.begin()
        client.send(LINE * 10_000)
        rest = await client.rest()
        assert rest.startswith(b"552 5.3.4 ")
        assert rest.count(b"\r\n") == 1
        client.close()
        assert await rig.mails() == []
