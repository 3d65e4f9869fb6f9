"""The TXT record and the policy of MTA-STS (RFC 8461 3.1, 3.2): each form that is valid, and each that is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailboat.model.sts import StsMode, StsPolicy
from mailboat.routing import sts
from mailboat.routing.sts import StsSyntaxError, read_policy, record_id

GOOD = "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: mx.example.com\n"


def policy(*lines: str) -> StsPolicy:
    return read_policy("\n".join(lines).encode())


def with_mx(*mx: str, mode: str = "enforce") -> StsPolicy:
    return policy("version: STSv1", f"mode: {mode}", "max_age: 86400", *(f"mx: {name}" for name in mx))


# The record.


@pytest.mark.parametrize(
    ("texts", "id_"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=a"], "a"),
        (["v=STSv1; \t id=a \t ; "], "a"),
        (["v=STSv1; other=x; id=abc; more=y"], "abc"),
        (["v=STSv1; id=" + "x" * 32], "x" * 32),
        (["v=spf1 -all", "v=STSv1; id=1", "text"], "1"),
        (["v=STSv1; id=first; id=second"], "first"),
    ],
)
def test_one_record_announces_a_policy(texts: list[str], id_: str) -> None:
    assert record_id(texts) == id_


@pytest.mark.parametrize(
    "texts",
    [
        [],
        [""],
        ["v=STSv1; id=1", "v=STSv1; id=1"],
        ["v=STSv1; id=1", "v=STSv1; broken"],
        ["v=STSv1"],
        ["v=STSv1 ; id=1"],
        ["V=STSv1; id=1"],
        ["v=stsv1; id=1"],
        [" v=STSv1; id=1"],
        ["v=STSv2; id=1"],
        ["v=STSv10; id=1"],
        ["v=STSv1; ID=1"],
        ["v=STSv1; id="],
        ["v=STSv1; id"],
        ["v=STSv1; id =1"],
        ["v=STSv1; id= 1"],
        ["v=STSv1; id=2016-08-31"],
        ["v=STSv1; id=" + "x" * 33],
        ["v=STSv1; id=\N{ARABIC-INDIC DIGIT ONE}"],
        ["v=STSv1; id=1\n"],
    ],
)
def test_no_record_several_or_an_invalid_one_announce_none(texts: list[str]) -> None:
    assert record_id(texts) == ""


@given(st.lists(st.text(max_size=80) | st.text(max_size=40).map(lambda text: "v=STSv1;" + text), max_size=4))
def test_no_record_raises_and_an_id_is_letters_and_digits(texts: list[str]) -> None:
    id_ = record_id(texts)
    assert id_ == "" or (id_.isascii() and id_.isalnum() and len(id_) <= 32)


# The policy.


def test_a_policy_is_read() -> None:
    assert read_policy(GOOD.encode()) == StsPolicy(StsMode.ENFORCE, 86400, ("mx.example.com",))


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.rstrip("\n"),
        GOOD + "\n\n",
        GOOD.replace(": ", ":"),
        GOOD.replace(": ", ": \t ").replace("\n", " \t\n"),
        "\n".join(reversed(GOOD.splitlines())),
        GOOD + "unknown: value\nnot a field\n: \nMX: other.example\n",
        GOOD + "mode: none\nmax_age: 1\nversion: STSv2\n",
        GOOD + "mx: mx.example.com\n",
    ],
    ids=[
        "crlf",
        "no-final-line-end",
        "blank-lines",
        "no-blanks",
        "blanks",
        "order",
        "unknown-keys",
        "twice",
        "mx-twice",
    ],
)
def test_other_spellings_of_a_policy_mean_the_same(body: str) -> None:
    assert read_policy(body.encode()) == read_policy(GOOD.encode())


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html><body>version: STSv1</body></html>",
        GOOD.replace("version: STSv1\n", ""),
        GOOD.replace("STSv1", "STSv2"),
        GOOD.replace("STSv1", "stsv1"),
        GOOD.replace("version", "Version"),
        GOOD.replace("mode: enforce\n", ""),
        GOOD.replace("enforce", "Enforce"),
        GOOD.replace("enforce", "report"),
        GOOD.replace("enforce", ""),
        GOOD.replace("max_age: 86400\n", ""),
        GOOD.replace("86400", ""),
        GOOD.replace("86400", "-1"),
        GOOD.replace("86400", "1e3"),
        GOOD.replace("86400", "86400s"),
        GOOD.replace("86400", "12345678901"),
        GOOD.replace("86400", "\N{ARABIC-INDIC DIGIT ONE}"),
        GOOD.replace("mx: mx.example.com\n", ""),
        GOOD.replace("mx: mx.example.com\n", "").replace("enforce", "testing"),
        "\N{ZERO WIDTH NO-BREAK SPACE}" + GOOD,
        GOOD.replace("\n", "\r"),
        GOOD + "".join(f"mx: mx{n}.example.com\n" for n in range(sts.MAX_MX)),
    ],
)
def test_an_invalid_policy_is_refused(body: str) -> None:
    with pytest.raises(StsSyntaxError):
        read_policy(body.encode())


@pytest.mark.parametrize(
    ("said", "meant"), [("0", 0), ("31557600", 31557600), ("31557601", 31557600), ("9999999999", 31557600)]
)
def test_max_age_is_at_most_a_year(said: str, meant: int) -> None:
    assert read_policy(GOOD.replace("86400", said).encode()).max_age == meant


def test_mode_none_needs_no_mx() -> None:
    assert with_mx(mode="none") == StsPolicy(StsMode.NONE, 86400)


@pytest.mark.parametrize(
    ("mx", "host", "matches"),
    [
        ("mx.example.com", "mx.example.com", True),
        ("MX.Example.COM.", "mx.example.com", True),
        ("mx.example.com", "a.mx.example.com", False),
        ("mx.example.com", "mx.example.org", False),
        ("mx_1.example.com", "mx_1.example.com", True),
        ("*.mx.example", "a.mx.example", True),
        ("*.mx.example", "mx.example", False),
        ("*.mx.example", "a.b.mx.example", False),
        ("*.MX.example.", "a.mx.example", True),
        ("*.example", "example", False),
        ("*.", "example", False),
        ("*", "example", False),
        ("mx.*.example", "mx.a.example", False),
        ("*.*.example", "a.b.example", False),
        ("m*.example", "mx.example", False),
        ("b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "xn--bcher-kva.example", True),
        ("*.b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example", "mx.xn--bcher-kva.example", True),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", True),
    ],
)
def test_a_pattern_matches_a_host_or_exactly_one_more_label(mx: str, host: str, matches: bool) -> None:
    assert with_mx(mx).matches(host) is matches


@pytest.mark.parametrize(
    "garbage", ["192.0.2.256:25", "<mx.example>", "[192.0.2.1]", "mx example", "", "\x00", "x" * 70_000]
)
def test_a_pattern_that_is_garbage_matches_nothing_and_the_others_stand(garbage: str) -> None:
    found = with_mx(garbage, "mx.example.com")
    assert found.mx == ("mx.example.com",)
    assert found.matches("mx.example.com")


def test_a_policy_of_garbage_alone_matches_no_host() -> None:
    assert not with_mx("<garbage>").matches("mx.example.com")


@given(st.binary(max_size=400) | st.text(max_size=200).map(lambda text: (GOOD + text).encode("utf-8", "replace")))
def test_no_body_raises_anything_else_and_what_is_read_is_bounded(body: bytes) -> None:
    try:
        found = read_policy(body)
    except StsSyntaxError:
        return
    assert 0 <= found.max_age <= sts.MAX_AGE
    assert len(found.mx) <= sts.MAX_MX
    assert all(name.isascii() and name.isprintable() and len(name) <= 255 for name in found.mx)


@given(st.lists(st.text(max_size=80), max_size=5), st.text(max_size=80))
def test_no_pattern_raises_and_one_matches_only_a_host_below_or_equal_to_it(mx: list[str], host: str) -> None:
    found = with_mx(*(text.replace("\n", "") for text in mx), "mx.example.com")
    if found.matches(host):
        assert host in found.mx or host.partition(".")[2] in {name[2:] for name in found.mx}
