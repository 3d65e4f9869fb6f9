"""What one key of an ini file is: a dataclass field with its parser and its meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """What the reader, the writer and the reference page know of one ini key; lives in a field's metadata."""

    parse: Callable[[str], Any]
    """Text of the file -> value; raises ValueError with a reason that a person can act on."""
    doc: str
    """Meaning, unit and reason of the default, in Markdown."""
    ini: str = ""
    """The key's name in the file where it is not the field's name."""
    restart: bool = False
    """Whether a change needs a restart to take effect; said in the log on reload."""
    shown_default: str = ""
    """How the reference shows the default where its repr would not do."""
    no_field: str = ""
    """Why an OutboundConfig has no field for it, where its other keys have one."""


def setting(default: Any, parse: Callable[[str], Any], doc: str, **more: Any) -> Any:
    """A dataclass field that is one key of an ini file; `more` is the rest of `Key`."""
    return field(default=default, metadata={"key": Key(parse, doc, **more)})


@dataclass(frozen=True, slots=True)
class NamedKey:
    """One key of a settings class: where its value lives, and what the file calls it."""

    field: str
    ini: str
    """Without the `[]` of a list."""
    is_list: bool
    """Written as repeated `ini[]=` lines; the parser is called once a line and the tuples are joined."""
    default: Any
    key: Key


def keys_of(kind: type) -> tuple[NamedKey, ...]:
    """The keys of a settings class in their order; fields that the loader fills by other ways are not among them."""
    return tuple(
        NamedKey(f.name, name.removesuffix("[]"), name.endswith("[]"), f.default, key)
        for f in fields(kind)
        if (key := f.metadata.get("key")) is not None
        for name in [key.ini or f.name]
    )
