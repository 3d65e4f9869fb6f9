"""A chain of hooks: order, the first answer, the failure policy; async and sync hooks alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from tests.support.plugin_chain import Chain, Failures, Function, decided

from mailboat.hooks import CONT, CONTINUE, DENY, DENYSOFT, NO_HOOKS, OK, Connection, Decision, Hook, Hooks, Point

Make = Callable[[Callable[..., object]], Function]


def at_once(function: Callable[..., object]) -> Function:
    """An async hook that waits for nothing."""

    async def hook(*args: object) -> object:
        return function(*args)

    hook.__name__ = function.__name__
    return hook


def in_a_while(function: Callable[..., object]) -> Function:
    """An async hook that waits for something."""

    async def hook(*args: object) -> object:
        await asyncio.sleep(0)
        return function(*args)

    hook.__name__ = function.__name__
    return hook


def sync(function: Callable[..., object]) -> Function:
    """A sync hook."""
    return function


kinds = pytest.mark.parametrize("make", [at_once, in_a_while, sync])


def saying(answer: object, name: str, asked: list[str]) -> Function:
    """A function that notes that it was asked, and answers."""

    def hook(*_: object) -> object:
        asked.append(name)
        return answer

    hook.__name__ = name
    return hook


@kinds
async def test_the_first_answer_that_is_not_cont_ends_the_chain(make: Make) -> None:
    asked: list[str] = []
    answers = {"a": None, "b": CONT, "c": (CONT, "ignored"), "d": (DENY, "no"), "e": OK}
    chain = Chain(*(make(saying(answer, name, asked)) for name, answer in answers.items()))
    assert await chain.ask() == Decision(DENY, "no", "d")
    assert asked == ["a", "b", "c", "d"]
    assert chain.failures.seen == []


@kinds
async def test_nothing_to_say_is_cont(make: Make) -> None:
    assert await Chain(make(lambda *_: None)).ask() is CONTINUE


async def test_kinds_may_follow_one_another_in_any_order() -> None:
    asked: list[str] = []
    makes = [sync, at_once, sync, sync, in_a_while, at_once, sync, in_a_while]
    chain = Chain(*(make(saying(None, str(n), asked)) for n, make in enumerate(makes)))
    assert await chain.ask() is CONTINUE
    assert asked == [str(n) for n in range(len(makes))]


async def test_arguments_are_handed_on_as_they_are() -> None:
    seen: list[object] = []
    connection = object()
    await Chain(lambda *args: seen.append(args), at_once(lambda *args: seen.append(args))).ask(connection, "x", {})
    assert seen == [(connection, "x", {})] * 2


@kinds
@pytest.mark.parametrize("error", [ValueError("bad"), SystemExit(1), asyncio.CancelledError(), TimeoutError()])
async def test_a_hook_that_raises_is_counted_and_passed_over(make: Make, error: BaseException) -> None:
    def bad(*_: object) -> None:
        raise error

    chain = Chain(make(bad), make(lambda *_: DENY))
    assert (await chain.ask()).code is DENY
    assert chain.failures.reasons == ["bad raised"]


@kinds
async def test_nonsense_is_counted_and_passed_over(make: Make) -> None:
    def odd(*_: object) -> object:
        return "nonsense"

    chain = Chain(make(odd), make(odd), make(lambda *_: DENY))
    assert (await chain.ask()).code is DENY
    assert chain.failures.reasons == ["odd nonsense"] * 2


@kinds
async def test_a_plugin_may_choose_what_its_failure_means(make: Make) -> None:
    asked: list[str] = []

    def bad(*_: object) -> None:
        raise ValueError

    chain = Chain(make(bad), make(saying(None, "later", asked)), on_failure=DENYSOFT)
    assert await chain.ask() == Decision(DENYSOFT, None, "bad", failed=True)
    assert asked == []


@kinds
@pytest.mark.parametrize("point", [Point.AUTH, Point.GET_MX])
async def test_a_failure_lets_nobody_in_and_sends_nothing_the_wrong_way(make: Make, point: Point) -> None:
    def bad(*_: object) -> None:
        raise ValueError

    decision = await Chain(make(bad), make(lambda *_: OK), point=point).ask()
    assert decision == Decision(DENYSOFT, None, "bad", failed=True)


async def test_a_sync_function_that_returns_a_coroutine_is_nonsense_without_a_warning() -> None:
    async def inner() -> None: ...

    def outer(*_: object) -> object:
        return inner()

    chain = Chain(outer)
    assert await chain.ask() is CONTINUE
    assert chain.failures.reasons == ["outer nonsense"]


async def test_what_is_async_is_seen_through_partials_and_objects() -> None:
    where: list[int] = []

    async def noted(*_: object) -> None:
        where.append(threading.get_ident())

    class Callable_:  # noqa: N801
        async def __call__(self, *_: object) -> None:
            where.append(threading.get_ident())

    assert await Chain(partial(noted, 1), Callable_()).ask() is CONTINUE
    assert where == [threading.get_ident()] * 2


async def test_a_sync_hook_runs_in_a_thread_and_neighbours_share_it() -> None:
    where: list[int] = []
    chain = Chain(*[lambda *_: where.append(threading.get_ident())] * 3)
    assert await chain.ask() is CONTINUE
    assert len(set(where)) == 1
    assert where[0] != threading.get_ident()


async def test_async_hooks_that_wait_for_nothing_are_decided_at_once() -> None:
    assert Chain(at_once(lambda *_: None)).begin() is CONTINUE
    assert Chain(at_once(lambda *_: (DENY, "x"))).begin() == Decision(DENY, "x", "<lambda>")


@kinds
async def test_a_caller_without_a_task_is_called_back(make: Make) -> None:
    chain = Chain(make(lambda *_: (DENY, "x")))
    answers: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: answers.append(chain.begin()))
    await chain.until(lambda: answers)
    assert (await decided(answers[0])).value == "x"


async def test_hooks_of_lower_priority_come_first_then_the_order_of_the_list() -> None:
    asked: list[str] = []
    hooks = [
        Hook(Point.MAIL, saying(None, name, asked), name, priority)
        for name, priority in (("a", 0), ("b", 5), ("c", -5), ("d", 0))
    ]
    await Hooks(hooks).run(Point.MAIL)
    assert asked == ["c", "a", "d", "b"]


async def test_no_plugin_wants_nothing_and_costs_nothing() -> None:
    assert not any(NO_HOOKS.wants(point) for point in Point)
    assert NO_HOOKS.begin(Point.MAIL) is CONTINUE
    assert await NO_HOOKS.run(Point.MAIL) is CONTINUE
    assert NO_HOOKS.auth_mechanisms(None) == ()  # type: ignore[arg-type]


async def test_auth_is_what_any_plugin_offers_and_one_that_raises_offers_nothing() -> None:
    def broken(_: Connection) -> list[str]:
        raise ValueError

    failures = Failures()
    hooks = Hooks((), [("a", lambda _: ["plain"]), ("b", broken), ("c", lambda _: ["PLAIN", "LOGIN"])], failures)
    assert hooks.auth_mechanisms(None) == ("PLAIN", "LOGIN")  # type: ignore[arg-type]
    assert failures.seen == [("auth", "b", "raised")]


async def test_ten_thousand_chains_at_once_leave_nothing() -> None:
    chain = Chain(at_once(lambda *_: None), sync(lambda *_: None), in_a_while(lambda *_: None), sync(lambda *_: OK))
    answers = await asyncio.gather(*(chain.ask() for _ in range(2000)))
    assert {answer.code for answer in answers} == {OK}
    await asyncio.wait_for(chain.hooks.drained(), 20)
    assert (len(chain.runtime.tasks), chain.runtime.stuck_tasks, chain.runtime.stuck_threads) == (0, 0, 0)


# Several points in a row.

ROW = (Point.DATA_POST, Point.QUEUE_OUTBOUND, Point.PRE_SEND_TRANS_EMAIL)


def in_a_row(make: Make, asked: list[str], **answers: object) -> Hooks:
    """One plugin at each of some points, named after the point; and a second one, `later`, at the first of them."""
    hooks = [Hook(Point(name), make(saying(answer, name, asked)), name) for name, answer in answers.items()]
    first = next(iter(answers))
    return Hooks([*hooks, Hook(Point(first), make(saying(None, "later", asked)), "later")])


@kinds
async def test_points_in_a_row_are_asked_in_their_order_with_what_each_takes(make: Make) -> None:
    asked: list[str] = []
    hooks = in_a_row(make, asked, data_post=None, queue_outbound=None, pre_send_trans_email=None)
    assert await decided(hooks.begin_many(ROW, "connection")) is CONTINUE
    assert asked == ["data_post", "later", "queue_outbound", "pre_send_trans_email"]
    seen: list[object] = []
    note = make(lambda *args: seen.append(args))
    row = Hooks([Hook(Point.SEND_EMAIL, note, "a"), Hook(Point.GET_MX, note, "a")])
    assert await decided(row.begin_many((Point.SEND_EMAIL, Point.GET_MX), "hmail", "domain")) is CONTINUE
    assert seen == [("hmail",), ("hmail", "domain")]


@kinds
async def test_ok_of_a_point_that_goes_on_skips_the_rest_of_that_point_only(make: Make) -> None:
    asked: list[str] = []
    hooks = in_a_row(make, asked, data_post=(OK, "fine"), queue_outbound=(DENY, "no"), pre_send_trans_email=None)
    decision = await decided(hooks.begin_many(ROW, "connection"))
    assert (decision, decision.point) == (Decision(DENY, "no", "queue_outbound"), "queue_outbound")
    assert asked == ["data_post", "queue_outbound"]


@kinds
async def test_ok_of_another_point_ends_the_row(make: Make) -> None:
    asked: list[str] = []
    hooks = in_a_row(make, asked, queue_outbound=OK, pre_send_trans_email=None)
    decision = await decided(hooks.begin_many(ROW, "connection"))
    assert (decision.code, decision.point) == (OK, "queue_outbound")
    assert asked == ["queue_outbound"]


@kinds
async def test_ok_of_the_last_plugin_that_there_is_goes_on_with_nothing(make: Make) -> None:
    assert await decided(in_a_row(make, [], data_post=OK).begin_many(ROW, "connection")) is CONTINUE


async def test_a_row_without_plugins_is_nothing() -> None:
    assert NO_HOOKS.begin_many(ROW, None) is CONTINUE


@kinds
async def test_a_failure_in_a_row_is_that_of_its_point(make: Make) -> None:
    def bad(*_: object) -> None:
        raise ValueError

    asked: list[str] = []
    failures = Failures()
    hooks = [
        Hook(Point.DATA_POST, make(bad), "a"),
        Hook(Point.QUEUE_OUTBOUND, make(bad), "b", on_failure=DENYSOFT),
        Hook(Point.QUEUE_OUTBOUND, make(saying(None, "c", asked)), "c"),
    ]
    decision = await decided(Hooks(hooks, (), failures).begin_many(ROW, "connection"))
    assert (decision.code, decision.failed, decision.point) == (DENYSOFT, True, "queue_outbound")
    assert [point for point, _, _ in failures.seen] == ["data_post", "queue_outbound"]
    assert asked == []
