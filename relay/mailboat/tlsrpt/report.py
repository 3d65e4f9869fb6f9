"""The report on a domain and day: its JSON, its id, its file name, and when it is sent (RFC 8460 4, 5.1). Pure."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from mailboat.tlsrpt.results import DAY, ReportedPolicy, TlsCount, TlsFailure

SPREAD: Final = 4 * 3600
"""Seconds after midnight within which reports are sent, so that one receiver does not get all of them at once
(RFC 8460 4.1)."""

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9.-]")


@dataclass(frozen=True, slots=True)
class TlsReport:
    """The report of one sender on one domain and day."""

    organization: str
    contact: str
    sender: str
    """The domain that sends it."""
    host: str
    """This relay's name: others of the same sender may report on the same domain and day."""
    domain: str
    """What it is about: the recipients' domain."""
    day: int
    """Days since the epoch."""
    counts: Sequence[TlsCount]

    @property
    def id(self) -> str:
        """The same each time the report is made."""
        digest = hashlib.sha256(f"{self.sender}\0{self.host}\0{self.domain}\0{self.day}".encode()).hexdigest()
        return f"{day_text(self.day)}.{digest[:32]}@{self.sender}"

    @property
    def file_name(self) -> str:
        """RFC 8460 5.1; the unique id is this relay's name."""
        begin = self.day * DAY
        parts = (self.sender, self.domain, str(begin), str(begin + DAY - 1), self.host)
        return "!".join(_NOT_IN_NAMES.sub("-", part) for part in parts) + ".json.gz"

    @property
    def json(self) -> bytes:
        """The report (RFC 8460 4.4)."""
        begin = day_text(self.day)
        return orjson.dumps(
            {
                "organization-name": self.organization,
                "date-range": {"start-datetime": f"{begin}T00:00:00Z", "end-datetime": f"{begin}T23:59:59Z"},
                "contact-info": self.contact,
                "report-id": self.id,
                "policies": [_of_policy(policy, self.counts) for policy in _policies(self.counts)],
            }
        )

    @property
    def compressed(self) -> bytes:
        """The JSON in gzip form, the same octets each time."""
        return gzip.compress(self.json, mtime=0)


def day_text(day: int) -> str:
    """A day as `YYYY-MM-DD`."""
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()


def day_from(text: str) -> int:
    """The day that `YYYY-MM-DD` names. Raises ValueError."""
    if _DAY.fullmatch(text):
        with contextlib.suppress(ValueError):
            return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) // DAY
    raise ValueError("is not a day such as 2026-01-31")


def due_at(day: int, domain: str, host: str) -> float:
    """When the report of a day is sent, seconds since the epoch: within `SPREAD` after its end, by a hash."""
    digest = hashlib.sha256(f"{domain}\0{host}".encode()).digest()
    return float((day + 1) * DAY + int.from_bytes(digest[:8]) % SPREAD)


def _policies(counts: Iterable[TlsCount]) -> list[ReportedPolicy]:
    return sorted({count.result.policy for count in counts})


def _of_policy(policy: ReportedPolicy, counts: Iterable[TlsCount]) -> dict[str, Any]:
    of_policy = [count for count in counts if count.result.policy == policy]
    failures = [(count.result.failure, count.sessions) for count in of_policy if count.result.failure is not None]
    failed = sum(sessions for _, sessions in failures)
    told: dict[str, Any] = {
        "policy": _policy(policy),
        "summary": {
            "total-successful-session-count": sum(count.sessions for count in of_policy) - failed,
            "total-failure-session-count": failed,
        },
    }
    if failures:
        told["failure-details"] = [_details(failure, sessions) for failure, sessions in sorted(failures)]
    return told


def _policy(policy: ReportedPolicy) -> dict[str, Any]:
    told: dict[str, Any] = {"policy-type": policy.type.value}
    if policy.strings:
        told["policy-string"] = list(policy.strings)
    told["policy-domain"] = policy.domain
    if policy.mx_hosts:
        told["mx-host"] = list(policy.mx_hosts)  # erratum 6241: an array
    return told


def _details(failure: TlsFailure, sessions: int) -> dict[str, Any]:
    known = {
        "result-type": failure.result.value,
        "sending-mta-ip": failure.sending_ip,
        "receiving-mx-hostname": failure.mx,
        "receiving-ip": failure.receiving_ip,
        "failure-reason-code": failure.reason.value,
    }
    return {name: value for name, value in known.items() if value} | {"failed-session-count": sessions}
