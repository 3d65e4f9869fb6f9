"""What a TXT record makes of a key, in words that say what to do."""

from __future__ import annotations

import pytest

from mailboat.dkim.keys import Algorithm, SigningKey, make_key
from mailboat.dkim.record import Publication, judge

KEY = SigningKey("example.com", "mb", make_key(Algorithm.RSA))


@pytest.mark.parametrize("octets", [7, 255, len(KEY.record) - 1])
def test_a_record_that_was_cut_is_a_mismatch_and_the_advice_says_where(octets: int) -> None:
    """A provider that takes one string only, or everything behind a semicolon for a comment."""
    finding = judge(KEY, [KEY.record[:octets]])

    assert finding.publication is Publication.MISMATCH
    assert f"ends after {octets} of {len(KEY.record)} octets" in finding.advice
