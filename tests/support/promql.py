"""Reads PromQL as far as tests need: which series an expression selects. Not a parser: `promtool` judges the syntax."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SELECTOR = re.compile(r"\b((?:mailboat|process)_\w+)(\{[^}]*\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
_PARTS = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Selector:
    """One use of a metric."""

    name: str
    """As it stands there: `_bucket` and the like included."""
    matchers: tuple[tuple[str, str, str], ...]
    """Label, operator, value."""
    text: str

    @property
    def family(self) -> str:
        """The metric's name in the table of metrics, if its parts are those of a histogram."""
        return next((self.name.removesuffix(part) for part in _PARTS if self.name.endswith(part)), self.name)


def selectors(expression: str) -> list[Selector]:
    """Every use of a metric of ours."""
    return [
        Selector(found[1], tuple(_MATCHER.findall(found[2] or "")), found[0])
        for found in _SELECTOR.finditer(expression)
    ]
