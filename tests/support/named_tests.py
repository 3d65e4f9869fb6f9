"""Tests that a page names in the last column of a table: `file.py::test_one`, `::test_another_of_the_same_file`."""

from __future__ import annotations

import re
from pathlib import Path

_TESTS = Path(__file__).parents[1]
_ROW = re.compile(r"^\|.*\| (`[^|]*`) \|$", re.MULTILINE)
_NAME = re.compile(r"`(?P<file>[a-z0-9_/]+\.py)?::(?P<test>\w+)`")


def rows_with_tests(page: str) -> list[str]:
    """The last columns that name tests. Fails when one of these does not exist, or anything else stands there."""
    rows = [row for row in _ROW.findall(page) if "::" in row]
    for row in rows:
        path = ""
        for name in _NAME.finditer(row):
            path = name["file"] or path
            assert re.search(rf"def {name['test']}\(", (_TESTS / path).read_text()), name[0]
        assert row.count("`") == 2 * len(_NAME.findall(row)), row
    return rows
