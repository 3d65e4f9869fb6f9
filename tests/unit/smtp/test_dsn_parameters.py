"""RET, ENVID, NOTIFY and ORCPT (RFC 3461 4): what is taken, what is kept, and what it means."""

from __future__ import annotations

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.smtp.extensions import Offers, dsn, mail_parameters, rcpt_parameters
from mailboat.smtp.grammar import GrammarError

OFFERS = Offers(1000)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("RET=full ENVID=QQ314159", {"RET": "FULL", "ENVID": "QQ314159"}),
        ("ret=HDRS", {"RET": "HDRS"}),
        ("ENVID=a+2Bb+3D+20c", {"ENVID": "a+2Bb+3D+20c"}),
        ("ENVID=" + "x" * 100, {"ENVID": "x" * 100}),
    ],
)
def test_parameters_of_mail_are_kept_as_they_were_encoded(said: str, kept: dict[str, str]) -> None:
    assert mail_parameters(said, OFFERS) == kept


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("NOTIFY=never", {"NOTIFY": "NEVER"}),
        ("NOTIFY=SUCCESS,failure,DELAY,SUCCESS", {"NOTIFY": "SUCCESS,FAILURE,DELAY,SUCCESS"}),
        ("ORCPT=rfc822;Bob+2Bx@there.test", {"ORCPT": "rfc822;Bob+2Bx@there.test"}),
        ("ORCPT=X-other;any+20thing", {"ORCPT": "X-other;any+20thing"}),
        ("ORCPT=utf-8;jürgen@bücher.test", {"ORCPT": r"utf-8;j\x{FC}rgen@b\x{FC}cher.test"}),
        (r"ORCPT=utf-8;j\x{FC}rgen@there.test", {"ORCPT": r"utf-8;j\x{FC}rgen@there.test"}),
    ],
)
def test_parameters_of_rcpt_are_kept_in_a_form_that_every_peer_takes(said: str, kept: dict[str, str]) -> None:
    assert rcpt_parameters(said, OFFERS) == kept


@pytest.mark.parametrize(
    "bad",
    [
        "RET", "RET=", "RET=BODY", "RET=FULL RET=HDRS", "ENVID", "ENVID=", "ENVID=a=b", "ENVID=a+2b", "ENVID=a+",
        "ENVID=ü", "ENVID=a+0D+0Ab", "ENVID=a+00", "ENVID=a+FF", "ENVID=" + "x" * 101,
    ],
)  # fmt: skip
def test_bad_parameters_of_mail_are_refused(bad: str) -> None:
    with pytest.raises(GrammarError, match=r"^501 5\.5\.4"):
        mail_parameters(bad, OFFERS)


@pytest.mark.parametrize(
    "bad",
    [
        "NOTIFY", "NOTIFY=", "NOTIFY=NEVER,FAILURE", "NOTIFY=SUCCESS,", "NOTIFY=ALWAYS", "ORCPT", "ORCPT=",
        "ORCPT=rfc822",
        "ORCPT=rfc822;", "ORCPT=;bob@there.test", "ORCPT=rfc822;b ob", "ORCPT=rfc822;jürgen", "ORCPT=rfc822;a+0D+0Ab",
        "ORCPT=utf-8;a+0A", "ORCPT=a=b;c", "ORCPT=rfc822;" + "x" * 494,
    ],
)  # fmt: skip
def test_bad_parameters_of_rcpt_are_refused(bad: str) -> None:
    with pytest.raises(GrammarError, match=r"^5(01|55) 5\.5\.4"):
        rcpt_parameters(bad, OFFERS)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=33), st.randoms())
def test_what_was_said_as_xtext_is_what_is_reported(text: str, chance: random.Random) -> None:
    """RFC 3461 4: each character may be encoded, and these must be."""
    xtext = "".join(f"+{ord(c):02X}" if c in "+= " or chance.random() < 0.5 else c for c in text)
    assert dsn.envelope_id(mail_parameters(f"ENVID={xtext}", OFFERS)) == text
    assert dsn.original_recipient(rcpt_parameters(f"ORCPT=x-any;{xtext}", OFFERS)) == f"x-any;{text}"


@given(st.text("abAB0189F+=;\\{}x\x00\xfc€", max_size=60), st.sampled_from(["rfc822", "utf-8", "UTF-8", "x"]))
def test_nothing_but_the_grammar_is_taken_and_what_it_means_is_one_line(text: str, kind: str) -> None:
    for parse, said, meant in (
        (mail_parameters, f"ENVID={text}", dsn.envelope_id),
        (rcpt_parameters, f"ORCPT={kind};{text}", dsn.original_recipient),
    ):
        with contextlib.suppress(GrammarError):
            assert meant(parse(said, OFFERS)).isprintable()


def test_an_original_recipient_that_is_too_long_in_the_form_that_every_peer_takes_is_refused() -> None:
    """RFC 3461 4.2: a peer may refuse more than 500 characters, and the mail would bounce."""
    assert len(rcpt_parameters(f"ORCPT=utf-8;{'ü' * 82}", OFFERS)["ORCPT"]) == 498
    with pytest.raises(GrammarError, match=r"501 5\.5\.4"):
        rcpt_parameters(f"ORCPT=utf-8;{'ü' * 83}", OFFERS)


@given(st.text(max_size=600))
def test_whatever_a_client_says_what_is_kept_cannot_break_a_command(value: str) -> None:
    for parse, command in (
        (mail_parameters, "ENVID"), (mail_parameters, "RET"), (rcpt_parameters, "ORCPT"), (rcpt_parameters, "NOTIFY"),
    ):  # fmt: skip
        try:
            kept = parse(f"{command}={value}", OFFERS)
        except GrammarError:
            continue
        assert all(said.isascii() and said.isprintable() and " " not in said for said in kept.values())


@pytest.mark.parametrize(
    ("notify", "success", "failure", "delay"),
    [
        *((None, False, True, None), ("NEVER", False, False, False), ("SUCCESS,DELAY", True, False, True)),
        *(("FAILURE", False, True, False), ("DELAY", False, False, True)),
    ],
)
def test_what_a_sender_wants_to_be_told(notify: str | None, success: bool, failure: bool, delay: bool | None) -> None:
    """`delay` None: it left that to the relay."""
    said = {} if notify is None else {"NOTIFY": notify}
    assert (dsn.wants_success(said), dsn.wants_failure(said)) == (success, failure)
    for unasked in (True, False):
        assert dsn.wants_delay(said, unasked=unasked) is (unasked if delay is None else delay)


def test_what_is_reported_is_decoded() -> None:
    assert dsn.envelope_id({"ENVID": "a+2Bb+20c"}) == "a+b c"
    assert dsn.original_recipient({"ORCPT": "rfc822;bob+2Bx@there.test"}) == "rfc822;bob+x@there.test"
    assert dsn.envelope_id({}) == dsn.original_recipient({}) == ""
