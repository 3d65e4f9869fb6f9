"""When the DNS is asked about a SendingDomain of which nothing new is expected: never with all others at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.sending_rig import SendingRig


async def test_after_a_restart_what_was_asked_for_before_waits_for_its_turn(sending_rig: SendingRig) -> None:
    """All domains at once would be a crowd at the name servers."""
    sending_rig.create()
    await sending_rig.until_ready()
    sending_rig.start()
    sending_rig.pods_load()

    await sending_rig.run()

    assert sending_rig.delays[-1] == 600.0
    assert sending_rig.condition("Ready") == ("True", "Ready")


@pytest.mark.parametrize("chance", [0.0, 0.25, 1.0])
async def test_first_questions_after_a_restart_are_spread_over_the_time_between_two(
    sending_rig: SendingRig, monkeypatch: pytest.MonkeyPatch, chance: float
) -> None:
    sending_rig.create()
    await sending_rig.until_ready()
    sending_rig.start()
    sending_rig.pods_load()
    monkeypatch.setattr("random.random", lambda: chance)

    await sending_rig.run()

    assert sending_rig.delays[-1] == 600.0 * chance


@pytest.mark.parametrize(("choose", "delay"), [(min, 540.0), (max, 660.0)])
async def test_no_two_domains_are_asked_for_in_step_for_long(
    sending_rig: SendingRig, monkeypatch: pytest.MonkeyPatch, choose: Callable[..., float], delay: float
) -> None:
    sending_rig.create()
    await sending_rig.until_ready()
    await sending_rig.ask()
    monkeypatch.setattr("random.uniform", choose)

    await sending_rig.run()

    assert sending_rig.delays[-1] == pytest.approx(delay)
