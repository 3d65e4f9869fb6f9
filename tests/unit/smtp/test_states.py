"""The table of states: what it promises as data, and the picture that is drawn from it."""

from __future__ import annotations

import re

import pytest
from scripts.pages.smtp_session import picture

from mailboat.smtp.session import COMMANDS
from mailboat.smtp.states import NEXT, State, Step


def test_the_picture_has_each_move_of_the_table_and_no_other() -> None:
    drawn = {
        (label, start, end)
        for line in picture()
        if (arrow := re.fullmatch(r" +(\w+) --> (\w+) : (.+)", line))
        for start, end, labels in [arrow.groups()]
        for label in labels.split("<br/>")
    }
    assert drawn == {
        (step.value, state.name, after.name)
        for step, moves in NEXT.items()
        for state, after in moves.items()
        if step is not Step.REMARK and state is not State.DEAF
    }


def test_each_step_has_a_row() -> None:
    assert set(NEXT) == set(Step)


def test_no_step_leads_out_of_a_session_that_has_ended() -> None:
    assert {after for moves in NEXT.values() for state, after in moves.items() if state is State.DEAF} == {State.DEAF}


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_each_state_can_be_reached_and_closed(state: State) -> None:
    reached = {State.NEW}
    for _ in State:
        reached |= {after for moves in NEXT.values() for start, after in moves.items() if start in reached}
    assert state in reached
    assert NEXT[Step.CLOSE][state] is State.DEAF


@pytest.mark.parametrize("state", [State.DATA, State.AUTH, State.DEAF], ids=lambda state: state.name)
def test_no_command_is_allowed_where_no_line_is_a_command(state: State) -> None:
    assert [verb for verb, command in COMMANDS.items() if state in command.allowed] == []
