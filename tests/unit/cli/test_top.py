"""The table of `mailboat top`."""

from __future__ import annotations

from tests.support.facts import T0
from tests.support.waiting import waiting_row

from mailboat.cli.top import table
from mailboat.model.clock import rfc3339


def test_a_row_says_what_is_known_and_never_moves_the_cursor() -> None:
    row = {**waiting_row("a.test", 7, oldest=7200.0), "next_attempt_at": rfc3339(T0 + 90)}
    row |= {"held_by": "limit rate of provider:p", "last_reply": "421 \x1b[2J later"}
    headings, line = table([row], T0)
    assert headings.split()[:4] == ["DESTINATION", "PROVIDER", "WAITING", "OLDEST"]
    assert line.startswith("a.test")
    assert "2.0 h" in line
    assert "1.5 min" in line
    assert "limit rate of provider:p" in line
    assert "\x1b" not in line


def test_a_time_that_has_come_is_now_and_without_rows_there_is_no_table() -> None:
    row = {**waiting_row("a.test"), "next_attempt_at": rfc3339(T0 - 1)}
    assert " now " in list(table([row], T0))[1]
    assert list(table([], T0)) == []
