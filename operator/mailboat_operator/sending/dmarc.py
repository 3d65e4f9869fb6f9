"""Where a domain's DMARC policy is published (RFC 9989), and what is made of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from mailboat_operator.conditions import Verdict, short

_LABELS_MAX: Final = 7
"""Of the longest domain above the first one that is asked for: 8 names at most (RFC 9989 4.10)."""
_POLICY: Final = re.compile(r"v[ \t]*=[ \t]*DMARC1[ \t]*(?:;.*)?", re.DOTALL)
_STRICT: Final = re.compile(r";[ \t]*adkim[ \t]*=[ \t]*s[ \t]*(?:;|$)", re.IGNORECASE)
"""Only a d= equal to the domain of From is aligned (RFC 9989 4.7)."""


def policy_names(domain: str) -> Iterator[str]:
    """The names that may have the policy: that of the domain first, then those above it (RFC 9989 4.10)."""
    yield f"_dmarc.{domain}"
    labels = domain.split(".")[1:][-_LABELS_MAX:]
    for at in range(len(labels)):
        yield f"_dmarc.{'.'.join(labels[at:])}"


def is_policy(text: str) -> bool:
    """Whether a TXT record is a DMARC record (RFC 9989 4.7)."""
    return bool(_POLICY.fullmatch(text))


def dmarc_verdict(texts: tuple[str, ...] | str) -> Verdict:
    """The condition DMARCPresent; a text in place of the records says why the DNS gives none."""
    if isinstance(texts, str):
        return Verdict("Unknown", "DNSUnavailable", texts or "the DNS has not been asked yet")
    policies = list(filter(is_policy, texts))
    if not policies:
        return Verdict("False", "DMARCMissing", "publish a TXT record at _dmarc: v=DMARC1; p=none is a beginning")
    if len(policies) > 1:
        return Verdict("False", "DMARCMultiple", f"remove all but one of the {len(policies)} records: none counts")
    if _STRICT.search(policies[0]):
        # Its keys sign mail of domains below it with its own d=, which is aligned in relaxed mode only.
        note = "adkim=s: mail of a domain below it is not aligned, unless that has keys of its own"
        return Verdict("True", "DMARCPresent", short(f"{policies[0]}; {note}"))
    return Verdict("True", "DMARCPresent", policies[0])
