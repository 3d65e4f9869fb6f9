"""TLS requirements without the DNS: for checks that have all that they need."""

from __future__ import annotations

from functools import partial
from typing import cast

from mailboat.routing import security, subject
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.subject import Lookups, TlsPolicy

Subject = partial(subject.Subject, lookups=cast("Lookups", None))
"""A target about which nothing can be looked up."""


def requirement(policy: TlsPolicy, about: subject.Subject) -> TlsRequirement:
    """`security.requirement`, which must come to its end without waiting: there is no event loop."""
    try:
        security.requirement(policy, about).send(None)
    except StopIteration as end:
        found: TlsRequirement = end.value
        return found
    raise AssertionError("a check waits")
