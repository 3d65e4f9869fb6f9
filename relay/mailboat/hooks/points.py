"""The table of hook points: when each is called, its arguments, and the permitted answers. Pure.

Every answer is checked against it, and the table of docs/hooks.md is generated from it. An answer that is not in the
table is a failure of the plugin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from mailboat.hooks.codes import Code
from mailboat.hooks.mx import Mx

MAX_SECONDS = 366 * 86400.0
"""Longest delay that a plugin may request: a longer one is probably a wrong unit."""


class Point(StrEnum):
    """The points at which the functions `hook_POINT` of plugins are called."""

    CONNECT = "connect"
    EHLO = "ehlo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA_POST = "data_post"
    QUEUE_OUTBOUND = "queue_outbound"
    PRE_SEND_TRANS_EMAIL = "pre_send_trans_email"
    QUEUE_OK = "queue_ok"
    SEND_EMAIL = "send_email"
    GET_MX = "get_mx"
    DEFERRED = "deferred"
    BOUNCE = "bounce"
    DELIVERED = "delivered"


class Value(StrEnum):
    """The kinds of values with a code."""

    NOTHING = ""
    TEXT = "text"
    """Text, or none."""
    SECONDS = "seconds"
    NEXT_HOPS = "mx"
    """Whatever `Mx.of` takes, or a list of it in the order to try them."""


@dataclass(frozen=True, slots=True)
class PointFacts:
    """One row of the table."""

    when: str
    """For the documentation."""
    parameters: tuple[str, ...]
    """The positional arguments of a hook, in order."""
    answers: Mapping[Code, Value]
    """The permitted answers, each with the kind of its value. CONT, without a value, is always permitted."""
    effects: Mapping[Code, str] = field(default_factory=dict)
    """The effect of each answer, for the documentation."""
    failure: Code = Code.CONT
    """The code that a failure of a plugin counts as."""
    choice_of_failure: bool = False
    """Whether a plugin may choose another one (`register_hook(on_failure=)`)."""
    ok_goes_on: bool = False
    """Where several points follow each other, OK continues with the next one."""


_REFUSALS = {
    Code.DENY: Value.TEXT,
    Code.DENYSOFT: Value.TEXT,
    Code.DENYDISCONNECT: Value.TEXT,
    Code.DENYSOFTDISCONNECT: Value.TEXT,
}
_GATE = MappingProxyType({Code.OK: Value.TEXT, **_REFUSALS})
_NOTED = MappingProxyType({Code.OK: Value.NOTHING})
_REFUSED = {
    Code.DENY: "550",
    Code.DENYSOFT: "450",
    Code.DENYDISCONNECT: "550, and the connection is closed",
    Code.DENYSOFTDISCONNECT: "450, and the connection is closed",
}
_NO_EFFECT = {Code.OK: "ends the chain, without other effect"}


def _gate(when: str, parameters: tuple[str, ...], ok: str, *, ok_goes_on: bool = False) -> PointFacts:
    answers = {Code.OK: ok, **_REFUSED}
    return PointFacts(when, parameters, _GATE, answers, choice_of_failure=True, ok_goes_on=ok_goes_on)


POINTS: Mapping[Point, PointFacts] = MappingProxyType(
    {
        Point.CONNECT: PointFacts(
            "a client has connected; before the greeting",
            ("connection",),
            _GATE,
            {
                Code.OK: "the client is greeted",
                Code.DENY: "554, and the connection is closed",
                Code.DENYSOFT: "421, and the connection is closed",
                Code.DENYDISCONNECT: "as `DENY`",
                Code.DENYSOFTDISCONNECT: "as `DENYSOFT`",
            },
            choice_of_failure=True,
        ),
        Point.EHLO: _gate("EHLO or HELO", ("connection", "name"), "250"),
        Point.AUTH: PointFacts(
            "the credentials of AUTH are complete",
            ("connection", "attempt"),
            _GATE,
            {
                Code.OK: "235: authenticated, and may relay",
                Code.DENY: "535",
                Code.DENYSOFT: "454",
                Code.DENYDISCONNECT: "535, and the connection is closed",
                Code.DENYSOFTDISCONNECT: "454, and the connection is closed",
            },
            failure=Code.DENYSOFT,
        ),
        Point.MAIL: _gate("MAIL FROM", ("connection", "address", "params"), "250"),
        Point.RCPT: _gate("RCPT TO", ("connection", "address", "params"), "250: accepted without asking who may relay"),
        Point.DATA_POST: _gate("the whole message has been received", ("connection",), "continues", ok_goes_on=True),
        Point.QUEUE_OUTBOUND: _gate(
            "before the message is queued", ("connection",), "250: a plugin has queued it; the relay does not"
        ),
        Point.PRE_SEND_TRANS_EMAIL: PointFacts(
            "the last opportunity to change the header, also of bounces and of messages from plugins",
            ("connection",),
            _NOTED,
            _NO_EFFECT,
        ),
        Point.QUEUE_OK: PointFacts(
            "the message is on stable storage, before 250", ("connection", "text"), _NOTED, _NO_EFFECT
        ),
        Point.SEND_EMAIL: PointFacts(
            "an attempt is about to begin",
            ("hmail",),
            MappingProxyType({Code.OK: Value.NOTHING, Code.DELAY: Value.SECONDS}),
            {
                Code.OK: "the attempt begins",
                Code.DELAY: "the attempt is delayed by this many seconds; no attempt is counted",
            },
            ok_goes_on=True,
        ),
        Point.GET_MX: PointFacts(
            "before the next hops are looked up",
            ("hmail", "domain"),
            MappingProxyType({Code.OK: Value.NEXT_HOPS, Code.DENY: Value.TEXT, Code.DENYSOFT: Value.TEXT}),
            {
                Code.OK: "these next hops in this order, and no others",
                Code.DENY: "bounces with 5.1.2",
                Code.DENYSOFT: "is deferred with 4.1.2",
            },
            failure=Code.DENYSOFT,
        ),
        Point.DEFERRED: PointFacts(
            "recipients failed temporarily; after the last attempt they bounce instead",
            ("hmail", "info"),
            MappingProxyType({Code.OK: Value.NOTHING, Code.DENYSOFT: Value.SECONDS}),
            {
                Code.OK: "they are dropped without a bounce message",
                Code.DENYSOFT: "retried after this many seconds",
            },
        ),
        Point.BOUNCE: PointFacts(
            "recipients failed permanently", ("hmail", "error"), _NOTED, {Code.OK: "no bounce message is sent"}
        ),
        Point.DELIVERED: PointFacts(
            "recipients were delivered, and the delivery is recorded", ("hmail", "params"), _NOTED, _NO_EFFECT
        ),
    }
)


class InvalidAnswerError(ValueError):
    """An answer that the point does not accept; the message says why."""


def parse_answer(point: Point, answer: object) -> tuple[Code, Any]:
    """The code and value of an answer, the value as defined by `Decision`. Raises InvalidAnswerError."""
    if isinstance(answer, Code):
        code, value = answer, None
    elif isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], Code):
        code, value = answer
    else:
        raise InvalidAnswerError(f"{_shown(answer)} is neither a code nor a code with a value")
    if code is Code.CONT:
        return code, None
    kind = POINTS[point].answers.get(code)
    if kind is None:
        raise InvalidAnswerError(f"{code.value} is not an answer of {point}")
    try:
        return code, _READERS[kind](value)
    except InvalidAnswerError:
        raise
    except Exception as error:  # the value is a plugin's, whose code may run when it is read
        raise InvalidAnswerError(f"{_shown(value)} cannot be read: {type(error).__name__}") from error


def _nothing(value: object) -> None:
    """A string is ignored, because Haraka's plugins sometimes pass one."""
    if value is not None and not isinstance(value, str):
        raise InvalidAnswerError(f"{_shown(value)} is given with a code that takes no value")


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InvalidAnswerError(f"{_shown(value)} is not a string")


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidAnswerError(f"{_shown(value)} is not a number of seconds")
    if not 0 <= value <= MAX_SECONDS:  # false of a NaN too
        raise InvalidAnswerError(f"{value!r:.60} s is not between 0 and {MAX_SECONDS:.0f}")
    return float(value)


def _next_hops(value: object) -> tuple[Mx, ...]:
    items = value if isinstance(value, list | tuple) else [value]
    if not items:
        raise InvalidAnswerError("the list of next hops is empty")
    try:
        return tuple(Mx.of(item) for item in items)
    except ValueError as error:
        raise InvalidAnswerError(str(error)) from None


_READERS: Mapping[Value, Callable[[object], Any]] = {
    Value.NOTHING: _nothing,
    Value.TEXT: _text,
    Value.SECONDS: _seconds,
    Value.NEXT_HOPS: _next_hops,
}


def _shown(value: object) -> str:
    """A plugin's value in a message: its type, because its repr may be long, secret or fail."""
    return f"a value of type {type(value).__name__}"
