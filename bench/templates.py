"""Configuration files of the relays under test: real files in the tree, with `@NAME@` where a run fills in.

Called by `bench.relays`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

_PLACE = re.compile(r"@([A-Z_]+)@")
TEMPLATES = Path(__file__).parent


def render(template: Path, target: Path, values: Mapping[str, object]) -> None:
    """Copies the directory `template` to `target`, filling in `values`; KeyError when a file asks for another."""
    target.mkdir(parents=True, exist_ok=True)
    for source in sorted(template.rglob("*")):
        copy = target / source.relative_to(template)
        if source.is_dir():
            copy.mkdir(exist_ok=True)
            continue
        copy.write_text(_PLACE.sub(lambda found: str(values[found[1]]), source.read_text()))
        shutil.copymode(source, copy)
