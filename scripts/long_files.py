"""`make lint` warns of files of the relay and the operator that are too long to be read at once. It never fails.

How long is too long depends on what is in a file, so a person decides; tests/architecture holds functions to a limit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 500


def warnings(root: Path = ROOT) -> Iterator[str]:
    """A line for each file above `MAX_LINES`."""
    for package in ("operator", "relay"):
        for path in sorted((root / package).rglob("*.py")):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > MAX_LINES:
                yield f"warning: {path.relative_to(root)} has {lines} lines, more than {MAX_LINES}"


if __name__ == "__main__":
    for line in warnings():
        print(line, file=sys.stderr)
