"""Queue ids and row numbers: a message's id contains its database and its row, so that a look-up is one step.

Pure. A message has a number that its database never assigns twice. Its id is the database's random tag, a dash, and the
number in Crockford's base 32 (no I, L, O, U: safe to read aloud). An entry's row is the message's number and the
entry's ordinal in one integer, so that the entries of a message are adjacent and need no index. Used by the stores
only.
"""

from __future__ import annotations

import re
from typing import NamedTuple

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TAG_LENGTH = 6
ORDINAL_BITS = 20
MAX_ORDINAL = (1 << ORDINAL_BITS) - 1
"""Entries that one message can have."""
MAX_NUMBER = (1 << (63 - ORDINAL_BITS)) - 1
"""Messages that one database can ever number: row ids are signed 64-bit integers."""

_ID = re.compile(r"\s*([0-9A-TV-Za-tv-z]{6})-([0-9A-TV-Za-tv-z]{1,9})(?:\.([0-9]{1,7}))?\s*")
# Crockford's decoding rules for letters that look like digits.
_READ_AS = str.maketrans("ILO", "110")
_PYTHON_DIGITS = str.maketrans(ALPHABET, "0123456789abcdefghijklmnopqrstuv")


class Parsed(NamedTuple):
    """A parsed id; `ordinal` 0 means the whole message."""

    tag: str
    number: int
    ordinal: int


def encode(number: int) -> str:
    """A number in base 32, without padding."""
    digits = ""
    while True:
        number, digit = divmod(number, 32)
        digits = ALPHABET[digit] + digits
        if not number:
            return digits


def tag_from(random: bytes) -> str:
    """A database tag from at least four random octets."""
    return encode(int.from_bytes(random, "big") % 32**TAG_LENGTH).rjust(TAG_LENGTH, "0")


def message_id(tag: str, number: int) -> str:
    """The queue id of a message."""
    return f"{tag}-{encode(number)}"


def parse(text: str) -> Parsed | None:
    """A message or entry id as a user types it, in any case; None if it cannot be one."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    tag, digits, ordinal = match.groups()
    number = int(digits.upper().translate(_READ_AS).translate(_PYTHON_DIGITS), 32)
    entry = int(ordinal or 0)
    if number > MAX_NUMBER or entry > MAX_ORDINAL or (ordinal and not entry):
        return None
    return Parsed(tag.upper().translate(_READ_AS), number, entry)


def row_of(number: int, ordinal: int) -> int:
    """The row of an entry; with ordinal 0, a bound below all entries of the message."""
    return number << ORDINAL_BITS | ordinal


def number_of(row: int) -> int:
    """The number of the message that an entry belongs to."""
    return row >> ORDINAL_BITS


def ordinal_of(row: int) -> int:
    """The number of an entry within its message, from 1."""
    return row & MAX_ORDINAL


def rows_of(parsed: Parsed) -> tuple[int, int]:
    """The first and last row that an id can mean."""
    if parsed.ordinal:
        row = row_of(parsed.number, parsed.ordinal)
        return row, row
    return row_of(parsed.number, 1), row_of(parsed.number, MAX_ORDINAL)
