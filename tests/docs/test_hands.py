"""The table of hands in CONTRIBUTING: changes of a kind that were made are written in no more files than its aim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CODE = [
    path
    for folder in ("relay", "operator", "crds", "charts/mailboat-relay")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".yaml", ".json") and path.name != "dashboard.json"
]
"""What is written by hand; the dashboard is generated."""
MORE = {"events.py", "alerts.yaml", "shaping.py", "shaped.py"}
"""A fact in the event log, or with an alert, is written there too, and so is a key that shaping.ini has as well; their
rows say so."""
CHANGELOG = 1


def aims() -> dict[str, int]:
    """The kinds of change, each with the number of files that it may need."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| change | files | aim |")[2]
    return {match[1]: int(match[2]) for match in re.finditer(r"^\| (.+?) \| \d+ \| (\d+) \|", table, re.MULTILINE)}


def written_in(*names: str) -> Iterator[Path]:
    """The files that have one of the names as a word."""
    word = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")
    return (path for path in CODE if path.name not in MORE and word.search(path.read_text()))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ("a key of `outbound.ini` [main] with its field", ("bounce_original_max", "bounceOriginalMaxBytes")),
        ("the same for a route", ("connection_max_messages", "connectionMaxMessages")),
        ("a metric of a new fact", ("mailboat_bind_failures_total", "bind_failed")),
        ("a verb of the queue API", ("Verb.HOLD",)),
    ],
)
def test_a_change_was_written_in_no_more_files_than_the_table_aims_at(change: str, names: tuple[str, ...]) -> None:
    files = list(written_in(*names))
    assert len(files) > 1
    assert len(files) + CHANGELOG <= aims()[change], files
