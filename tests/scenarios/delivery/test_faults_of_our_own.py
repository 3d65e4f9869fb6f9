"""What is wrong here, not at the peer, defers and is said in the log; routing's refusals are passed on."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.model.outcome import Result, Stage
from mailboat.routing.answers import RoutingAnswer, Targets, Unroutable


@pytest.mark.parametrize(
    ("permanent", "status", "result"), [(True, "5.1.10", Result.BOUNCED), (False, "4.4.3", Result.DEFERRED)]
)
async def test_a_domain_without_a_way_is_answered_for_every_recipient(
    permanent: bool, status: str, result: Result
) -> None:
    async with delivery_rig() as rig:
        rig.router.answer = Unroutable(permanent, status, "nowhere to go")
        report = await rig.attempter.attempt(make_entry("a@there.test", "b@there.test"), rig.settings)

        assert [(o.recipient, o.result, o.status, o.stage, o.reason) for o in report.outcomes] == [
            (1, result, status, Stage.ROUTE, "nowhere to go"),
            (2, result, status, Stage.ROUTE, "nowhere to go"),
        ]
        assert report.peer is None


async def test_a_bug_defers_and_is_logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async with delivery_rig() as rig:

        async def broken(domain: str, *_: Any, **__: Any) -> RoutingAnswer:
            raise KeyError(domain)

        monkeypatch.setattr(rig.router, "route", broken)
        report = await rig.attempter.attempt(make_entry(), rig.settings)

        assert (report.outcomes[0].result, report.outcomes[0].status) == (Result.DEFERRED, "4.3.0")
        assert "KeyError" in caplog.text


async def test_a_message_that_wants_tls_says_so_to_routing() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        await rig.attempt(make_entry(force_tls=True), mx.target())

        assert rig.router.asked == [("there.test", True)]


async def test_targets_that_a_plugin_named_go_before_routing() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        report = await rig.attempt(answer=Targets((mx.target(),)))

        assert report.outcomes[0].result is Result.DELIVERED
        assert not rig.router.asked
