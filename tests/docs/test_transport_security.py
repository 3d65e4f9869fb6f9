"""The conformance tables of docs/transport-security.md name tests that exist."""

from __future__ import annotations

from pathlib import Path

from tests.support.named_tests import rows_with_tests

PAGE = (Path(__file__).parents[2] / "docs" / "transport-security.md").read_text()


def test_each_row_names_tests_that_exist() -> None:
    assert len(rows_with_tests(PAGE)) >= 20
