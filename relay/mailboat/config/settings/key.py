"""Keys of ini files: dataclass fields with a parser and a description."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Key:
    """One ini key for the reader, the writer and the reference page; stored in the metadata of a field."""

    parse: Callable[[str], Any]
    """Text of the file -> value; raises ValueError with a message for the user."""
    doc: str
    """Meaning, unit and the reason for the default, in Markdown."""
    ini: str = ""
    """The key's name in the file if it differs from the field's name."""
    restart: bool = False
    """A change takes effect at the next restart only; a reload logs this."""
    shown_default: str = ""
    """The default as the reference shows it, if its repr is not suitable."""
    no_field: str = ""
    """Why an OutboundConfig has no field for this key of a file whose other keys have one."""


def setting(default: Any, parse: Callable[[str], Any], doc: str, **more: Any) -> Any:
    """A dataclass field that is one key of an ini file; `more` is the rest of `Key`."""
    return field(default=default, metadata={"key": Key(parse, doc, **more)})


@dataclass(frozen=True, slots=True)
class NamedKey:
    """One key of a settings class: the field with its value, and its name in the file."""

    field: str
    ini: str
    """Without the `[]` of a list."""
    is_list: bool
    """Written as repeated `ini[]=` lines; the parser is called for each line and the tuples are joined."""
    default: Any
    key: Key


def keys_of(kind: type) -> tuple[NamedKey, ...]:
    """The keys of a settings class in order, without the fields that the loader fills from elsewhere."""
    return tuple(
        NamedKey(f.name, name.removesuffix("[]"), name.endswith("[]"), f.default, key)
        for f in fields(kind)
        if (key := f.metadata.get("key")) is not None
        for name in [key.ini or f.name]
    )
