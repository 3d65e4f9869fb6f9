"""What an operator may do to the queue: each verb is a call of the API, a command, and on the page of both."""

from __future__ import annotations

import re
from pathlib import Path

from mailboat.cli import queue
from mailboat.queue.store import Verb

PAGE = (Path(__file__).parents[2] / "docs/admin.md").read_text()


def test_every_verb_is_a_command_that_says_what_it_has_done() -> None:
    assert {*Verb} <= {*queue.app}
    assert {*queue.DONE} == {*Verb}


def test_the_page_names_every_verb_as_a_call_and_as_a_command() -> None:
    calls = re.search(r"^\| `POST /v1/queue/(\w+)`((?:, `\w+`)*) \|", PAGE, re.MULTILINE)
    assert calls is not None
    assert {calls[1], *re.findall(r"\w+", calls[2])} == {*Verb}
    commands = re.search(r"`mailboat queue ([\w|]+) --config DIR`", PAGE)
    assert commands is not None
    assert {*Verb} <= {*commands[1].split("|")}
