"""LIMITS (RFC 9422), as a peer announces it and as the relay does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.smtp.extensions import LIMITS, Offers
from mailboat.smtp.extensions.limits import AnnouncedLimits, limits_of


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (None, AnnouncedLimits()),
        ("", AnnouncedLimits()),
        ("RCPTMAX=100", AnnouncedLimits(None, 100)),
        ("MAILMAX=999999 RCPTMAX=1 RCPTDOMAINMAX=5", AnnouncedLimits(999_999, 1)),
        ("FUTURE=A:B LONELY MAILMAX=7", AnnouncedLimits(7, None)),
    ],
)
def test_limits_that_are_known_are_read_and_others_skipped(value: str | None, limits: AnnouncedLimits) -> None:
    assert limits_of(value) == limits


@pytest.mark.parametrize(
    "bad",
    ["RCPTMAX", "RCPTMAX=", "RCPTMAX=0", "RCPTMAX=010", "RCPTMAX=-1", "RCPTMAX=1000000", "MAILMAX=1E3", "=5", "A=B;C"],
)
def test_a_malformed_line_says_nothing(bad: str) -> None:
    assert limits_of(f"MAILMAX=5 {bad}") == AnnouncedLimits()


@given(st.text())
def test_whatever_a_peer_says_no_limit_is_below_1(value: str) -> None:
    limits = limits_of(value.upper())
    assert all(limit is None or limit >= 1 for limit in (limits.transactions, limits.recipients))


@pytest.mark.parametrize(("most", "offered"), [(0, False), (1, True), (999_999, True), (1_000_000, False)])
def test_the_relay_announces_what_it_enforces_if_the_grammar_can_say_it(most: int, offered: bool) -> None:
    offers = Offers(1000, max_recipients=most)
    assert LIMITS.offered(offers) is offered
    assert LIMITS.value(offers) == f"RCPTMAX={most}"
