"""Parameters of MAIL and RCPT travel from the client through the queue and a restart to the peer that offers them.

By an extension that is written here: one module is all that an extension needs, where it only stores and passes on.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.fixed_clock import FixedClock
from tests.support.ingress import serving
from tests.support.plugins import chain
from tests.support.scripted_mx import ScriptedMx
from tests.support.smtp_client import TEXT

from mailboat.delivery import offers
from mailboat.hooks import Connection, Point
from mailboat.model.address import Address
from mailboat.model.envelope import Entry, Message
from mailboat.model.observer import Observer
from mailboat.model.outcome import Result
from mailboat.queue.opening import open_store
from mailboat.queue.spool_set import Databases
from mailboat.queue.store import Selection
from mailboat.smtp import extensions
from mailboat.smtp.extensions import Extension, Offers
from mailboat.smtp.grammar import GrammarError


def _colour(value: str, _: Offers) -> str:
    if value.lower() not in ("red", "blue"):
        raise GrammarError("501 5.5.4 Bad COLOUR parameter")
    return value.lower()


COLOUR = Extension("COLOURS", "RFC 0", mail={"COLOUR": _colour}, rcpt={"SHADE": lambda value, _: value})


def _seconds_left(message: Message, now: float) -> str:
    within = message.parameters.get("WITHIN")
    return "" if within is None else f"WITHIN={int(within) - round(now - message.queued_at)}"


WITHIN = Extension("WITHIN", "RFC 0", mail={"WITHIN": lambda value, _: value}, at_mail=_seconds_left)
"""As DELIVERBY (RFC 2852 4.1.4.2), which has to say what is left of the client's time."""


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLOURS and WITHIN are extensions as well."""
    every = (*extensions.EXTENSIONS, COLOUR, WITHIN)
    monkeypatch.setattr(extensions, "EXTENSIONS", every)
    monkeypatch.setattr(offers, "EXTENSIONS", every)
    monkeypatch.setitem(extensions._AT_MAIL, "COLOUR", _colour)
    monkeypatch.setitem(extensions._AT_RCPT, "SHADE", COLOUR.rcpt["SHADE"])
    extensions.ehlo_reply.cache_clear()


async def opened(directory: Path) -> Databases:
    return await open_store(str(directory), 0, 1, FixedClock(), Observer())


async def entry_in(store: Databases) -> Entry:
    (entry,) = (await store.page(Selection(), 10)).entries
    return entry


async def queued(directory: Path) -> Entry:
    """What a client handed in with parameters, as it is after a restart."""
    store = await opened(directory)
    async with serving(store) as rig:
        client = await rig.client()
        assert "COLOURS" in await client.ehlo()
        assert (await client.ask("MAIL FROM:<a@here.test> COLOUR=green")).startswith("501 5.5.4 ")
        for line in (
            "MAIL FROM:<a@here.test> COLOUR=Red SIZE=9 BODY=8BITMIME",
            "RCPT TO:<b@there.test> SHADE=dark",
            "RCPT TO:<c@there.test>",
            "DATA",
        ):
            assert (await client.ask(line))[0] in "23"
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.quit()
    await store.close()
    store = await opened(directory)
    entry = await entry_in(store)
    await store.close()
    return entry


async def test_they_are_said_again_to_a_peer_that_offers_the_extension(tmp_path: Path) -> None:
    entry = await queued(tmp_path)
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING", "COLOURS", "8BITMIME"]
        report = await rig.attempt(entry, mx.target())
        assert [outcome.result for outcome in report.outcomes] == [Result.DELIVERED] * 2
        assert [line for line in mx.connections[0].lines if line[:4] in ("MAIL", "RCPT")] == [
            *("MAIL FROM:<a@here.test> BODY=8BITMIME COLOUR=red", "RCPT TO:<b@there.test> SHADE=dark"),
            "RCPT TO:<c@there.test>",
        ]


async def test_of_a_span_that_a_client_gave_the_peer_is_told_what_is_left() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["WITHIN"]
        entry = make_entry(parameters={"WITHIN": "100000"})
        waited = replace(entry, message=replace(entry.message, queued_at=rig.clock.now() - 40_000))
        assert (await rig.outcome(mx.target(), entry=waited)).result is Result.DELIVERED
        [(keyword, _, left)] = [param.partition("=") for param in mx.mails[0].params]
        assert keyword == "WITHIN"
        assert 59_000 < int(left) <= 60_000


async def test_they_are_not_said_to_a_peer_that_does_not_offer_it(tmp_path: Path) -> None:
    entry = await queued(tmp_path)
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(entry, mx.target())
        assert not [line for line in mx.connections[0].lines if "COLOUR" in line or "SHADE" in line]


async def test_plugins_see_the_parameters_of_each_command_and_a_recipient_that_they_add_has_none() -> None:
    seen: list[dict[str, str]] = []

    def note(_: Connection, __: Address, params: dict[str, str]) -> None:
        seen.append(dict(params))
        params.clear()  # the plugin's own copy

    def add(connection: Connection) -> None:
        assert connection.transaction is not None
        connection.transaction.rcpt_to.append(Address("d", "there.test", "there.test"))

    async with serving(hooks=chain({Point.MAIL: note, Point.RCPT: note, Point.DATA_POST: add})) as rig:
        client = await rig.greeted()
        for line in ("MAIL FROM:<a@here.test> COLOUR=blue SIZE=9", "RCPT TO:<b@there.test> SHADE=pale", "DATA"):
            assert (await client.ask(line))[0] in "23"
        client.send(TEXT + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.quit()
        [mail] = await rig.mails()
    assert seen == [{"COLOUR": "blue", "SIZE": "9"}, {"SHADE": "pale"}]
    assert mail.entry.message.parameters == {"COLOUR": "blue"}
    assert [recipient.parameters for recipient in mail.entry.recipients] == [{"SHADE": "pale"}, {}]
