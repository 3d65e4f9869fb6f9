"""Following references: what fits becomes a file, what does not is told by its name and never by its content."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.support.outbound_config import parsed, rendered, resolved, secret, secrets
from tests.support.pem import self_signed

from mailboat_operator.checks import RefReason, Sources, admin_token, resolve, warnings_of
from mailboat_operator.observed import SourceObject
from mailboat_operator.references import SourceKind

KEY, CERTIFICATE = self_signed("relay.example.com")
LOCKED, LOCKED_CERTIFICATE = self_signed("relay.example.com", b"secret")
OTHER_KEY, OTHER_CERTIFICATE = self_signed("other.example.com")
TLS = {"tls": {"certificateSecretRef": {"name": "tls"}}}
PARAMETERS = b"-----BEGIN DH PARAMETERS-----\nMIIBCAKCAQEA\n-----END DH PARAMETERS-----\n"
WITH_TOKEN = {"targetRef": {"name": "relay", "adminTokenSecretRef": {"name": "auth"}}}
AUTH: dict[str, Any] = {
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
def test_a_pair_that_does_not_fit_is_told(source: SourceObject | None, reason: RefReason, said: str) -> None:
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
        (b"", b"x", "username is empty"),
    ],
)
def test_credentials_that_no_file_can_hold_are_told(user: bytes, password: bytes, said: str) -> None:
    ((reason, message),) = faults(AUTH, secrets(auth=secret(username=user, password=password)))

    assert reason is RefReason.INVALID_CREDENTIALS
    assert said in message
    assert "two" not in message


def test_credentials_that_fit_become_two_files() -> None:
    found = resolved(parsed(AUTH), secrets(auth=secret(username=" relay\\\n", password=" ; [p] \n")))

    assert found.files == {"route-a.user": b" relay\\\n", "route-a.password": b" ; [p] \n"}


def test_the_bundle_of_a_route_is_looked_at_and_only_its_certificates_are_taken() -> None:
    route = {**AUTH["routes"][0], "caBundleRef": {"kind": "Secret", "name": "trust"}}
    del route["authSecretRef"]
    spec = {"routes": [route]}

    found = resolved(parsed(spec), secrets(trust=secret(allowed=False, ca__crt=KEY + CERTIFICATE)))

    assert found.files == {"route-a.ca.crt": CERTIFICATE}
    ((reason, message),) = faults(spec, secrets(trust=secret(ca__crt="x")))
    assert reason is RefReason.INVALID_CA_BUNDLE
    assert message == "Secret trust: ca.crt holds no PEM certificate (spec.routes[0].caBundleRef)"


@pytest.mark.parametrize(
    ("spec", "path"),
    [(AUTH, "spec.routes[0].authSecretRef"), (WITH_TOKEN, "spec.targetRef.adminTokenSecretRef")],
    ids=["credentials", "token"],
)
def test_what_is_sent_to_hosts_of_the_writers_choice_needs_the_owners_consent(spec: dict[str, Any], path: str) -> None:
    source = secret(username="relay", password="secret", token="secret")

    ((reason, message),) = faults(spec, secrets(auth=replace(source, allowed=False)))

    assert reason is RefReason.SECRET_NOT_ALLOWED
    command = "kubectl label secret auth mailboat.dev/allow=outboundconfig"
    assert message == f"Secret auth may be used only if its owner allows it: {command} ({path})"
    assert resolve(parsed(spec), secrets(auth=source))[1] == ()


def test_certificates_bundles_and_parameters_need_no_consent() -> None:
    tls = {
        **TLS["tls"],
        "caBundleRef": {"kind": "Secret", "name": "tls", "key": "tls.crt"},
        "dhparamSecretRef": {"name": "tls"},
    }
    source = secret(allowed=False, tls__key=KEY, tls__crt=CERTIFICATE, dhparam__pem=PARAMETERS)

    assert resolved(parsed({"tls": tls}), secrets(tls=source)).files.keys() == {
        "tls.key",
        "tls.crt",
        "ca.crt",
        "dhparam.pem",
    }


@pytest.mark.parametrize("key", ["username", "tls.key", "ca.crt"])
def test_no_key_of_a_secret_is_rendered_outside_of_the_credentials(key: str) -> None:
    """Whatever `usernameKey` names: a ConfigMap can be read by many who must not read a Secret."""
    route = {**AUTH["routes"][0], "authSecretRef": {"name": "auth", "usernameKey": key, "passwordKey": key}}

    for child in rendered({"routes": [route]}, secrets(auth=SourceObject({key: b"hunter2"}, allowed=True))).children:
        assert (b"hunter2" in b"".join(child.data.values())) == (child.key.kind is SourceKind.SECRET)


def test_an_unknown_placeholder_is_a_warning_and_no_fault() -> None:
    spec = parsed({"bounceMessage": {"text": "{reason} {resaon} {resaon}", "html": "<b>{who}</b>"}})

    assert warnings_of(resolved(spec)) == (
        "outbound.bounce_message: {resaon} is not a placeholder: `?` is inserted",
        "outbound.bounce_message_html: {who} is not a placeholder: `?` is inserted",
    )


def test_the_token_is_read_only_where_it_may_be() -> None:
    spec = parsed(WITH_TOKEN)

    assert admin_token(spec, secrets(auth=secret(token=b" t0ken\n"))) == "t0ken"
    assert admin_token(spec, secrets(auth=secret(token=b"t0ken", allowed=False))) == ""
    assert admin_token(spec, secrets(auth=None)) == admin_token(parsed(AUTH), {}) == ""


def test_a_token_that_is_missing_stops_nothing() -> None:
    assert resolve(parsed(WITH_TOKEN), secrets(auth=None))[1] == ()


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


def test_of_a_bundle_and_of_parameters_only_that_is_taken() -> None:
    """They may stand in a Secret with a private key beside them, or be one of its other keys altogether."""
    spec = parsed({"tls": {"caBundleRef": {"kind": "Secret", "name": "a"}, "dhparamSecretRef": {"name": "a"}}})
    mixed = b"words\n" + KEY + CERTIFICATE + b"more\n" + PARAMETERS + OTHER_CERTIFICATE + b"password=hunter2\n"

    found = resolved(spec, secrets(a=secret(ca__crt=mixed, dhparam__pem=mixed))).files

    assert found == {"ca.crt": CERTIFICATE + OTHER_CERTIFICATE, "dhparam.pem": PARAMETERS}


@pytest.mark.parametrize(("html", "expected"), [(None, None), (b"<p>{reason}</p>", "<p>{reason}</p>")])
def test_the_html_of_a_bounce_message_may_be_missing(html: bytes | None, expected: str | None) -> None:
    data = {"outbound.bounce_message": b"Sorry"} | ({"outbound.bounce_message_html": html} if html else {})
    spec = parsed({"bounceMessage": {"configMapRef": {"name": "words"}}})

    found = resolved(spec, {(SourceKind.CONFIG_MAP, "words"): SourceObject(data)})

    assert (found.bounce_text, found.bounce_html) == ("Sorry", expected)


@pytest.mark.parametrize("content", [b"\xff", b"a\0b"])
def test_a_template_that_is_no_text_is_told(content: bytes) -> None:
    sources: Sources = {(SourceKind.CONFIG_MAP, "words"): SourceObject({"outbound.bounce_message": content})}
    ((reason, _),) = faults({"bounceMessage": {"configMapRef": {"name": "words"}}}, sources)

    assert reason is RefReason.INVALID_BOUNCE_MESSAGE
