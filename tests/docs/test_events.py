"""docs/events.md shows a line of every event, with the fields that it really has."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.facts import StoppedClock, entry, message, outcome, report

from mailboat.metrics.events import EventLog
from mailboat.metrics.rejections import LIMIT
from mailboat.metrics.writer import LineWriter
from mailboat.model.envelope import SignedBy
from mailboat.model.observer import BounceResult, ConfigReloaded, OverrideFact, Received, Rejected, RejectReason
from mailboat.model.outcome import PeerFacts, Result, Stage

PAGE = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
SHOWN = [json.loads(line) for line in PAGE.splitlines() if line.startswith('{"time"')]


def told() -> list[dict[str, Any]]:
    """One line of each event, as the log makes it."""
    with tempfile.TemporaryFile() as file:
        writer = LineWriter(file.fileno(), limit=40_000)
        log = EventLog(writer, clock=StoppedClock())
        plain = PeerFacts("mx")
        signed = [SignedBy("example.org", "mb20261128r", "rsa-sha256")]
        log.received(Received(message(), ["bob@example.net"], "::1", "ESMTP", signed_by=signed))
        log.rejected(Rejected(RejectReason.LOOP, "::1", "554 5.4.6 Loop"))
        for _ in range(LIMIT):
            log.rejected(Rejected(RejectReason.LOOP, "::1", "554 5.4.6 Loop"))
        log.tell_omitted()
        log.attempt_started(entry())
        log.attempted(entry(), report(outcome(1, Result.DELIVERED, "250 2.0.0 Ok")), None, None)
        log.attempted(entry(), report(outcome(1, Result.DEFERRED), peer=plain), entry(), 60.0)
        log.attempted(entry(), report(outcome(1, Result.BOUNCED), peer=plain), None, None)
        log.attempted(entry(), report(outcome(1, Result.DROPPED), peer=None), None, None)
        log.bounce_message(entry(), BounceResult.QUEUED)
        log.held_by_limit(entry(), "limit rate of default", 5.0)
        log.overridden(OverrideFact("a", "default", "*", "suspend", "rule r", 1, "421 4.7.0 No", 5.0))
        log.authentication_failed("mx", "535 5.7.8 No")
        log.bind_failed("192.0.2.1")
        log.config_reloaded(ConfigReloaded("sha256:a"))
        writer.put(b" " * 60_000)  # does not fit: a line is lost
        log.bind_failed("192.0.2.1")
        assert writer.close()
        file.seek(0)
        return [json.loads(line) for line in file.read().splitlines()]


def test_each_event_is_shown_with_its_fields() -> None:
    fields = {event["event"]: list(event) for event in told()}
    assert {event["event"]: list(event) for event in SHOWN} == fields


def test_every_stage_is_named() -> None:
    assert all(f"`{stage}`" in PAGE for stage in Stage)


def test_ambiguous_is_there_only_when_it_is_true() -> None:
    sure = outcome(1, Result.DEFERRED)
    with tempfile.TemporaryFile() as file:
        writer = LineWriter(file.fileno())
        log = EventLog(writer)
        for one in (sure, replace(sure, ambiguous=True)):
            log.attempted(entry(), report(one), entry(), 60.0)
        writer.close()
        file.seek(0)
        first, second = map(json.loads, file.read().splitlines())
    assert "ambiguous" not in first
    assert second["ambiguous"] is True
