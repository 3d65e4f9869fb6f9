"""Following references: what fits becomes a file, what does not is told by its name and never by its content."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.outbound_config import parsed, resolved, secret, secrets
from tests.support.pem import self_signed

from mailboat_operator.checks import RefReason, Sources, resolve
from mailboat_operator.observed import Source
from mailboat_operator.references import SourceKind

KEY, CERTIFICATE = self_signed("relay.example.com")
LOCKED, LOCKED_CERTIFICATE = self_signed("relay.example.com", b"secret")
OTHER_KEY, OTHER_CERTIFICATE = self_signed("other.example.com")
TLS = {"tls": {"certificateSecretRef": {"name": "tls"}}}
AUTH = {
    "routes": [
        {
            "name": "a",
            "domains": ["*"],
            "hosts": [{"host": "smtp.example.net"}],
            "authSecretRef": {"name": "auth"},
        }
    ]
}


def faults(spec: dict[str, Any], sources: Sources) -> list[tuple[RefReason, str]]:
    found, told = resolve(parsed(spec), sources)
    assert found is None
    return [(fault.reason, fault.message) for fault in told]


def test_a_pair_that_fits_becomes_two_files() -> None:
    found = resolved(parsed(TLS), secrets(tls=secret(tls__key=KEY, tls__crt=CERTIFICATE + OTHER_CERTIFICATE)))

    assert found.files == {"tls.key": KEY, "tls.crt": CERTIFICATE + OTHER_CERTIFICATE}
    assert found.tls_mark
    assert not found.route_mark


@pytest.mark.parametrize(
    ("source", "reason", "said"),
    [
        (None, RefReason.SECRET_NOT_FOUND, "Secret tls does not exist (spec.tls.certificateSecretRef)"),
        (secret(tls__crt=CERTIFICATE), RefReason.KEY_NOT_FOUND, "Secret tls has no key tls.key"),
        (secret(tls__key=KEY), RefReason.KEY_NOT_FOUND, "Secret tls has no key tls.crt"),
        (secret(tls__key=KEY, tls__crt="x"), RefReason.INVALID_CERTIFICATE, "tls.crt holds no PEM certificate"),
        (secret(tls__key="x", tls__crt=CERTIFICATE), RefReason.INVALID_CERTIFICATE, "tls.key holds no PEM private key"),
        (secret(tls__key=OTHER_KEY, tls__crt=CERTIFICATE), RefReason.INVALID_CERTIFICATE, "does not belong to the"),
        (secret(tls__key=LOCKED, tls__crt=LOCKED_CERTIFICATE), RefReason.INVALID_CERTIFICATE, "is encrypted"),
        (secret(tls__key=KEY, tls__crt=CERTIFICATE * 3000), RefReason.INVALID_CERTIFICATE, "is larger than 1 MiB"),
    ],
)
def test_a_pair_that_does_not_fit_is_told(source: Source | None, reason: RefReason, said: str) -> None:
    ((found, message),) = faults(TLS, secrets(tls=source))

    assert found is reason
    assert said in message


@pytest.mark.parametrize(
    ("user", "password", "said"),
    [
        (b"relay", b"", "password is empty"),
        (b"relay", b"\n", "password is empty"),
        (b"relay", b"two\nlines", "password has more than one line"),
        (b"relay", b"\xff", "password is not UTF-8 text"),
        (b"a\nauth_type=PLAIN", b"x", "username has more than one line"),
        (b" relay", b"x", "username begins or ends with a blank"),
        (b"relay\\", b"x", "or ends with a backslash"),
        (b"", b"x", "username is empty"),
    ],
)
def test_credentials_that_no_file_can_hold_are_told(user: bytes, password: bytes, said: str) -> None:
    ((reason, message),) = faults(AUTH, secrets(auth=secret(username=user, password=password)))

    assert reason is RefReason.INVALID_CREDENTIALS
    assert said in message
    assert "two" not in message


def test_credentials_that_fit_become_a_user_and_a_file() -> None:
    found = resolved(parsed(AUTH), secrets(auth=secret(username="relay\n", password=" ; [p] \n")))

    assert found.users == {"a": "relay"}
    assert found.files == {"route-a.password": b" ; [p] \n"}


def test_all_that_is_wrong_is_told_at_once() -> None:
    spec = {**TLS, **AUTH, "bounceMessage": {"configMapRef": {"name": "words"}}}

    assert [reason for reason, _ in faults(spec, {})] == [
        RefReason.SECRET_NOT_FOUND,
        RefReason.SECRET_NOT_FOUND,
        RefReason.CONFIG_MAP_NOT_FOUND,
    ]


def test_a_bundle_and_parameters_are_looked_at() -> None:
    spec = {"tls": {"caBundleRef": {"kind": "Secret", "name": "a"}, "dhparamSecretRef": {"name": "a"}}}
    found = faults(spec, secrets(a=secret(ca__crt="x", dhparam__pem="y")))

    assert [reason for reason, _ in found] == [RefReason.INVALID_CA_BUNDLE, RefReason.INVALID_DH_PARAMETERS]


def test_parameters_that_look_like_it_are_a_file() -> None:
    pem = b"-----BEGIN DH PARAMETERS-----\nMIIBCAKCAQEA\n-----END DH PARAMETERS-----\n"
    spec = parsed({"tls": {"dhparamSecretRef": {"name": "a"}}})

    assert resolved(spec, secrets(a=secret(dhparam__pem=pem))).files == {"dhparam.pem": pem}


@pytest.mark.parametrize(("html", "expected"), [(None, None), (b"<p>{reason}</p>", "<p>{reason}</p>")])
def test_the_html_of_a_bounce_message_may_be_missing(html: bytes | None, expected: str | None) -> None:
    data = {"outbound.bounce_message": b"Sorry"} | ({"outbound.bounce_message_html": html} if html else {})
    spec = parsed({"bounceMessage": {"configMapRef": {"name": "words"}}})

    found = resolved(spec, {(SourceKind.CONFIG_MAP, "words"): Source("u", "1", "", data)})

    assert (found.bounce_text, found.bounce_html) == ("Sorry", expected)


@pytest.mark.parametrize("content", [b"\xff", b"a\0b"])
def test_a_template_that_is_no_text_is_told(content: bytes) -> None:
    sources: Sources = {(SourceKind.CONFIG_MAP, "words"): Source("u", "1", "", {"outbound.bounce_message": content})}
    ((reason, _),) = faults({"bounceMessage": {"configMapRef": {"name": "words"}}}, sources)

    assert reason is RefReason.INVALID_BOUNCE_MESSAGE


def test_the_mark_tells_of_another_version_and_of_another_secret() -> None:
    def mark(source: Source) -> str:
        return resolved(parsed(TLS), secrets(tls=source)).tls_mark

    pair = {"tls.key": KEY, "tls.crt": CERTIFICATE}
    marks = {mark(Source(uid, version, "", pair)) for uid in ("a", "b") for version in ("1", "2")}
    assert len(marks) == 4
    assert mark(Source("a", "1", "", pair)) == mark(Source("a", "1", "", {**pair, "other": b"x"}))
