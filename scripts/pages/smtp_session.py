"""docs/smtp-session.md: the prose of `smtp_session.md.in`, the picture and the commands from `mailboat.smtp`."""

from __future__ import annotations

from pathlib import Path

from mailboat.smtp.session import COMMANDS
from mailboat.smtp.states import NEXT, SessionState, Trigger


def render() -> str:
    """The whole page."""
    page = Path(__file__).with_name("smtp_session.md.in").read_text(encoding="utf-8")
    return page.replace("@picture@", "\n".join(picture())).replace("@commands@", "\n".join(_commands()))


def picture() -> list[str]:
    """The lines of a mermaid diagram: an arrow a pair of states, with all that leads from one to the other."""
    arrows: dict[tuple[SessionState, SessionState], list[Trigger]] = {}
    for trigger, moves in NEXT.items():
        for state, after in moves.items():
            if trigger is not Trigger.REMARK and state is not SessionState.CLOSING:
                arrows.setdefault((state, after), []).append(trigger)
    lines = [
        f"    {state.name} --> {after.name} : {'<br/>'.join(triggers)}" for (state, after), triggers in arrows.items()
    ]
    return [
        "stateDiagram-v2",
        f"    [*] --> {SessionState.NEW.name}",
        *lines,
        f"    {SessionState.CLOSING.name} --> [*]",
    ]


def _commands() -> list[str]:
    rows = []
    for verb, command in COMMANDS.items():
        allowed = ", ".join(
            state.name if after is state else f"{state.name} → {after.name}" for state, after in command.allowed.items()
        )
        elsewhere = f"`{command.otherwise}`" if len(command.allowed) < len(NEXT[Trigger.REMARK]) else ""
        rows.append(f"| {verb.decode()} | {allowed} | {elsewhere} |")
    return ["| command | allowed in, and the state after it | elsewhere |", "|---|---|---|", *rows]
