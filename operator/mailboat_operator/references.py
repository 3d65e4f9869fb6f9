"""What an OutboundConfig refers to: one key of a Secret or ConfigMap. Pure; `spec` makes it, `checks` follows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mailboat_operator.reader import SpecReader


class SourceKind(StrEnum):
    """Kinds of objects that hold what is referred to."""

    SECRET = "Secret"  # noqa: S105 - a kind, not a password
    CONFIG_MAP = "ConfigMap"


@dataclass(frozen=True, slots=True)
class Reference:
    """One key of an object in the same namespace."""

    kind: SourceKind
    name: str
    key: str
    path: str = field(compare=False)
    """The field that refers, for people."""
    consent: bool = field(default=False, compare=False)
    """Whether the owner has to allow it (`names.ALLOW`): what it holds is sent to hosts that the resource names."""

    @property
    def source(self) -> tuple[SourceKind, str]:
        """The object."""
        return self.kind, self.name

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def secret_key(reader: SpecReader, field_name: str, key: str) -> Reference | None:
    """The Secret that a field names, and its key, which the field `key` in it may change."""
    ref = reader.child(field_name)
    return Reference(SourceKind.SECRET, ref.text("name"), ref.text("key", key), ref.path) if ref else None


def allowed_key(ref: SpecReader, key_field: str, key: str) -> Reference:
    """The same of a Secret whose owner has to allow it; `key_field` may change the key."""
    return Reference(SourceKind.SECRET, ref.text("name"), ref.text(key_field, key), ref.path, consent=True)


def config_map_key(ref: SpecReader, key_field: str, key: str) -> Reference:
    """The ConfigMap that `ref` names, and its key, which `key_field` may change."""
    return Reference(SourceKind.CONFIG_MAP, ref.text("name"), ref.text(key_field, key), ref.path)
