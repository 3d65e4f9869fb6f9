"""docs/metrics.md is printed from the code."""

from __future__ import annotations

from pathlib import Path

from mailboat.metrics.reference import markdown

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def test_the_page_says_what_the_table_says() -> None:
    """If this fails: python -m mailboat.metrics.reference > docs/metrics.md"""
    assert PAGE.read_text() == markdown()
