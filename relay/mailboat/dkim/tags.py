"""`tag=value` lists, in the signature and in the DNS (RFC 6376 3.2). Pure."""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_VALUE: Final = re.compile(r"[!-:<-~\u0080-\U0010ffff \t\r\n]*")
_WHITE: Final = re.compile(r"[ \t\r\n]+")


def parse_tags(text: str) -> dict[str, str]:
    """The tags in their order, values without the white space around them.

    Raises:
        ValueError: no list of tags, or one tag twice, which makes the whole list void (RFC 6376 3.2).
    """
    tags: dict[str, str] = {}
    items = text.split(";")
    if not items[-1].strip():
        items.pop()  # the semicolon may end the list
    for item in items:
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError(f"{item.strip()[:40]!r} is not a tag")
        if name in tags:
            raise ValueError(f"the tag {name}= occurs twice")
        tags[name] = value.strip(" \t\r\n")
    return tags


def without_white(value: str) -> str:
    """A value without its folding white space, as Base64 and lists of names are read."""
    return _WHITE.sub("", value)


def names_in(value: str) -> list[str]:
    """The members of a list with colons."""
    return [without_white(name).lower() for name in value.split(":")]
