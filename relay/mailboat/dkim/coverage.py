"""Which header fields a signature covers (RFC 6376 5.4). Pure.

A field that is listed once more than it is there cannot be added later without breaking the signature: readers show the
first `Subject`, say, and a verifier that finds one signed and one not still says "pass" (RFC 6376 8.15).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

ALWAYS: Final = ("From", "To", "Cc", "Subject", "Date", "Reply-To")
"""Listed once more than they are there, also when they are not there at all."""
WHEN_PRESENT: Final = (
    "Sender",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",  # RFC 8058 4: must be covered
    "CFBL-Address",
    "CFBL-Feedback-ID",
    "TLS-Required",
    "Auto-Submitted",
    "TLS-Report-Domain",  # RFC 8460 5.3: must be covered
    "TLS-Report-Submitter",
)
"""Listed once more than they are there, if they are."""
AS_PRESENT: Final = (
    "Content-ID",
    "Content-Description",
    "Resent-From",
    "Resent-To",
    "Resent-Cc",
    "Resent-Date",
    "Resent-Sender",
    "Resent-Message-ID",
    "List-Id",
    "List-Help",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Autocrypt",
)
"""Listed as often as they are there: mailing lists add them, and should be able to."""
NEVER: Final = frozenset(("return-path", "received", "dkim-signature", "authentication-results", "bcc", "delivered-to"))
"""Fields that change on the way (RFC 6376 5.4.1), and those of others' signatures; so are `ARC-` and `X-` fields."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """Names of fields by how they are covered; compared without case."""

    always: tuple[str, ...] = ALWAYS
    when_present: tuple[str, ...] = WHEN_PRESENT
    as_present: tuple[str, ...] = AS_PRESENT

    def names(self, fields: Iterable[bytes]) -> list[str]:
        """What `h=` lists for a header with these fields."""
        present = Counter(name_of(field) for field in fields)
        listed: list[str] = []
        for name in self.always:
            listed += [name] * (present.get(name.lower(), 0) + 1)
        for name in self.when_present:
            if count := present.get(name.lower()):
                listed += [name] * (count + 1)
        for name in self.as_present:
            listed += [name] * present.get(name.lower(), 0)
        return listed


def may_be_covered(name: str) -> bool:
    """Whether a configuration may name this field: not one that changes on the way."""
    lower = name.lower()
    return lower not in NEVER and not lower.startswith(("arc-", "x-"))


def name_of(field: bytes) -> str:
    """A field's name in lower case."""
    return field.partition(b":")[0].rstrip(b" \t").decode("latin-1").lower()


def covered(fields: Sequence[bytes], names: Iterable[str]) -> Iterator[bytes]:
    """The fields that `h=` means, in its order: of a name the last first; a missing one is nothing (RFC 6376 5.4.2)."""
    left: dict[str, list[bytes]] = {}
    for field in fields:
        left.setdefault(name_of(field), []).append(field)
    for name in names:
        if same := left.get(name.strip().lower()):
            yield same.pop()
