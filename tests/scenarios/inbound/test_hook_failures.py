"""A plugin that raises, sleeps, answers nonsense or leaves tasks behind: mail flows, and each failure is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.ingress import serving
from tests.support.plugins import chain
from tests.support.stores import until

from mailboat.hooks import DELAY, DENY, DENYSOFT, Code, Hooks, Point
from mailboat.hooks.plugin import Hook
from mailboat.model.observer import HookFailure, Observer, RejectReason

POINTS = [
    Point.CONNECT,
    Point.EHLO,
    Point.MAIL,
    Point.RCPT,
    Point.DATA_POST,
    Point.QUEUE_OUTBOUND,
    Point.PRE_SEND_TRANS_EMAIL,
    Point.QUEUE_OK,
]


async def sleeps(*_: object) -> None:
    await asyncio.Event().wait()


release = threading.Event()
"""Ends the sleep of threads, which nobody can cancel."""


def sleeps_in_its_thread(*_: object) -> None:
    release.wait(60)


async def raises(*_: object) -> None:
    raise RuntimeError("broken")


def raises_in_its_thread(*_: object) -> None:
    raise RuntimeError("broken")


async def cancels_itself(*_: object) -> None:
    raise asyncio.CancelledError


async def exits(*_: object) -> None:
    raise SystemExit(1)


async def says_nonsense(*_: object) -> object:
    return "OK"


async def says_what_is_no_answer(*_: object) -> object:
    return DELAY, 5


def returns_a_coroutine(*_: object) -> object:
    return raises()


BAD: list[tuple[Callable[..., Any], HookFailure]] = [
    (sleeps, HookFailure.TIMEOUT),
    (sleeps_in_its_thread, HookFailure.TIMEOUT),
    (raises, HookFailure.RAISED),
    (raises_in_its_thread, HookFailure.RAISED),
    (cancels_itself, HookFailure.RAISED),
    (exits, HookFailure.RAISED),
    (says_nonsense, HookFailure.INVALID_ANSWER),
    (says_what_is_no_answer, HookFailure.INVALID_ANSWER),
    (returns_a_coroutine, HookFailure.INVALID_ANSWER),
]


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("function", "reason"), BAD, ids=lambda value: getattr(value, "__name__", ""))
async def test_mail_flows_whatever_a_plugin_does(
    point: Point, function: Callable[..., Any], reason: HookFailure
) -> None:
    release.clear()
    timeout = 0.05 if reason is HookFailure.TIMEOUT else 30.0
    async with serving(hooks=chain({point: function}, timeout=timeout)) as rig:
        client = await rig.greeted()
        assert (await client.mail()).startswith("250 2.0.0 Message Queued (")
        await client.quit()
        release.set()
        assert len(await rig.mails()) == 1
        assert set(rig.facts.failures) == {(point.value, function.__name__, reason)}


@pytest.mark.parametrize("point", [Point.MAIL, Point.DATA_POST])
async def test_those_behind_a_plugin_that_fails_are_asked(point: Point) -> None:
    async def says_no(*_: object) -> Code:
        return DENY

    async with serving(hooks=chain({point: [raises, raises_in_its_thread, says_no]})) as rig:
        client = await rig.greeted()
        if point is Point.MAIL:
            assert (await client.ask("MAIL FROM:<>")).startswith("550 5.7.1 ")
        else:
            assert (await client.mail()).startswith("550 5.7.1 ")
        await client.quit()
        assert [name for _, name, _ in rig.facts.failures] == ["raises", "raises_in_its_thread"]


async def test_a_plugin_may_choose_that_mail_waits_for_its_repair() -> None:
    def hooks(observer: Observer) -> Hooks:
        return Hooks([Hook(Point.RCPT, raises, "strict", on_failure=DENYSOFT)], (), observer)

    async with serving(hooks=hooks) as rig:
        client = await rig.greeted()
        await client.ask("MAIL FROM:<>")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("450 4.7.1 ")
        await client.quit()
        assert rig.facts.reasons == [RejectReason.HOOK]


async def test_an_offer_that_fails_offers_nothing() -> None:
    def offers(_: object) -> tuple[str, ...]:
        raise RuntimeError("broken")

    async with serving(hooks=chain({Point.AUTH: raises}, offers=offers)) as rig:
        client = await rig.client()
        assert not [keyword for keyword in await client.ehlo() if keyword.startswith("AUTH")]
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert rig.facts.failures == [("auth", "test", HookFailure.RAISED)]


async def test_tasks_that_a_plugin_leaves_behind_hold_up_nobody() -> None:
    left: list[asyncio.Task[None]] = []

    async def leaks(*_: object) -> None:
        left.append(asyncio.create_task(sleeps()))

    async with serving(hooks=chain(dict.fromkeys(POINTS, leaks))) as rig:
        client = await rig.greeted()
        assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert len(left) == len(POINTS)
        assert rig.facts.failures == []
    for task in left:
        task.cancel()
    await asyncio.wait(left)


async def test_a_sync_hook_never_blocks_the_loop() -> None:
    """It waits for something that only the event loop can bring about."""
    go, loop = threading.Event(), asyncio.get_running_loop()

    def blocks(*_: object) -> None:
        loop.call_soon_threadsafe(go.set)
        assert go.wait(10)

    async with serving(hooks=chain(dict.fromkeys(POINTS, blocks))) as rig:
        client = await rig.greeted()
        for _ in range(2):
            go.clear()
            assert (await client.mail()).startswith("250 2.0.0 ")
        await client.quit()
        assert rig.facts.failures == []


async def test_what_a_plugin_that_took_too_long_says_later_is_not_heard() -> None:
    late = asyncio.Event()
    said = []

    async def stubborn(*_: object) -> Code:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await late.wait()
        said.append(True)
        return DENY

    async with serving(hooks=chain({Point.MAIL: stubborn}, timeout=0.05)) as rig:
        client = await rig.greeted()
        assert (await client.mail()).startswith("250 2.0.0 ")
        late.set()
        await until(lambda: bool(said))
        assert (await client.ask("NOOP")).startswith("250 ")
        await client.quit()
        assert rig.facts.reasons == []
