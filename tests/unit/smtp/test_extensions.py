"""What each service extension takes from a client, says to a peer, and finds that a peer cannot take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.attempts import make_entry

from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.envelope import Message
from mailboat.smtp.extensions import EXTENSIONS, SIZE, Offers, mail_parameters, rcpt_parameters, size
from mailboat.smtp.extensions.smtputf8 import needs_smtputf8
from mailboat.smtp.grammar import GrammarError

UMLAUT = Address("jürgen", "bücher.test", "xn--bcher-kva.test")
PLAIN = Offers(1000)
WITH_AUTH = replace(PLAIN, auth=())


def test_each_keyword_and_each_parameter_belongs_to_one_extension() -> None:
    for names in (
        [e.keyword for e in EXTENSIONS],
        [keyword for e in EXTENSIONS for keyword in e.mail],
        [keyword for e in EXTENSIONS for keyword in e.rcpt],
    ):
        assert len(set(names)) == len(names)
        assert all(name == name.upper() for name in names)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("SIZE=0012 body=8bitmime SMTPUTF8", {"SIZE": "12", "BODY": "8BITMIME", "SMTPUTF8": ""}),
        ("SIZE=0 BODY=7bit", {}),
        (f"SIZE={'9' * 20}", {"SIZE": "9" * 20}),
        ("AUTH=<>", {}),
        ("AUTH=a+2Bb@c.test SIZE=1", {"SIZE": "1"}),
    ],
)
def test_what_is_kept_of_the_parameters_of_mail(text: str, kept: dict[str, str]) -> None:
    assert mail_parameters(text, WITH_AUTH) == kept


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        *((f"SIZE={bad}", "501 5.5.4") for bad in ("", "-1", "1e3", "9" * 21, "\u0663")),
        ("SIZE", "501 5.5.4"),
        ("BODY", "501 5.5.4"),
        ("BODY=BINARYMIME", "501 5.5.4"),
        ("SMTPUTF8=yes", "501 5.5.4"),
        ("SIZE=1 SIZE=1", "501 5.5.4"),
        ("AUTH=", "501 5.5.4"),
        ("AUTH=a+b", "501 5.5.4"),
        ("DELIVERBY=1", "555 5.5.4 Parameter not recognized: DELIVERBY"),
    ],
)
def test_a_bad_value_is_refused_with_501_and_a_parameter_that_is_not_offered_with_555(text: str, reply: str) -> None:
    with pytest.raises(GrammarError) as refused:
        mail_parameters(text, WITH_AUTH)
    assert refused.value.reply.startswith(reply)


def test_auth_at_mail_is_not_recognized_where_nobody_can_authenticate() -> None:
    with pytest.raises(GrammarError, match=r"^555 5\.5\.4 "):
        mail_parameters("AUTH=<>", PLAIN)


def test_rcpt_takes_no_parameter_of_mail() -> None:
    with pytest.raises(GrammarError, match=r"^555 5\.5\.4 .*: SIZE$"):
        rcpt_parameters("SIZE=1", PLAIN)


@pytest.mark.parametrize(
    ("value", "limit"), [("1000", 1000), ("0", None), ("", None), ("MANY", None), ("9" * 30, None)]
)
def test_the_largest_message_that_a_peer_takes(value: str, limit: int | None) -> None:
    assert size.limit_of(value) == limit


@pytest.mark.parametrize(("value", "fits"), [("28", False), ("29", True), ("0", True), (None, True)])
def test_a_message_larger_than_the_peer_takes_does_not_fit(value: str | None, fits: bool) -> None:
    entry = make_entry()
    assert entry.message.size == 29
    assert SIZE.fit is not None
    misfit = SIZE.fit(entry.message, entry.recipients, lambda: b"", host="mx.test", value=value)
    assert (misfit is None) == fits


@pytest.mark.parametrize(
    ("sender", "smtputf8", "head", "needs"),
    [
        (NULL_SENDER, True, b"Subject: plain\r\n\r\n\xff", False),
        (NULL_SENDER, True, b"Subject: \xc3\xbc\r\n\r\n", True),
        (NULL_SENDER, True, b"Subject: \xc3\xbc never ends", True),
        (NULL_SENDER, False, b"Subject: \xc3\xbc\r\n\r\n", False),
        (UMLAUT, True, b"Subject: plain\r\n\r\n", True),
        (UMLAUT, False, b"Subject: plain\r\n\r\n", True),
    ],
)
def test_smtputf8_is_needed_for_what_is_beyond_ascii_in_sender_and_header(
    sender: Address, smtputf8: bool, head: bytes, needs: bool
) -> None:
    assert needs_smtputf8(Message("id", sender, 7, 0.0, {"SMTPUTF8": ""} if smtputf8 else {}), head) is needs


def test_requiretls_is_a_keyword_alone_and_only_inside_tls() -> None:
    inside = replace(PLAIN, requiretls=True)
    assert mail_parameters("requiretls", inside) == {"REQUIRETLS": ""}
    for text, offers, reply in (
        ("REQUIRETLS=1", inside, "501 5.5.4"),
        ("REQUIRETLS requiretls", inside, "501 5.5.4"),
        ("REQUIRETLS", replace(PLAIN, requiretls=False), "530 5.7.10"),
        ("REQUIRETLS", PLAIN, "555 5.5.4"),
    ):
        with pytest.raises(GrammarError) as refused:
            mail_parameters(text, offers)
        assert refused.value.reply.startswith(reply)
