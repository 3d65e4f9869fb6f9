"""The probe for a validating resolver: when it asks, and what it says in the log."""

from __future__ import annotations

import asyncio
import logging

import pytest

from mailboat.routing.validation import DnssecProbe


class ScriptedResolver:
    """Answers the probe as told, and counts."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)
        self.asked: asyncio.Queue[None] = asyncio.Queue()

    async def not_validated(self) -> str:
        """The next answer; the last one for ever."""
        self.asked.put_nowait(None)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def test_dane_is_unavailable_until_the_first_probe_has_said_otherwise() -> None:
    probe = DnssecProbe(ScriptedResolver(""))
    assert probe.unavailable
    await probe.look()
    assert not probe.unavailable


async def test_there_is_one_warning_for_a_reason_however_often_it_is_found(caplog: pytest.LogCaptureFixture) -> None:
    probe = DnssecProbe(ScriptedResolver("nobody validates", "nobody validates", "", "nobody validates"))
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            await probe.look()
    warning = ("WARNING", "DANE is not available: nobody validates")
    info = ("INFO", "DANE is available: DNS answers are validated")
    assert [(record.levelname, record.message) for record in caplog.records] == [warning, info, warning]


async def test_the_resolver_is_asked_at_the_start_and_after_a_change_of_the_configuration() -> None:
    resolver = ScriptedResolver("")
    probe = DnssecProbe(resolver)
    task = asyncio.create_task(probe.run())
    async with asyncio.timeout(60):
        await resolver.asked.get()
        probe.again()
        await resolver.asked.get()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
