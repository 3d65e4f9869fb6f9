"""What a client says in AUTH with an access token."""

from __future__ import annotations

from mailboat.smtp.sasl_client import SASL_CLIENTS


def said(mechanism: str, user: str, token: str) -> list[bytes]:
    """The responses to empty challenges."""
    client = SASL_CLIENTS[mechanism]
    assert client.initial
    return [respond(b"") for respond in client.responses(user.encode(), token.encode())]


def test_xoauth2_sends_user_and_token_and_an_empty_line_to_the_reason_of_a_failure() -> None:
    # The example of Google's description of the protocol.
    assert said("XOAUTH2", "someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg") == [
        b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01",
        b"",
    ]


def test_oauthbearer_sends_what_rfc_7628_says_and_x01_to_the_reason_of_a_failure() -> None:
    assert said("OAUTHBEARER", "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==") == [
        b"n,a=user@example.com,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01",
        b"\x01",
    ]


def test_oauthbearer_escapes_commas_and_equals_signs_of_a_name() -> None:
    assert said("OAUTHBEARER", "a,b=c", "t")[0] == b"n,a=a=2Cb=3Dc,\x01auth=Bearer t\x01\x01"  # RFC 5801 4
