"""The page of the architecture says of the rooms what the code and the import contracts say."""

from __future__ import annotations

import configparser
import re
from itertools import pairwise, product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELAY = ROOT / "relay" / "mailboat"
ROOMS = {path.parent.name for path in RELAY.glob("*/__init__.py")}
PAGE = (ROOT / "docs" / "architecture.md").read_text()


def block(after: str, kind: str = "") -> list[str]:
    """The lines of the first block of code that follows a text."""
    return PAGE.partition(after)[2].partition(f"```{kind}\n")[2].partition("```")[0].splitlines()


def arrows() -> list[tuple[str, str]]:
    """The pairs of the picture: who imports what."""
    pairs: list[tuple[str, str]] = []
    for line in block("The picture shows", "mermaid")[1:]:
        ends = [re.findall(r"\w+", end) for end in re.split(r"-->(?:\|[^|]*\|)?", line)]
        for some, others in pairwise(ends):
            pairs += product(some, others)
    return pairs


def test_the_table_of_floors_is_the_import_contract() -> None:
    contracts = configparser.ConfigParser(comment_prefixes=(";",))
    contracts.read(ROOT / ".importlinter")
    floors = contracts["importlinter:contract:layers"]["layers"].split("\n")

    assert [re.split(r"  +", line)[0] for line in block("top to bottom only")] == [floor for floor in floors if floor]


def test_the_picture_has_all_rooms_and_only_imports_that_there_are() -> None:
    assert {room for pair in arrows() for room in pair} == {*ROOMS, "mailboat_operator"}
    for room, imported in arrows():
        folder = ROOT / "operator" / room if room == "mailboat_operator" else RELAY / room
        code = "\n".join(path.read_text() for path in folder.rglob("*.py"))
        wanted = rf"^\s*(?:(?:from|import) mailboat\.{imported}\b|from mailboat import {imported}\b)"
        assert re.search(wanted, code, re.MULTILINE), (room, imported)


def test_the_layout_names_all_rooms() -> None:
    named = {match[1] for line in block("## Layout") if (match := re.match(r"  (\w+)/ ", line))}
    assert named == ROOMS
