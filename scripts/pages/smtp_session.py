"""docs/smtp-session.md: the prose of `smtp_session.md.in`, the picture and the commands from `mailboat.smtp`."""

from __future__ import annotations

from pathlib import Path

from mailboat.smtp.session import COMMANDS
from mailboat.smtp.states import NEXT, State, Step


def render() -> str:
    """The whole page."""
    page = Path(__file__).with_name("smtp_session.md.in").read_text(encoding="utf-8")
    return page.replace("@picture@", "\n".join(picture())).replace("@commands@", "\n".join(_commands()))


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
