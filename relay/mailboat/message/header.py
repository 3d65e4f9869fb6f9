"""A message's header for changes by plugins: fields in order, accessible by name, and converted to octets again.

Unchanged fields keep every octet. An added field is always exactly one field: it cannot end the line or the header.
Pure; `hooks.transaction` makes it.
"""

from __future__ import annotations

import re

from mailboat.message.text import LINE_LIMIT, header_field

_FIELDS = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)")
_NAME = re.compile(r"[!-9;-~]{1,255}")
"""RFC 5322 2.2: printable ASCII without the colon."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_ENCODED_LIMIT = 8192


class MessageHeader:
    """The fields of one message; `mailboat.hooks.Header` says what each method promises."""

    def __init__(self, octets: bytes, *, utf8: bool = False, whole: bool = True) -> None:
        """`octets` are the header with its line ends, without the blank line behind it.

        `utf8`: the message may hold UTF-8 in its header (RFC 6532), so text is not encoded. Not `whole`: the header
        is so large that only its beginning is known, and it cannot be changed.
        """
        self._fields = split_fields(octets)
        self._utf8 = utf8
        self._whole = whole
        self.changed = False
        """Whether `octets()` may differ from the original."""

    def get(self, name: str) -> str | None:
        """The first field of that name, unfolded; None when there is none."""
        return next((_value(field) for field in self._fields if _is(field, name)), None)

    def get_all(self, name: str) -> list[str]:
        """All fields of that name, from the top."""
        return [_value(field) for field in self._fields if _is(field, name)]

    def add(self, name: str, value: str) -> None:
        """Add a field at the end. ValueError if it would not be exactly one field."""
        field = self._made(name, value)
        if self._fields and not self._fields[-1].endswith(b"\n"):
            self._fields[-1] += b"\r\n"
        self._fields.append(field)

    def add_leading(self, name: str, value: str) -> None:
        """Add a field at the top. ValueError if it would not be exactly one field."""
        self._fields.insert(0, self._made(name, value))

    def remove(self, name: str) -> int:
        """Remove all fields of that name; how many there were."""
        kept = [field for field in self._fields if not _is(field, name)]
        removed = len(self._fields) - len(kept)
        if removed:
            self._change()
            self._fields = kept
        return removed

    def octets(self) -> bytes:
        """The present header."""
        return b"".join(self._fields)

    def _change(self) -> None:
        if not self._whole:
            raise ValueError("the header is too large to be changed")
        self.changed = True

    def _made(self, name: str, value: str) -> bytes:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is not a valid field name")
        lines = _FOLD.split(value.strip(" \t\r\n"))
        if any(_CONTROL.search(line) or not line.strip(" \t") for line in lines[1:]) or _CONTROL.search(lines[0]):
            raise ValueError(f"the value for {name} has a line end that is not folding, or another control character")
        if not self._utf8 and not value.isascii() and not _has_raw_octets(value):
            if len(value) > _ENCODED_LIMIT:
                raise ValueError(f"the value for {name} is longer than {_ENCODED_LIMIT} characters")
            field = header_field(name, " ".join(line.strip(" \t") for line in lines))
        else:
            field = f"{name}: ".encode() + "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n"
        if max(map(len, field.split(b"\r\n"))) > LINE_LIMIT:
            raise ValueError(f"the value for {name} has a line over {LINE_LIMIT} octets: fold it")
        self._change()
        return field


def split_fields(header: bytes) -> list[bytes]:
    """The fields of a header, each with its line end, continuation lines included."""
    return [field for field in _FIELDS.findall(header) if field]


def _is(field: bytes, name: str) -> bool:
    return field.partition(b":")[0].rstrip(b" \t").decode("latin-1").lower() == name.lower()


def _value(field: bytes) -> str:
    value = field.partition(b":")[2].replace(b"\r", b"").replace(b"\n", b"")
    return value.decode("utf-8", "surrogateescape").strip(" \t")


def _has_raw_octets(value: str) -> bool:
    """Whether the text came from a header that was not UTF-8: it is written unchanged."""
    return any("\udc80" <= character <= "\udcff" for character in value)
