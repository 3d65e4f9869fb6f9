"""Rules from replies: which replies of hosts lead to which actions. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from mailboat.shaping.pattern import COMPARED, ReplyPattern
from mailboat.shaping.rate import SECOND, UNITS, RateLimit, parse_rate, whole_number
from mailboat.shaping.scopes import Scope


class RuleStage(StrEnum):
    """The stage of a dialogue at which a reply arrived; `connect`: no reply, but a fault before the greeting."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    DOT = "dot"


ALL_STAGES = frozenset(RuleStage) - {RuleStage.CONNECT}
"""Where a rule says nothing of stages: those with a reply."""


class RulePer(StrEnum):
    """What a rule acts on."""

    SOURCE = "source"
    PROVIDER = "provider"
    SITE = "site"
    DOMAIN = "domain"
    TENANT = "tenant"
    ENTRY = "entry"


class ActionKind(StrEnum):
    """What a rule does."""

    SUSPEND = "suspend"
    RATE = "rate"
    CONNECTIONS = "connections"
    MESSAGES_PER_CONNECTION = "messages_per_connection"
    RETRY = "retry"
    DEFER = "defer"
    """A permanent refusal counts as a temporary one."""
    FAIL = "fail"
    """A temporary refusal counts as a permanent one."""
    ALERT = "alert"


ACTED_ON = frozenset(ActionKind) - {ActionKind.RATE, ActionKind.CONNECTIONS, ActionKind.MESSAGES_PER_CONNECTION}
"""What delivery does of it."""
ACTED_ON_PER = frozenset(RulePer) - {RulePer.TENANT, RulePer.ENTRY}
"""By what it does so."""


@dataclass(frozen=True, slots=True)
class RuleAction:
    """One thing that a rule does."""

    kind: ActionKind
    factor: float | None = None
    """What the present value is multiplied by; None: `value` is the new one."""
    floor: int | RateLimit | None = None
    """The least that a factor leads to."""
    value: int | RateLimit | float | None = None
    """The new value; for `retry` the seconds until the next attempt."""

    def __str__(self) -> str:
        if self.factor is not None:
            return f"{self.kind} *{self.factor:g} floor {self.floor}"
        if self.kind is ActionKind.RETRY:
            return f"{self.kind} {self.value:g}s"
        return self.kind.value if self.value is None else f"{self.kind} ={self.value}"


@dataclass(frozen=True, slots=True)
class RuleTrigger:
    """How many matches it takes."""

    count: int = 1
    seconds: float = 0.0
    """All of them within this time."""

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds:g}s" if self.seconds else str(self.count)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule."""

    name: str
    on: tuple[Scope, ...]
    """Whose replies it looks at; empty: everybody's."""
    replies: tuple[ReplyPattern, ...]
    actions: tuple[RuleAction, ...]
    samples: tuple[str, ...] = ()
    """Replies that must fire it."""
    others: tuple[str, ...] = ()
    """Replies that must not match."""
    stages: frozenset[RuleStage] = ALL_STAGES
    trigger: RuleTrigger = RuleTrigger()
    per: frozenset[RulePer] = frozenset()
    """Empty: the section of `on`, for each source."""
    spans: tuple[float, ...] = ()
    """Seconds that it holds; the next one if it fires again soon. Empty: it acts on the entry alone."""
    recover: float | None = None
    """Seconds between two steps back; None: a quarter of the span, at least 5 minutes."""

    def matches(self, stage: RuleStage | None, reply: str) -> bool:
        """Whether it is about a reply, as `one_line` gives it, at a stage; None: at any of its stages."""
        if stage is not None and stage not in self.stages:
            return False
        return any(pattern.matches(reply) for pattern in self.replies)


def first_match(
    rules: Iterable[Rule], scopes: Iterable[Scope], stage: RuleStage | None, reply: str
) -> tuple[Rule, Scope | None] | None:
    """The rule that a reply fires, with the section of its `on`: the first one of the most specific section.

    `scopes` are the sections of the mail, the most specific first. Rules without `on` come last.
    """
    known = tuple(rules)
    for scope in scopes:
        for rule in known:
            if scope in rule.on and rule.matches(stage, reply):
                return rule, scope
    return next(((rule, None) for rule in known if not rule.on and rule.matches(stage, reply)), None)


_REPLY = re.compile(r"(?P<code>[0-9]{3})[ -]?(?P<text>.*)")
_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3} ")


