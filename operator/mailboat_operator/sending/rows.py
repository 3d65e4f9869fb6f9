"""The keys of a SendingDomain as `status.keys` and `status.records` have them, read and written. Pure.

Records hold what rows do not: the text of a record, and whether the DNS shows it. A row that somebody has damaged is
left out: the Secret and the pods tell again what is there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from mailboat.dkim.keys import Algorithm, dns_name
from mailboat.dkim.record import strings_of
from mailboat_operator.sending.keys import ALGORITHMS, DomainKey, KeyState

_WORDS: Final = {algorithm: word for word, algorithm in ALGORITHMS.items()}
_OTHER_RSA: Final = "RSA"
"""Of keys that were brought, whatever their number of bits."""
_SEEN: Final[Mapping[bool | None, str]] = {True: "True", False: "False", None: "Unknown"}


def read_rows(status: Mapping[str, Any], domain: str) -> tuple[DomainKey, ...]:
    """The keys of a status."""
    records = {record.get("name"): record for record in status.get("records") or ()}
    rows = []
    for row in status.get("keys") or ():
        with contextlib.suppress(KeyError, ValueError, TypeError):
            rows.append(_read(row, records.get(dns_name(row["selector"], domain), {})))
    return tuple(rows)


def written_keys(keys: Iterable[DomainKey], domain: str) -> list[dict[str, Any]]:
    """`status.keys`."""
    return [dict(_key(key, domain)) for key in keys]


def written_records(
    keys: Iterable[DomainKey], domain: str, ttl: int, advice: Mapping[str, str]
) -> list[dict[str, Any]]:
    """`status.records`. `advice` says by selector what the DNS says instead, and what to do."""
    return [dict(_record(key, domain, ttl, advice.get(key.selector, ""))) for key in keys]


def missing_records(status: Mapping[str, Any], state: str) -> int:
    """How many keys in a state have a record that the DNS does not show as it should be."""
    unseen = {record.get("name") for record in status.get("records") or () if record.get("seen") == _SEEN[False]}
    return sum(key.get("state") == state and key.get("name") in unseen for key in status.get("keys") or ())


def instant(moment: datetime) -> str:
    """A time as the API has it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(row: Mapping[str, Any], record: Mapping[str, Any]) -> DomainKey:
    seen = {"True": True, "False": False}.get(record.get("seen", ""))
    since = _moment(row["since"])
    return DomainKey(
        selector=row["selector"],
        algorithm=ALGORITHMS.get(row["algorithm"], Algorithm.RSA),
        record=record.get("value", ""),
        public_hash=row["publicKeyHash"],
        created=_moment(row["createdAt"]),
        since=since,
        state=KeyState(row["state"]),
        signed=_moment_or_none(row.get("signedAt")),
        unused_since=_moment_or_none(row.get("unusedSince")),
        seen=seen,
        seen_at=_moment_or_none(record.get("seenAt")) if seen is not None else None,
        existing=row.get("existing") is True,
    )


def _key(key: DomainKey, domain: str) -> Iterator[tuple[str, Any]]:
    yield "name", dns_name(key.selector, domain)
    yield "selector", key.selector
    yield "algorithm", _OTHER_RSA if key.existing and key.algorithm is Algorithm.RSA else _WORDS[key.algorithm]
    yield "state", key.state.value
    yield "since", instant(key.since)
    yield "createdAt", instant(key.created)
    if key.seen and key.seen_at:
        yield "publishedAt", instant(key.seen_at)
    if key.signed:
        yield "signedAt", instant(key.signed)
    if key.unused_since:
        yield "unusedSince", instant(key.unused_since)
    yield "publicKeyHash", key.public_hash
    if key.existing:
        yield "existing", True


def _record(key: DomainKey, domain: str, ttl: int, advice: str) -> Iterator[tuple[str, Any]]:
    name = dns_name(key.selector, domain)
    yield "name", name
    yield "type", "TXT"
    yield "value", key.value
    yield "zoneLine", f"{name}. {ttl} IN TXT {strings_of(key.value)}"
    yield "seen", _SEEN[key.seen]
    if key.seen_at:
        yield "seenAt", instant(key.seen_at)
    if advice:
        yield "message", advice


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)  # strptime takes ten times as long, and a thousand domains have many
    if found.tzinfo is None:
        raise ValueError(f"{text}: no time zone")
    return found.astimezone(UTC)


def _moment_or_none(text: str | None) -> datetime | None:
    return _moment(text) if text else None
