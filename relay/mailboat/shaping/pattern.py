"""Patterns of replies: text in which `*` is anything and `#` one or more digits. Pure; linear in the text's length.

A pattern is compared with the whole text, without case. `\\*`, `\\#` and `\\\\` are these characters themselves. The
automaton of a pattern is a set of positions kept in one number, so no text makes it go back.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

# The parser of `re` itself: what a pattern repeats is judged as it will be matched.
_re: Any = importlib.import_module("re._parser")

LONGEST = 256
"""Maximum of characters of a pattern."""
COMPARED = 1_000
"""Maximum of characters of a text that are compared."""
WAYS_MAX = 8 * COMPARED**2
"""Ways in which a text may be tried against a regular expression: two unbounded repetitions, and a little more."""
_DIGITS = "0123456789"


class ReplyPattern(Protocol):
    """What replies are compared with."""

    @property
    def text(self) -> str:
        """As it was written."""

    def matches(self, text: str) -> bool:
        """Whether the text, or as much of it as is compared, is one that the pattern describes."""


@dataclass(frozen=True, slots=True)
class Regex:
    """A regular expression for what a pattern cannot say. It is compared with the whole text, without case.

    Hosts choose the texts: nothing that is repeated may itself hold a repetition or a choice, or refer back, and two
    parts at most may be repeated without a limit, so that none takes long.
    """

    text: str
    """As it was written."""
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """ValueError for one that cannot be used."""
        if not self.text or len(self.text) > LONGEST:
            raise ValueError(f"has a regular expression that is empty or longer than {LONGEST} characters")
        try:
            compiled = re.compile(self.text, re.IGNORECASE)
            parsed = _re.parse(self.text)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"is not a regular expression: {error}") from None
        if _ways(parsed) > WAYS_MAX:
            raise ValueError("repeats or offers too many parts: at most two without a limit")
        object.__setattr__(self, "_compiled", compiled)

    def matches(self, text: str) -> bool:
        """Whether the whole text, or as much of it as is compared, is one that it describes."""
        return self._compiled.fullmatch(text[:COMPARED]) is not None

    def __str__(self) -> str:
        return self.text


def _ways(parsed: Iterable[tuple[Any, Any]], *, repeated: bool = False) -> int:
    """In how many ways a text may be tried, at most. ValueError for what `Regex` refuses."""
    ways = 1
    for operator, argument in parsed:
        name = str(operator)
        if name in _REPEATS:
            least, most, inner = argument
            if repeated:
                raise ValueError("repeats what has a repetition or a choice in it")
            ways *= min(most - least + 1, COMPARED) * _ways(inner, repeated=most > 1)
        elif name == "BRANCH":
            if repeated:
                raise ValueError("repeats what has a repetition or a choice in it")
            ways *= sum(_ways(each) for each in argument[1])
        elif name in ("SUBPATTERN", "ATOMIC_GROUP"):
            ways *= _ways(argument[-1] if name == "SUBPATTERN" else argument, repeated=repeated)
        elif name not in _SINGLE:
            raise ValueError("has a look-around, a condition or a reference, which are not taken")
    return ways


_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")
_SINGLE = ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "CATEGORY")


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
