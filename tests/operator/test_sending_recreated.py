"""A SendingDomain that goes and comes back under its name is another one, of which the DNS has said nothing yet."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.sending_rig import KEY, RELAY, SECRET, SendingRig

from mailboat_operator.observed import PodState

SOON = 0.2
"""Seconds."""


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> SendingRig:
    """With the longest of all delays that chance gives."""
    monkeypatch.setattr("random.random", lambda: 1.0)
    monkeypatch.setattr("random.uniform", max)
    return SendingRig()


async def test_its_records_are_asked_for_at_once_also_while_pods_still_sign_with_its_keys(rig: SendingRig) -> None:
    """They have what was rendered for the one before it, so that its keys are taken for signing ones at once."""
    rig.create()
    await rig.until_ready()
    before = rig.api.objects[SECRET]["data"]
    rig.delete()
    await rig.run()
    rig.create()

    await rig.run()

    assert set(rig.states.values()) == {"Active"}
    assert rig.condition("Ready") == ("Unknown", "NotChecked")
    assert rig.delays[-1] <= SOON
    await rig.ask()
    assert rig.condition("Ready") == ("True", "Ready")
    assert rig.api.objects[SECRET]["data"] == before


@pytest.mark.parametrize("signs", [True, False])
async def test_what_was_found_before_is_not_taken_for_it_when_no_run_saw_it_missing(
    rig: SendingRig, signs: bool
) -> None:
    rig.create()
    await rig.until_ready()
    rig.seconds += 300
    rig.delete()
    if not signs:
        rig.pods_load()
    rig.create()

    await rig.run()

    assert rig.condition("RecordsPublished") == ("Unknown", "NotChecked")
    assert rig.delays[-1] <= SOON


async def test_an_answer_for_the_one_before_it_that_comes_late_is_dropped(rig: SendingRig) -> None:
    rig.create()
    await rig.until_ready()
    rig.dns.answering.clear()
    asking = asyncio.create_task(rig.checks(KEY))
    await asyncio.sleep(0)
    rig.delete()
    await rig.run()
    rig.create(domain="other.test")
    await rig.run()

    rig.dns.answering.set()
    await asking

    assert rig.checks.report(KEY) is None


async def test_where_the_status_was_lost_the_keys_that_only_the_dns_can_judge_are_asked_for_at_once(
    rig: SendingRig,
) -> None:
    rig.create()
    await rig.until_ready()
    rig.start()
    rig.views.asked(RELAY, [PodState("relay-0", ready=True, hash="")], 1)
    await rig.run()
    await rig.ask()
    rig.seconds += 300
    rig.lose_status()

    await rig.run()

    assert rig.delays[-1] <= SOON


async def test_after_a_restart_what_was_asked_for_before_waits_for_its_turn(rig: SendingRig) -> None:
    """All domains at once would be a crowd at the name servers."""
    rig.create()
    await rig.until_ready()
    rig.start()
    rig.pods_load()

    await rig.run()

    assert rig.delays[-1] == 600.0
    assert rig.condition("Ready") == ("True", "Ready")
