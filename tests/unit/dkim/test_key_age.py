"""The age of keys, by the day that their selectors name."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailboat.dkim.keys import Algorithm, SigningKey, make_key
from mailboat.dkim.signer import Signer, SigningDomain

KEY = make_key(Algorithm.ED25519)


def oldest(*domains: tuple[str, ...]) -> float | None:
    """The oldest day of domains with these selectors in use."""
    return Signer(
        {
            f"{number}.example": SigningDomain(tuple(SigningKey("example", selector, KEY) for selector in selectors))
            for number, selectors in enumerate(domains)
        }
    ).oldest_day


def test_the_oldest_day_of_all_domains_counts() -> None:
    found = oldest(("mb20261128r", "mb20261129e"), ("mb20251231r2",), ("s1",), ())
    assert found == datetime(2025, 12, 31, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("selector", ["s1", "mb-a", "mb20261328r", "mb120261128r", "mb202611281", "18990101"])
def test_a_selector_without_a_day_has_no_age(selector: str) -> None:
    assert oldest((selector,)) is None


def test_without_keys_there_is_none() -> None:
    assert oldest() is None
