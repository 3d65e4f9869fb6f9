"""`mailboat.model.placeholders`: which names of a bounce template stand for something."""

from __future__ import annotations

from mailboat.config.settings import BounceTemplates
from mailboat.message.dsn import Dsn, ReportedRecipient, build
from mailboat.model.address import Address
from mailboat.model.envelope import Message
from mailboat.model.outcome import Outcome, Result, Stage
from mailboat.model.placeholders import PLACEHOLDERS, unknown

ALICE = Address("alice", "example.com", "example.com")


def test_unknown_names_are_told_once_each_and_what_is_no_name_is_not() -> None:
    assert unknown("{to} {nope} {reason} {nope} {also} {} {a b} { to } p {color: red}") == ("nope", "also")


def test_every_placeholder_is_filled_in() -> None:
    outcome = Outcome(1, Result.BOUNCED, "5.1.1", Stage.RCPT, "no such user")
    template = "".join(f"<<{{{name}}}>>" for name in sorted(PLACEHOLDERS))
    message = Message("q1", ALICE, 20, 0.0)

    report = build(
        Dsn("q2", "me.example", message, (ReportedRecipient(ALICE, outcome),), 1.0, b"Subject: s\r\n\r\n", pid=42),
        BounceTemplates(text=template),
    )

    assert b"<<?>>" not in report
    assert report.count(b"<<") == len(PLACEHOLDERS)
