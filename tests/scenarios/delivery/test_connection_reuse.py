"""Connections are used again for the same place, within bounds, and a dead one costs nothing."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.delivery_side import delivery_side, host
from tests.support.scripted_mx import Drop, ScriptedMx, Silence
from tests.support.strict_host import StrictHost

from mailboat.config.settings import TlsLevel
from mailboat.model.outcome import Result
from mailboat.routing.answers import Credentials, TlsRequirement
from mailboat.routing.records import TlsaRecord


async def test_messages_one_after_the_other_share_a_connection() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for row in range(3):
            await rig.attempt(make_entry(row=row), mx.target())

        assert len(mx.connections) == 1
        assert mx.connections[0].verbs == ["EHLO", *["MAIL", "RCPT", "DATA"] * 3]


async def test_messages_at_the_same_time_have_a_connection_each() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await asyncio.gather(*(rig.attempt(make_entry(row=row), mx.target()) for row in range(5)))

        assert rig.observer.open == len(mx.connections) == 5


async def test_a_connection_ends_with_quit_after_its_share_of_messages() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.outbound["connection_max_messages"] = 2
        for row in range(3):
            await rig.attempt(make_entry(row=row), mx.target())
        await mx.wait_for(lambda mx: mx.connections[0].closed)

        assert [c.verbs.count("MAIL") for c in mx.connections] == [2, 1]
        assert mx.connections[0].verbs[-1] == "QUIT"


@pytest.mark.parametrize(("seconds", "kept"), [(None, True), (0.0, False)])
async def test_a_target_may_have_an_idle_time_of_its_own(seconds: float | None, kept: bool) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for row in range(2):
            await rig.attempt(make_entry(row=row), mx.target(idle_timeout=seconds))

        assert [c.verbs.count("MAIL") for c in mx.connections] == ([2] if kept else [1, 1])


async def test_an_idle_connection_ends_with_quit_in_time() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.outbound["connection_idle_timeout"] = 0.05
        await rig.attempt(make_entry(), mx.target())
        await mx.wait_for(lambda mx: mx.connections[0].closed)

        assert mx.connections[0].verbs[-1] == "QUIT"


async def test_an_idle_timeout_of_zero_keeps_nothing() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.outbound["connection_idle_timeout"] = 0
        await rig.attempt(make_entry(), mx.target())
        await mx.wait_for(lambda mx: "QUIT" in mx.connections[0].verbs)


@pytest.mark.parametrize(
    "difference",
    [{"tls": 1}, {"credentials": 1}, {"bind": "127.0.0.5"}, {"ehlo": "other.test"}],
    ids=lambda difference: next(iter(difference)),
)
async def test_whatever_tells_two_deliveries_apart_separates_their_connections(difference: dict[str, Any]) -> None:
    values: dict[str, Any] = {"tls": TlsRequirement(TlsLevel.DISABLED), "credentials": Credentials("user", "pass")}
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN"]
        await rig.attempt(make_entry(), mx.target())
        await rig.attempt(make_entry(), mx.target(**{k: values.get(k, v) for k, v in difference.items()}))

        assert len(mx.connections) == 2


@pytest.mark.parametrize(
    "stricter",
    [
        TlsRequirement(TlsLevel.ENCRYPT),
        TlsRequirement(TlsLevel.REQUIRED, verify=True),
        TlsRequirement(TlsLevel.REQUIRED, tlsa=(TlsaRecord(3, 1, 1, bytes(32)),)),
    ],
    ids=("encrypt", "pkix", "dane"),
)
async def test_a_connection_is_not_used_again_under_a_stricter_tls_policy(stricter: TlsRequirement) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(make_entry(), mx.target())
        refused = await rig.outcome(mx.target(tls=stricter))

        assert len(mx.connections) == 2
        assert (refused.result, refused.status) == (Result.DEFERRED, "4.7.4")


async def test_a_connection_from_before_a_reload_of_tls_ini_is_not_used_again() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(make_entry(), mx.target())
        rig.tls = replace(rig.tls, min_version="TLSv1.3")
        await rig.attempt(make_entry(row=2), mx.target())
        await rig.attempt(make_entry(row=3), mx.target())

        assert [c.verbs.count("MAIL") for c in mx.connections] == [1, 2]


async def test_a_refused_envelope_is_reset_before_the_next_message() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("RCPT", "550 5.1.1 unknown", "250 ok")
        first = await rig.outcome(mx.target())
        second = await rig.outcome(mx.target())

        assert (first.result, second.result) == (Result.BOUNCED, Result.DELIVERED)
        assert mx.connections[0].verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA"]
        assert b"RSET\r\nMAIL" in b"".join(mx.connections[0].reads)


async def test_the_same_in_lock_step() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = []
        mx.on("RCPT", "550 5.1.1 unknown", "250 ok")
        await rig.outcome(mx.target())

        assert (await rig.outcome(mx.target())).result is Result.DELIVERED
        assert mx.connections[0].verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA"]


@pytest.mark.parametrize("farewell", [Drop(), Drop(reset=True), Drop("421 4.4.2 idle for too long"), "421 4.4.2 bye"])
async def test_a_connection_that_died_while_idle_is_replaced_at_once(farewell: Drop | str) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("MAIL", "250 ok", farewell, "250 ok")
        await rig.attempt(make_entry(row=1), mx.target())
        outcome = await rig.outcome(mx.target(), entry=make_entry(row=2))

        assert outcome.result is Result.DELIVERED
        assert (len(mx.connections), len(mx.mails)) == (2, 2)


async def test_a_connection_that_the_peer_closed_is_not_even_tried() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(make_entry(row=1), mx.target())
        await mx.hang_up()
        await rig.connections_become(0)

        assert (await rig.outcome(mx.target())).result is Result.DELIVERED
        assert len(mx.connections) == 2


async def test_all_idle_connections_die_at_once_and_still_nothing_is_lost() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await asyncio.gather(*(rig.attempt(make_entry(row=row), mx.target()) for row in range(5)))
        await mx.hang_up()
        reports = await asyncio.gather(*(rig.attempt(make_entry(row=row), mx.target()) for row in range(5)))

        assert {report.outcomes[0].result for report in reports} == {Result.DELIVERED}
        assert len(mx.mails) == 10


async def test_idle_connections_are_bounded_in_all() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.outbound["concurrency_max"] = 2
        await asyncio.gather(*(rig.attempt(make_entry(row=row), mx.target()) for row in range(5)))
        await rig.connections_become(2)

        assert sum("QUIT" in c.verbs for c in mx.connections) == 3


async def test_idle_connections_count_and_one_is_closed_to_make_room() -> None:
    """`concurrency_max` is the most connections that are open at once: six hosts, three at a time."""
    async with AsyncExitStack() as stack:
        hosts = [await stack.enter_async_context(StrictHost.start()) for _ in range(6)]
        ways = {f"d{number}.test": [host(("127.0.0.1", at.port))] for number, at in enumerate(hosts)}
        side = await stack.enter_async_context(delivery_side(ways, concurrency_max=3))
        side.engine.start()
        for _ in range(3):
            for domain in ways:
                await side.accept(f"u@{domain}")
            await side.all_settled()
        assert [at.messages for at in hosts] == [3] * 6
        assert side.log.most_open == 3


async def test_closing_the_pool_says_quit_and_waits() -> None:
    async with ScriptedMx.start() as mx:
        async with delivery_rig() as rig:
            await rig.attempt(make_entry(), mx.target())
        await mx.wait_for(lambda mx: mx.connections[0].closed)

        assert mx.connections[0].verbs[-1] == "QUIT"


async def test_closing_the_pool_does_not_wait_for_a_peer_that_never_answers_quit() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("QUIT", Silence())
        rig.outbound["quit_timeout"] = 0.1
        await rig.attempt(make_entry(), mx.target())
        async with asyncio.timeout(5):
            await rig.pool.close()

        assert rig.observer.open == 0


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("refusal", ["503 5.5.1 sender already given", "550 5.7.1 one message a connection"])
async def test_a_refusal_of_the_first_command_on_a_used_connection_is_no_verdict(
    refusal: str, pipelining: bool
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["PIPELINING"] if pipelining else []
        mx.on("MAIL", "250 ok", refusal, "250 ok")
        first = await rig.outcome(mx.target(), entry=make_entry(row=1))
        second = await rig.outcome(mx.target(), entry=make_entry(row=2))

        assert (first.result, second.result) == (Result.DELIVERED, Result.DELIVERED)
        assert [c.verbs.count("MAIL") for c in mx.connections] == [2, 1]
        await mx.wait_for(lambda mx: "QUIT" in mx.connections[0].verbs)


async def test_a_refusal_of_mail_on_a_new_connection_is_believed() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on("MAIL", "250 ok", "550 5.7.1 not from you")
        await rig.attempt(make_entry(row=1), mx.target())
        outcome = await rig.outcome(mx.target(), entry=make_entry(row=2))

        assert (outcome.result, outcome.status) == (Result.BOUNCED, "5.7.1")
        assert len(mx.connections) == 2


async def test_a_message_that_was_refused_at_its_dot_is_followed_by_rset() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.on(".", "554 5.7.1 not this one", "250 ok")
        first = await rig.outcome(mx.target(), entry=make_entry(row=1))
        second = await rig.outcome(mx.target(), entry=make_entry(row=2))

        assert (first.result, second.result) == (Result.BOUNCED, Result.DELIVERED)
        assert mx.connections[0].verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA"]


async def test_a_host_that_refuses_rset_gets_its_mail() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.sloppy = True
        mx.on("RCPT", "550 5.1.1 unknown", "250 ok")
        mx.on("RSET", "503 5.5.1 what")
        await rig.attempt(make_entry(row=1), mx.target())

        assert (await rig.outcome(mx.target(), entry=make_entry(row=2))).result is Result.DELIVERED


async def test_a_target_may_have_a_share_of_messages_of_its_own() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        for row in range(3):
            await rig.attempt(make_entry(row=row), mx.target(max_messages=2))
        await mx.wait_for(lambda mx: mx.connections[0].closed)

        assert [c.verbs.count("MAIL") for c in mx.connections] == [2, 1]
