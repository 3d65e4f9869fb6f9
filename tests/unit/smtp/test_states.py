"""The table of states: what it promises as data, and the picture that is drawn from it."""

from __future__ import annotations

import re

import pytest
from scripts.pages.smtp_session import picture

from mailboat.smtp.session import COMMANDS
from mailboat.smtp.states import NEXT, SessionState, Trigger


def test_the_picture_has_each_move_of_the_table_and_no_other() -> None:
    drawn = {
        (label, start, end)
        for line in picture()
        if (arrow := re.fullmatch(r" +(\w+) --> (\w+) : (.+)", line))
        for start, end, labels in [arrow.groups()]
        for label in labels.split("<br/>")
    }
    assert drawn == {
        (trigger.value, state.name, after.name)
        for trigger, moves in NEXT.items()
        for state, after in moves.items()
        if trigger is not Trigger.REMARK and state is not SessionState.CLOSING
    }


def test_each_step_has_a_row() -> None:
    assert set(NEXT) == set(Trigger)


def test_no_step_leads_out_of_a_session_that_has_ended() -> None:
    assert {after for moves in NEXT.values() for state, after in moves.items() if state is SessionState.CLOSING} == {
        SessionState.CLOSING
    }


@pytest.mark.parametrize("state", SessionState, ids=lambda state: state.name)
def test_each_state_can_be_reached_and_closed(state: SessionState) -> None:
    reached = {SessionState.NEW}
    for _ in SessionState:
        reached |= {after for moves in NEXT.values() for start, after in moves.items() if start in reached}
    assert state in reached
    assert NEXT[Trigger.CLOSE][state] is SessionState.CLOSING


@pytest.mark.parametrize(
    "state", [SessionState.DATA, SessionState.AUTH, SessionState.CLOSING], ids=lambda state: state.name
)
def test_no_command_is_allowed_where_no_line_is_a_command(state: SessionState) -> None:
    assert [verb for verb, command in COMMANDS.items() if state in command.allowed] == []
