"""docs/metrics.md is printed from the code."""

from __future__ import annotations

from pathlib import Path

from scripts.pages.metrics import render

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_says_what_the_table_says() -> None:
    """If this fails: make docs"""
    assert PAGE.read_text() == render()
