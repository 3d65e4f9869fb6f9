"""Reads a resource: each fault is recorded with its path, and reading continues. Pure; called by `spec`.

The API server has validated the resource, but possibly with an older schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from mailboat.config.text import quoted

_Value = TypeVar("_Value")


class SpecReader:
    """One object of a resource, with its path."""

    def __init__(self, value: Mapping[str, Any], path: str, faults: list[str]) -> None:
        """Faults are appended to `faults`; `path` names this object for people, such as `spec.outbound`."""
        self._value = value
        self.path = path
        self.faults = faults

    def quiet(self) -> SpecReader:
        """The same object for a second reading, without recording faults again."""
        return SpecReader(self._value, self.path, [])

    def fault(self, name: str, message: str) -> None:
        """Record a fault of a field, or of this object if `name` is empty."""
        self.faults.append(f"{self.path}.{name}: {message}" if name else f"{self.path}: {message}")

    def has(self, name: str) -> bool:
        """Whether the field is set; null counts as missing."""
        return self._value.get(name) is not None

    def raw(self, name: str) -> Any:
        """The field as it is."""
        return self._value.get(name)

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        return self._typed(name, str, "a string", default)

    def flag(self, name: str, *, default: bool = False) -> bool:
        """A boolean."""
        return self._typed(name, bool, "true or false", default)

    def number(self, name: str, default: int = 0) -> int:
        """A whole number, not a boolean."""
        value = self._typed(name, int, "a whole number", default)
        if isinstance(value, bool):
            self.fault(name, "is not a whole number")
            return default
        return value

    def child(self, name: str) -> SpecReader | None:
        """An object, empty if it is not one; None if it is missing."""
        if not self.has(name):
            return None
        value = self._typed(name, dict, "an object", {})
        return SpecReader(value, f"{self.path}.{name}", self.faults)

    def children(self, name: str) -> Iterator[SpecReader]:
        """The objects of a list."""
        for number, item in enumerate(self.items(name)):
            path = f"{self.path}.{name}[{number}]"
            if isinstance(item, dict):
                yield SpecReader(item, path, self.faults)
            else:
                self.faults.append(f"{path}: is not an object")

    def texts(self, name: str) -> Iterator[tuple[str, str]]:
        """The strings of a list, each with its name for faults."""
        for number, item in enumerate(self.items(name)):
            if isinstance(item, str):
                yield f"{name}[{number}]", item
            else:
                self.fault(f"{name}[{number}]", "is not a string")

    def items(self, name: str) -> Sequence[Any]:
        """A list, as it is."""
        return self._typed(name, list, "a list", [])

    def text_map(self) -> Mapping[str, str]:
        """This object as texts by name."""
        return {name: self.text(name) for name in self._value}

    def word(self, name: str, allowed: Mapping[str, _Value], default: _Value) -> _Value:
        """The value of one word of a closed set."""
        if not self.has(name):
            return default
        word = self.text(name)
        if word not in allowed:
            self.fault(name, f"{quoted(word)} is not one of {', '.join(allowed)}")
        return allowed.get(word, default)

    def _typed(self, name: str, kind: type[_Value], what: str, default: _Value) -> _Value:
        value = self._value.get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            self.fault(name, f"is not {what}")
            return default
        return value
