"""Tables of the documentation, read back so that tests can compare them with the code."""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of a page in docs/, its head first."""
    text = (DOCS / page).read_text()
    _, found, section = text.partition(f"\n{heading}\n")
    assert found, f"docs/{page} has no heading {heading!r}"
    table: list[list[str]] = []
    for line in section.splitlines():
        if line.startswith("|"):
            table.append([cell.strip() for cell in line.strip("|").split("|")])
        elif table:
            break
    assert table, f"docs/{page} has no table below {heading!r}"
    assert all(set(cell) <= {"-"} for cell in table[1])
    return [table[0], *table[2:]]
