"""Writes docs/smtp-session.md: the picture and the table of a session's states, from `mailboat.smtp.states`.

Run as `python -m scripts.session > docs/smtp-session.md`, as `make docs` does; a test fails when the page has drifted.
"""

from __future__ import annotations

import sys

from mailboat.smtp.session import COMMANDS
from mailboat.smtp.states import NEXT, State, Step

_HEAD = """# The SMTP session

Written from the table in `relay/mailboat/smtp/states.py`; `make docs` writes it anew. A session moves by that table and
in no other way (RFC 5321 4.1.4). The relay decides about EHLO, HELO, MAIL, RCPT, DATA, STARTTLS and AUTH; where it
refuses, the state stays, except that EHLO and HELO end a transaction even then.
"""


def render() -> str:
    """The whole page."""
    return "\n".join([_HEAD, "```mermaid", *picture(), "```", "", *_commands(), ""])


def picture() -> list[str]:
    """The lines of a mermaid diagram: an arrow a pair of states, with all that leads from one to the other."""
    arrows: dict[tuple[State, State], list[Step]] = {}
    for step, moves in NEXT.items():
        for state, after in moves.items():
            if step is not Step.REMARK and state is not State.DEAF:
                arrows.setdefault((state, after), []).append(step)
    lines = [f"    {state.name} --> {after.name} : {'<br/>'.join(steps)}" for (state, after), steps in arrows.items()]
    return ["stateDiagram-v2", f"    [*] --> {State.NEW.name}", *lines, f"    {State.DEAF.name} --> [*]"]


def _commands() -> list[str]:
    rows = []
    for verb, command in COMMANDS.items():
        allowed = ", ".join(
            state.name if after is state else f"{state.name} → {after.name}" for state, after in command.allowed.items()
        )
        elsewhere = f"`{command.otherwise}`" if len(command.allowed) < len(NEXT[Step.REMARK]) else ""
        rows.append(f"| {verb.decode()} | {allowed} | {elsewhere} |")
    return ["| command | allowed in, and the state after it | elsewhere |", "|---|---|---|", *rows]


if __name__ == "__main__":
    sys.stdout.write(render())
