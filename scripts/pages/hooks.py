"""docs/hooks.md: the prose of `hooks.md.in`, the tables from the points.

Called by `scripts.docs`; a test fails when the page has drifted.
"""

from __future__ import annotations

from pathlib import Path

from mailboat.hooks.codes import Code
from mailboat.hooks.metrics import MAX_SERIES
from mailboat.hooks.points import POINTS, Point, Value
from mailboat.hooks.run import MAX_STUCK_TASKS, MAX_STUCK_THREADS, MAX_TASKS, MAX_THREADS

_EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugins" / "route_by_sender.py"
_VALUES = {
    Value.NOTHING: "",
    Value.TEXT: ", text",
    Value.SECONDS: ", seconds",
    Value.NEXT_HOPS: ", mx",
}
_NUMBERS = {
    "MAX_SERIES": MAX_SERIES,
    "MAX_STUCK_TASKS": MAX_STUCK_TASKS,
    "MAX_STUCK_THREADS": MAX_STUCK_THREADS,
    "MAX_TASKS": MAX_TASKS,
    "MAX_THREADS": MAX_THREADS,
}


def render() -> str:
    """The whole page."""
    page = Path(__file__).with_name("hooks.md.in").read_text(encoding="utf-8")
    for name, number in _NUMBERS.items():
        page = page.replace(f"@{name}@", str(number))
    page = page.replace("@example@", _EXAMPLE.read_text(encoding="utf-8"))
    return page.replace("@points@", _points()).replace("@answers@", _answers())


def _points() -> str:
    rows = [
        f"| `{point}` | {facts.when} | `{', '.join(facts.parameters)}` | {_failure(point)} |"
        for point, facts in POINTS.items()
    ]
    return "\n".join(["| point | when | parameters | a failure is |", "|---|---|---|---|", *rows])


def _failure(point: Point) -> str:
    facts = POINTS[point]
    if facts.choice_of_failure:
        return "`CONT`, or as registered"
    return f"`{facts.failure.value}`"


def _answers() -> str:
    rows = [
        f"| `{point}` | {_answer(code, facts.answers[code])} | {effect} |"
        for point, facts in POINTS.items()
        for code, effect in facts.effects.items()
    ]
    return "\n".join(["| point | answer | what it leads to |", "|---|---|---|", *rows])


def _answer(code: Code, value: Value) -> str:
    return f"`{code.value}{_VALUES[value]}`"
