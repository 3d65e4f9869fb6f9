"""The event log: one line a fact on standard output, as JSON for machines or aligned text for people.

docs/events.md describes the fields. Lines are made on the event loop (a few microseconds each) and written by
`writer`, so that a blocked reader of the log stalls nothing. Called through the observer interface; wired by `app`.

No line is longer than PIPE_BUF: several workers share one pipe, and only writes up to that size never mix there.
Long texts are clipped and long lists of recipients are spread over several lines for that reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from select import PIPE_BUF
from typing import Any

import orjson

from mailboat.metrics.rejections import RejectionLimit
from mailboat.metrics.text import text_line
from mailboat.metrics.writer import LineWriter
from mailboat.model.clock import Clock, SystemClock, rfc3339
from mailboat.model.envelope import Entry
from mailboat.model.observer import BounceResult, ConfigReloaded, Observer, OverrideFact, Received, Rejected
from mailboat.model.outcome import AttemptReport, Outcome, PeerFacts, Result
from mailboat.model.tls import VerifiedBy

Event = dict[str, Any]
Later = Callable[[float, Callable[[], None]], object]

_CLIP = 400
"""Longest text from a peer in a line, in characters."""
_RECIPIENT_BYTES = 1800
"""Octets for addresses in one line."""
_OMITTED_AFTER = 1.0
"""Seconds from the first omitted refusal to the line that counts them."""
_NO_PEER = PeerFacts()


class EventLog(Observer):
    """Writes each fact as a line."""

    def __init__(
        self, writer: LineWriter, *, text: bool = False, clock: Clock | None = None, later: Later = lambda *_: None
    ) -> None:
        """`text`: `--log-format=text`. `later` calls a function on the event loop after so many seconds."""
        self._writer = writer
        self._render: Callable[[Event], bytes] = text_line if text else json_line
        self._now = (clock or SystemClock()).now
        self._stamped = -1
        self._stamp = ""
        self._said_lost = 0
        self._later = later
        self._rejections = RejectionLimit()

    def received(self, fact: Received) -> None:
        message = fact.message
        recipients = fact.recipients
        shown = recipients if len(recipients) < 2 else next(_chunks(recipients))
        event: Event = {
            "time": self._time(),
            "event": "received",
            "id": message.id,
            "sender": _clip(str(message.sender)),
            "recipients": shown,
            "recipient_count": len(recipients),
            "size": message.size,
            "client": fact.client,
            "protocol": fact.protocol,
            "user": _clip(fact.user),
            "tenant": message.tenant,
        }
        if fact.signed_by:
            event["dkim"] = [{"d": by.domain, "s": by.selector, "a": by.algorithm} for by in fact.signed_by]
        self._tell(event)

    def rejected(self, fact: Rejected) -> None:
        waits = self._rejections.has_omitted
        if not self._rejections.allows(fact.reason, self._now()):
            if not waits:
                self._later(_OMITTED_AFTER, self.tell_omitted)
            return
        self._tell(
            {
                "time": self._time(),
                "event": "rejected",
                "reason": fact.reason,
                "client": fact.client,
                "reply": _clip(fact.reply),
                "sender": _clip(fact.sender),
                "recipient": _clip(fact.recipient),
            }
        )

    def tell_omitted(self) -> None:
        """Say how many refusals were left out since the last time."""
        for reason, count in self._rejections.pop_omitted().items():
            self._tell({"time": self._time(), "event": "rejected_omitted", "reason": reason, "count": count})

    def attempt_started(self, entry: Entry) -> None:
        self._tell(
            {
                "time": self._time(),
                "event": "attempt",
                "id": entry.message.id,
                "entry": entry.id,
                "domain": entry.domain,
                "recipient_count": len(entry.recipients),
                "attempt": entry.attempts + 1,
            }
        )

    def held_by_limit(self, entry: Entry, cause: str, until: float | None) -> None:
        self._tell(
            {
                "time": self._time(),
                "event": "held",
                "id": entry.message.id,
                "entry": entry.id,
                "domain": entry.domain,
                "recipient_count": len(entry.recipients),
                "held_by": cause,
                "until": None if until is None else rfc3339(until),
            }
        )

    def overridden(self, fact: OverrideFact) -> None:
        self._tell(
            {
                "time": self._time(),
                "event": "shaping.override",
                "result": "end" if fact.is_over else "begin",
                "id": fact.id,
                "scope": fact.scope,
                "source": fact.source,
                "action": fact.action,
                "why": fact.why,
                "matches": fact.matches,
                "reply": _clip(fact.reply),
                "until": rfc3339(fact.until),
            }
        )

    def attempted(self, entry: Entry, report: AttemptReport, remaining: Entry | None, delay: float | None) -> None:  # noqa: ARG002
        outcomes = report.outcomes
        if len(outcomes) == 1:
            self._outcome(entry, report, outcomes[0], [str(entry.recipients[0].address)], delay)
            return
        addresses = {recipient.id: str(recipient.address) for recipient in entry.recipients}
        for outcome, alike in _groups(outcomes):
            for chunk in _chunks([addresses.get(one.recipient, "") for one in alike]):
                self._outcome(entry, report, outcome, chunk, delay)

    def _outcome(
        self, entry: Entry, report: AttemptReport, outcome: Outcome, recipients: Sequence[str], delay: float | None
    ) -> None:
        message = entry.message
        peer = report.peer or _NO_PEER
        duration = report.duration
        event: Event = {
            "time": self._time(),
            "event": str(outcome.result),
            "id": message.id,
            "entry": entry.id,
            "sender": _clip(str(message.sender)),
            "recipients": recipients,
            "domain": entry.domain,
            "mx": outcome.mx or peer.host,
            "ip": peer.ip,
            "port": peer.port,
            "source": peer.source,
            "code": outcome.reply.code if outcome.reply else None,
            "enhanced": outcome.status,
            "reply": _clip(outcome.reason),
            "stage": str(outcome.stage),
            # Not negative after the clock was set back.
            "delay": max(0, int((report.started_at + duration - message.queued_at) * 1000)) / 1000,
            "duration": int(duration * 1000) / 1000,
            "tls": peer.tls_version or None,
            "tls_policy": report.tls_policy,
            "tls_level": report.tls_demand,
            "tls_verified": peer.tls_verified_by,
            "attempt": entry.attempts + report.counted,
        }
        if peer.tls_version:
            event["cipher"] = peer.tls_cipher
            event["verified"] = peer.tls_verified_by is not VerifiedBy.NONE
        if delay is not None and outcome.result is Result.DEFERRED:
            event["retry_in"] = round(delay, 3)
        if report.held_by:
            event["held_by"] = report.held_by
        if outcome.ambiguous:
            event["ambiguous"] = True
        self._tell(event)

    def bounce_message(self, entry: Entry, result: BounceResult) -> None:
        self._tell(
            {
                "time": self._time(),
                "event": "bounce_message",
                "id": entry.message.id,
                "entry": entry.id,
                "sender": _clip(str(entry.message.sender)),
                "result": result,
            }
        )

    def bind_failed(self, source: str) -> None:
        self._tell({"time": self._time(), "event": "bind_failed", "source": _clip(source)})

    def authentication_failed(self, host: str, reply: str) -> None:
        self._tell({"time": self._time(), "event": "authentication_failed", "mx": _clip(host), "reply": _clip(reply)})

    def config_reloaded(self, fact: ConfigReloaded) -> None:
        result = "failure" if fact.error else "success"
        self._tell(
            {
                "time": self._time(),
                "event": "config",
                "result": result,
                "hash": fact.hash,
                "error": _clip(fact.error),
            }
        )

    def _time(self) -> str:
        """Now, formatted again only when the millisecond has changed."""
        now = self._now()
        millisecond = int(now * 1000)
        if millisecond != self._stamped:
            self._stamped = millisecond
            self._stamp = rfc3339(now)
        return self._stamp

    def _tell(self, event: Event) -> None:
        line = self._render(event)
        if len(line) > PIPE_BUF:
            line = self._render(_shrunk(event))
        if self._writer.put(line) and self._writer.lost != self._said_lost:
            self._say_lost()

    def _say_lost(self) -> None:
        """Lines were lost and there is room again: write one line in place of all of them."""
        lost = self._writer.lost
        event = {"time": self._time(), "event": "events_dropped", "count": lost - self._said_lost}
        if self._writer.put(self._render(event)):
            self._said_lost = lost


def json_line(event: Event) -> bytes:
    """One event as JSON with its line feed."""
    try:
        return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # An octet that was not UTF-8 is a lone surrogate here, which JSON cannot represent.
        return orjson.dumps({key: _printable(value) for key, value in event.items()}, option=orjson.OPT_APPEND_NEWLINE)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_printable(one) for one in value]
    return value


def _clip(text: str) -> str:
    return text if len(text) <= _CLIP else text[: _CLIP - 1] + "…"


def _shrunk(event: Event) -> Event:
    """The event with truncated texts, for a line that is too long because of many escaped control characters."""
    return {
        key: value[:60] if isinstance(value, str) else [one[:60] for one in value[:4]] if key == "recipients" else value
        for key, value in event.items()
    }


def _groups(outcomes: Sequence[Outcome]) -> Iterator[tuple[Outcome, list[Outcome]]]:
    """Outcomes grouped by equal log lines, in the order of their first."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for one in outcomes:
        code = one.reply.code if one.reply else 0
        groups.setdefault((one.result, code, one.status, one.reason, one.mx, one.ambiguous), []).append(one)
    for alike in groups.values():
        yield alike[0], alike


def _chunks(recipients: Sequence[str]) -> Iterator[list[str]]:
    """The recipients in order, in pieces that fit a line; at least one piece, and one recipient a piece."""
    chunk: list[str] = []
    size = 0
    for recipient in recipients:
        address = _clip(recipient)
        needed = len(address.encode("utf-8", "replace")) + 3
        if chunk and size + needed > _RECIPIENT_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(address)
        size += needed
    yield chunk
