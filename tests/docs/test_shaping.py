"""docs/shaping.md: its examples are configurations."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.config_directory import Directory

PAGE = Path(__file__).parents[2] / "docs" / "shaping.md"
EXAMPLE = re.compile(r"^```ini shaping\.ini\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_example_is_read_without_fault(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    examples = EXAMPLE.findall(PAGE.read_text())
    assert len(examples) == 5
    for example in examples:
        directory.write("shaping.ini", example)
        assert directory.warnings() == []
