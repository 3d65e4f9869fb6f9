"""Patterns of replies: text in which `*` is anything and `#` one or more digits. Pure; linear in the text's length.

A pattern is compared with the whole text, without case. `\\*`, `\\#` and `\\\\` are these characters themselves. The
automaton of a pattern is a set of positions kept in one number, so no text makes it go back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

LONGEST = 256
"""Maximum of characters of a pattern."""
COMPARED = 1_000
"""Maximum of characters of a text that are compared."""
_DIGITS = "0123456789"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern, ready to be compared."""

    text: str
    """As it was written."""
    _accept: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    """Character -> the positions that it leads to from the one before."""
    _anything: int = field(init=False, repr=False, compare=False, default=0)
    """The positions at which anything may follow."""
    _digits: int = field(init=False, repr=False, compare=False, default=0)
    """The positions at which another digit may follow."""
    _end: int = field(init=False, repr=False, compare=False, default=1)
    """The last position."""

    def __post_init__(self) -> None:
        """ValueError for a pattern that cannot be used."""
        if not self.text or len(self.text) > LONGEST:
            raise ValueError(f"has a pattern that is empty or longer than {LONGEST} characters")
        accept: dict[str, int] = {}
        anything = digits = 0
        position = 1
        characters = iter(self.text.lower())
        for character in characters:
            if character == "*":
                anything |= position
                continue
            position <<= 1
            if character == "#":
                digits |= position
                following = _DIGITS
            elif character == "\\":
                following = next(characters, "")
                if following not in ("*", "#", "\\"):
                    raise ValueError("has a backslash that is not before `*`, `#` or a backslash")
            else:
                following = character
            for one in following:
                accept[one] = accept.get(one, 0) | position
        for name, value in (("_accept", accept), ("_anything", anything), ("_digits", digits), ("_end", position)):
            object.__setattr__(self, name, value)

    def matches(self, text: str) -> bool:
        """Whether the text, or as much of it as is compared, is one that the pattern describes."""
        accept, anything, digits = self._accept, self._anything, self._digits
        reached = 1
        for character in text[:COMPARED].lower():
            further = (reached << 1) & accept.get(character, 0) | reached & anything
            if character in _DIGITS:
                further |= reached & digits
            if not further:
                return False
            reached = further
        return bool(reached & self._end)

    def __str__(self) -> str:
        return self.text
