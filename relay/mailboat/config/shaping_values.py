"""Parsers of values in `shaping.ini`, and of the names of its sections. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum, StrEnum
from typing import TypeVar

from mailboat.config import hosts
from mailboat.shaping.limits import Limit, LimitKey, parse_limit
from mailboat.shaping.pattern import Pattern, Regex
from mailboat.shaping.rules import RuleAction, RulePer, RuleStage, parse_action, parse_span
from mailboat.shaping.scopes import SOURCE, Scope, ScopeKind

NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")
"""Names of providers, routes, sources and rules."""
_RECOVER = re.compile(r"x2 +every +(.+)", re.IGNORECASE)

_Word = TypeVar("_Word", bound=StrEnum)
_Value = TypeVar("_Value")


class Unset(Enum):
    """The value of `key=unset`: what the built-in table says in the section does not hold."""

    UNSET = "unset"


def said(parse: Callable[[str], _Value]) -> Callable[[str], _Value | Unset]:
    """The same, or `unset`."""
    return lambda text: Unset.UNSET if text.lower() == Unset.UNSET.value else parse(text)


def limit(key: LimitKey) -> Callable[[str], Limit]:
    """A limit with its suffixes."""
    return lambda text: parse_limit(key, text)


def names(text: str) -> tuple[str, ...]:
    """Host names or domains, normalised; with a dot first, all below."""
    return tuple(hosts.domain_pattern(item) for item in _items(text))


def sample_mx(text: str) -> tuple[tuple[str, ...], ...]:
    """The hosts of one domain; one item of a list."""
    return (tuple(hosts.domain_name(item) for item in _items(text)),)


def scope(text: str) -> Scope:
    """The name of a section that is about mail. ValueError with the reason."""
    section, _, source = text.partition(SOURCE)
    kind, has_name, name = section.strip().partition(":")
    try:
        found = ScopeKind(kind)
    except ValueError:
        raise ValueError(f"is none of {', '.join(f'{kind}:NAME' for kind in list(ScopeKind)[1:])}") from None
    if source and not NAME.fullmatch(source):
        raise ValueError("names a source that cannot be one: letters, digits, `.`, `_` and `-`")
    if found is ScopeKind.DEFAULT:
        if has_name:
            raise ValueError("is not `default`")
        return Scope(found, source=source)
    if found is ScopeKind.DOMAIN:
        name = hosts.domain_pattern(name)
    elif found is ScopeKind.SITE:
        name = hosts.domain_name(name)
    elif not NAME.fullmatch(name):
        raise ValueError(f"does not name a {found}: letters, digits, `.`, `_` and `-`")
    return Scope(found, name, source)


def scopes(text: str) -> tuple[Scope, ...]:
    """The names of sections."""
    return tuple(scope(item) for item in _items(text))


def stages(text: str) -> frozenset[RuleStage]:
    """Stages of a dialogue."""
    return frozenset(_words(text, RuleStage))


def per(text: str) -> frozenset[RulePer]:
    """What a rule acts on."""
    return frozenset(_words(text, RulePer))


def pattern(text: str) -> tuple[Pattern, ...]:
    """One item of a list."""
    return (Pattern(text),)


def regex(text: str) -> tuple[Regex, ...]:
    """One item of a list."""
    return (Regex(text),)


def sample(text: str) -> tuple[str, ...]:
    """A reply; one item of a list."""
    if not text:
        raise ValueError("is empty")
    return (text,)


def action(text: str) -> tuple[RuleAction, ...]:
    """One item of a list."""
    return (parse_action(text),)


def spans(text: str) -> tuple[float, ...]:
    """Times in seconds."""
    return tuple(parse_span(item) for item in _items(text))


def recover(text: str) -> float:
    """Seconds between two steps back."""
    match = _RECOVER.fullmatch(text)
    if match is None:
        raise ValueError("is not `x2 every SPAN`, such as x2 every 5m")
    return parse_span(match[1])


def _words(text: str, kind: type[_Word]) -> Iterator[_Word]:
    for item in _items(text.lower()):
        try:
            yield kind(item)
        except ValueError:
            raise ValueError(f"is not one or more of {', '.join(kind)}") from None


def _items(text: str) -> Iterator[str]:
    for item in text.split(","):
        if not item.strip():
            raise ValueError("has an empty item: remove the extra comma")
        yield item.strip()
