"""The conformance tables of docs/transport-security.md name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "transport-security.md").read_text()
_ROW = re.compile(r"^\|.*\| (`.*`) \|$", re.MULTILINE)
_NAME = re.compile(r"`(?P<file>[a-z0-9_/]+\.py)?::(?P<test>\w+)`")


def test_each_row_names_tests_that_exist() -> None:
    rows = _ROW.findall(PAGE)
    assert len(rows) >= 20
    for row in rows:
        path = ""
        for name in _NAME.finditer(row):
            path = name["file"] or path
            assert re.search(rf"def {name['test']}\(", (TESTS / path).read_text()), name[0]
        assert row.count("`") == 2 * len(_NAME.findall(row)), row
