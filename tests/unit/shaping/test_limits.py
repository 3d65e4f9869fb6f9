"""The values of limits, with what they are counted over."""

from __future__ import annotations

import pytest

from mailboat.shaping.limits import Each, Limit, LimitKey, Per, parse_limit
from mailboat.shaping.rate import SECOND, RateLimit


@pytest.mark.parametrize(
    ("key", "text", "limit"),
    [
        (LimitKey.CONNECTIONS, "10", Limit(10)),
        (LimitKey.CONNECTIONS, "10 per site", Limit(10, Per.SITE)),
        (LimitKey.CONNECTIONS, "2 per address all sources each pod", Limit(2, Per.ADDRESS, True, Each.POD)),
        (LimitKey.CONNECTIONS, "none", Limit(None)),
        (LimitKey.RATE, "30/1m", Limit(RateLimit(30, 60 * SECOND))),
        (LimitKey.RATE, "30/1m burst 5 per host", Limit(RateLimit(30, 60 * SECOND, 5), Per.HOST)),
        (LimitKey.RATE, "30/1m each worker", Limit(RateLimit(30, 60 * SECOND), each=Each.WORKER)),
    ],
)
def test_limits_are_read_and_shown(key: LimitKey, text: str, limit: Limit) -> None:
    assert parse_limit(key, text) == limit
    assert str(limit) == text
    assert parse_limit(key, text.upper().replace("1M", "1m")) == limit


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0", "is not a whole number from 1"),
        ("", "is not a whole number from 1"),
        ("-1", "is not a whole number from 1"),
        ("1/1m", "is not a whole number from 1"),
        ("10 per sites", "has an unknown suffix: write per site or per domain or per host or per address"),
        ("10 per site per host", "has `per` twice"),
        ("10 each", "has an unknown suffix: write each pod or each worker"),
        ("none per site", "is no limit"),
    ],
)
def test_what_is_no_number_of_connections_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}"):
        parse_limit(LimitKey.CONNECTIONS, text)
