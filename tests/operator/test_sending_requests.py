"""The annotation that has the DNS asked now: obeyed whenever it was set, and told as handled once the DNS was asked."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.sending_rig import KEY, SendingRig

SOON = 0.2
"""Seconds."""


@pytest.fixture
async def rig(sending_rig: SendingRig) -> SendingRig:
    """A domain that signs."""
    sending_rig.create()
    await sending_rig.until_ready()
    return sending_rig


async def test_one_that_was_set_while_no_operator_ran_is_obeyed_by_the_next_one(rig: SendingRig) -> None:
    rig.annotate("reconcile-requested-at", "1")
    rig.start()
    rig.pods_load()

    await rig.run()

    assert rig.delays[-1] <= SOON
    await rig.ask()
    assert rig.status["lastHandledReconcileAt"] == "1"


async def test_one_that_was_obeyed_is_not_obeyed_again_by_the_next_operator(rig: SendingRig) -> None:
    rig.annotate("reconcile-requested-at", "1")
    rig.watch()
    await rig.run()
    await rig.ask()
    rig.start()
    rig.pods_load()

    await rig.run()

    assert rig.delays[-1] > SOON


async def test_one_that_comes_while_the_dns_is_being_asked_has_it_asked_once_more(rig: SendingRig) -> None:
    rig.annotate("reconcile-requested-at", "1")
    rig.watch()
    await rig.run()
    rig.dns.answering.clear()
    asking = asyncio.create_task(rig.checks(KEY))
    await asyncio.sleep(0)
    rig.annotate("reconcile-requested-at", "2")
    rig.watch()
    await rig.run()
    rig.dns.answering.set()
    await asking

    await rig.run()

    assert rig.status["lastHandledReconcileAt"] == "1"
    assert rig.delays[-1] <= SOON
    await rig.ask()
    assert rig.status["lastHandledReconcileAt"] == "2"


async def test_where_the_dns_is_silent_it_was_asked_all_the_same(rig: SendingRig) -> None:
    rig.dns.silent = True
    rig.annotate("reconcile-requested-at", "1" * 100)
    rig.watch()
    await rig.run()

    await rig.ask()

    assert rig.status["lastHandledReconcileAt"] == "1" * 64
    assert rig.condition("RecordsPublished") == ("Unknown", "DNSUnavailable")
    assert rig.delays[-1] > SOON
