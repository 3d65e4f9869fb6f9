"""Writes what the charts hold that has its source elsewhere: the copies of the CRDs, and the READMEs' tables of values.

`make charts` runs it; tests compare, and call `table` and `documented`. The table comes from `# --` comments in
values.yaml: the comment above a key describes it, a map as a whole or each key within it, and the default is the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHARTS = ROOT / "charts"
CRDS = ROOT / "crds"
CRD_COPIES = CHARTS / "mailboat-operator" / "files" / "crds"

_KEY = re.compile(r"( *)([A-Za-z][\w]*):")
_TABLE = re.compile(r"(<!-- values:begin -->\n).*?(<!-- values:end -->)", re.DOTALL)
_LONG_DEFAULT = 60
"""Characters of a default beyond which the table sends the reader to values.yaml."""


@dataclass(frozen=True, slots=True)
class Value:
    """One described key of a values file."""

    path: tuple[str, ...]
    meaning: str
    default: Any


def documented(values: Path) -> list[Value]:
    """The described keys of a values file, in its order."""
    text = values.read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    return [Value(path, meaning, _at(tree, path)) for path, meaning in _described(text)]


def _described(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    path: list[str] = []
    meaning: list[str] = []
    for line in text.splitlines():
        comment = line.strip().removeprefix("#").strip()
        if line.lstrip().startswith("# -- "):
            meaning = [comment.removeprefix("-- ")]
        elif line.lstrip().startswith("#"):
            meaning += [comment] if meaning else []
        elif key := _KEY.match(line):
            path[len(key[1]) // 2 :] = [key[2]]
            if meaning:
                yield tuple(path), " ".join(meaning)
            meaning = []
        else:
            meaning = []


def _at(tree: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def table(values: Path) -> str:
    """The table of a README."""
    rows = [
        f"| `{'.'.join(value.path)}` | {_default(value.default)} | {value.meaning} |" for value in documented(values)
    ]
    return "\n".join(["| value | default | meaning |", "|---|---|---|", *rows]) + "\n"


def _default(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return f"`{text}`" if len(text) <= _LONG_DEFAULT else "see values.yaml"


def readme(chart: Path) -> str:
    """A chart's README with its table regenerated."""
    page = (chart / "README.md").read_text(encoding="utf-8")
    fresh, count = _TABLE.subn(lambda match: match[1] + table(chart / "values.yaml") + match[2], page)
    if count != 1:
        raise ValueError(f"{chart / 'README.md'} has no place for the table of values")
    return fresh


def main() -> None:
    """Write all of it."""
    for crd in CRDS.glob("*.yaml"):
        (CRD_COPIES / crd.name).write_bytes(crd.read_bytes())
    for chart in sorted(path.parent for path in CHARTS.glob("*/Chart.yaml")):
        (chart / "README.md").write_text(readme(chart), encoding="utf-8")


if __name__ == "__main__":
    main()
