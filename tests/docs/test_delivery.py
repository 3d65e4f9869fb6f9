"""docs/delivery.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.attempts import make_entry
from tests.support.tables import DOCS, rows

import mailboat
from mailboat.config.settings import OutboundSettings
from mailboat.delivery.verdict import FAULTS, REPLIES, Action
from mailboat.queue.backoff import RetryPlan
from mailboat.smtp.extensions import SIZE, SMTPUTF8

PAGE = "delivery.md"
WORDS = {
    Action.PASS: "on",
    Action.DELIVERED: "delivered",
    Action.DEFER: "defer",
    Action.BOUNCE: "bounce",
    Action.NEXT: "next host",
}


def test_the_table_of_replies_is_that_of_the_verdict() -> None:
    (_, *kinds), *body = rows(PAGE, "## Replies")
    shown = {stage: dict(zip(kinds, cells, strict=True)) for stage, *cells in body}
    assert shown == {
        stage.value: {kind.value: WORDS[action] for kind, action in row.items()} for stage, row in REPLIES.items()
    }


def test_the_table_of_faults_is_that_of_the_verdict() -> None:
    _, *body = rows(PAGE, "## Faults")
    shown = {kind: (action, status) for kind, action, status, _ in body}
    assert shown == {kind.value: (WORDS[action], status) for kind, (action, status) in FAULTS.items()}


def test_each_status_that_is_given_before_the_message_is_offered_is_in_the_table() -> None:
    _, *body = rows(PAGE, "## Before the message is offered")
    shown = {status for _, _, status in body}
    routing = Path(mailboat.__file__).parent / "routing"
    given = {
        status
        for path in routing.glob("*.py")
        for status in re.findall(r'Unroutable\((?:True|False), "([45]\.\d+\.\d+)"', path.read_text())
    }
    assert shown - given == {"5.6.7", "5.3.4", "5.7.10", "5.7.30"}
    assert given <= shown


def test_what_a_host_cannot_take_has_the_status_of_the_table() -> None:
    entry = make_entry("jürgen@there.test")
    for extension, value, status in ((SMTPUTF8, None, "5.6.7"), (SIZE, "1", "5.3.4")):
        assert extension.fit is not None
        misfit = extension.fit(entry.message, entry.recipients, lambda: b"", host="mx.test", value=value)
        assert misfit is not None
        assert misfit.status == status


def test_the_waits_between_attempts_are_those_of_the_page() -> None:
    settings = OutboundSettings()
    plan = RetryPlan.of(settings.temp_fail_intervals, settings.max_temp_failures)
    assert "64 s, 128 s, … 36 h, and the 13th failure bounces" in (DOCS / PAGE).read_text()
    assert plan.delays[:2] == (64, 128)
    assert round(plan.delays[-1] / 3600) == 36
    assert plan.delay(12) is not None
    assert plan.delay(13) is None
