"""A SendingDomain that goes and comes back under its name is another one, of which the DNS has said nothing yet."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.sending_rig import KEY, RELAY, SECRET, SendingRig

from mailboat_operator.observed import PodState

SOON = 0.2
"""Seconds."""


async def test_its_records_are_asked_for_at_once_also_while_pods_still_sign_with_its_keys(
    sending_rig: SendingRig,
) -> None:
    """They have what was rendered for the one before it, so that its keys are taken for signing ones at once."""
    sending_rig.create()
    await sending_rig.until_ready()
    before = sending_rig.api.objects[SECRET]["data"]
    sending_rig.delete()
    await sending_rig.run()
    sending_rig.create()

    await sending_rig.run()

    assert set(sending_rig.states.values()) == {"Active"}
    assert sending_rig.condition("Ready") == ("Unknown", "NotChecked")
    assert sending_rig.delays[-1] <= SOON
    await sending_rig.ask()
    assert sending_rig.condition("Ready") == ("True", "Ready")
    assert sending_rig.api.objects[SECRET]["data"] == before


@pytest.mark.parametrize("signs", [True, False])
async def test_what_was_found_before_is_not_taken_for_it_when_no_run_saw_it_missing(
    sending_rig: SendingRig, signs: bool
) -> None:
    sending_rig.create()
    await sending_rig.until_ready()
    sending_rig.seconds += 300
    sending_rig.delete()
    if not signs:
        sending_rig.pods_load()
    sending_rig.create()

    await sending_rig.run()

    assert sending_rig.condition("RecordsPublished") == ("Unknown", "NotChecked")
    assert sending_rig.delays[-1] <= SOON


async def test_an_answer_for_the_one_before_it_that_comes_late_is_dropped(sending_rig: SendingRig) -> None:
    sending_rig.create()
    await sending_rig.until_ready()
    sending_rig.dns.answering.clear()
    asking = asyncio.create_task(sending_rig.checks(KEY))
    await asyncio.sleep(0)
    sending_rig.delete()
    await sending_rig.run()
    sending_rig.create(domain="other.test")
    await sending_rig.run()

    sending_rig.dns.answering.set()
    await asking

    assert sending_rig.checks.report(KEY) is None


async def test_where_the_status_was_lost_the_keys_that_only_the_dns_can_judge_are_asked_for_at_once(
    sending_rig: SendingRig,
) -> None:
    sending_rig.create()
    await sending_rig.until_ready()
    sending_rig.start()
    sending_rig.views.asked(RELAY, [PodState("relay-0", ready=True, hash="")], 1)
    await sending_rig.run()
    await sending_rig.ask()
    sending_rig.seconds += 300
    sending_rig.lose_status()

    await sending_rig.run()

    assert sending_rig.delays[-1] <= SOON