def one_line(reply: str) -> str:
    """A reply as rules see it: the code, and its lines joined by blanks, an enhanced code that each repeats once."""
    code = enhanced = ""
    parts = []
    for line in reply.splitlines():
        match = _REPLY.fullmatch(line.strip())
        text = line.strip()
        if match and (not code or match["code"] == code):
            code, text = match["code"], match["text"].strip()
        if found := _ENHANCED.match(text):
            if not enhanced:
                enhanced = found[0]
            elif found[0] == enhanced:
                text = text.removeprefix(enhanced)
        parts.append(text)
    return " ".join(part for part in (code, *parts) if part)[:COMPARED]


def faults_of(rule: Rule, rules: Iterable[Rule]) -> Iterator[tuple[str, str]]:
    """What samples show to be wrong with one of the rules: the key, and the reason."""
    if not rule.samples:
        yield "sample", "is missing: a rule needs a reply that fires it"
    for sample in rule.samples:
        reply = one_line(sample)
        if not rule.matches(None, reply):
            yield "sample", f"{sample!r} matches none of its patterns"
        elif (earlier := _earlier(rule, rules, reply)) is not None:
            yield "sample", f"{sample!r} never fires it, because [rule:{earlier.name}] comes first"
    for pattern in rule.replies:
        if rule.samples and not any(pattern.matches(one_line(sample)) for sample in rule.samples):
            yield "reply", f"{pattern.text!r} matches none of its samples"
    for other in rule.others:
        if rule.matches(None, one_line(other)):
            yield "not", f"{other!r} matches, but must not"


def _earlier(rule: Rule, rules: Iterable[Rule], reply: str) -> Rule | None:
    """A rule before this one that takes the reply at each of its stages, for all that it looks at."""
    takers = []
    for other in rules:
        if other is rule:
            break
        if other.matches(None, reply):
            takers.append(other)
    for scope in rule.on or (None,):
        for stage in rule.stages:
            if not any(stage in taker.stages and _looks_at(taker, scope) for taker in takers):
                return None
    return takers[0] if takers else None


def _looks_at(rule: Rule, scope: Scope | None) -> bool:
    """Whether it is a rule of this section. Only rules of one section can shadow each other."""
    return scope in rule.on if scope is not None else not rule.on


_RELATIVE = re.compile(r"\*(?P<factor>0?\.[0-9]{1,6}) +floor +(?P<floor>.+)")
_BARE = frozenset({ActionKind.SUSPEND, ActionKind.DEFER, ActionKind.FAIL, ActionKind.ALERT})


def parse_action(text: str) -> RuleAction:
    """Such as `suspend`, `rate *0.5 floor 6/1m`, `connections =1`. ValueError with the reason."""
    word, _, rest = " ".join(text.lower().split()).partition(" ")
    try:
        kind = ActionKind(word)
    except ValueError:
        raise ValueError(f"is not an action: {', '.join(ActionKind)}") from None
    if kind in _BARE:
        if rest:
            raise ValueError(f"{kind} takes nothing more")
        return RuleAction(kind)
    if kind is ActionKind.RETRY:
        return RuleAction(kind, value=parse_span(rest))
    if rest.startswith("="):
        return RuleAction(kind, value=_amount(kind, rest[1:].strip()))
    match = _RELATIVE.fullmatch(rest)
    if match is None or not float(match["factor"]):
        raise ValueError(f"is not `{kind} *FACTOR floor LEAST`, with a factor below 1, or `{kind} =VALUE`")
    return RuleAction(kind, float(match["factor"]), _amount(kind, match["floor"]))


def _amount(kind: ActionKind, text: str) -> int | RateLimit:
    if kind is ActionKind.RATE:
        return parse_rate(text)
    number = whole_number(text)
    if number is None or not 1 <= number <= 10**6:
        raise ValueError("has a number that is not from 1 to 1000000")
    return number


def parse_trigger(text: str) -> RuleTrigger:
    """`N/T`, or `1` for every match. ValueError with the reason."""
    if text == "1":
        return RuleTrigger()
    number, _, span = text.partition("/")
    count = whole_number(number)
    if count is None or not 1 <= count <= 1000:
        raise ValueError("is not a number of matches from 1 to 1000 and a time, such as 2/10m")
    return RuleTrigger(count, parse_span(span))


_SPAN = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>[smhd])")
_LONGEST = 30 * 86_400


def parse_span(text: str) -> float:
    """A time such as 30s, 5m, 2h or 1d, in seconds. ValueError with the reason."""
    match = _SPAN.fullmatch(text.strip().lower())
    seconds = int(match["number"]) * UNITS[match["unit"]] // SECOND if match else 0
    if not 1 <= seconds <= _LONGEST:
        raise ValueError("is not a time such as 30s, 5m, 2h or 1d, from 1s to 30d")
    return float(seconds)
