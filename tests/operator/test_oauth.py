"""`routes[].oauth`: what of it becomes configuration, what a Secret must allow, and what the relay makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.config_directory import Directory
from tests.support.outbound_config import faults_of, files, parsed, rendered, secret, secrets
from tests.support.pem import self_signed

from mailboat.config.settings import OAuthGrant, Route
from mailboat_operator.checks import RefReason, Sources, resolve
from mailboat_operator.observed import SourceObject

CERTIFICATE = self_signed("login.example")[1]
OAUTH: dict[str, Any] = {
    "tokenURL": "https://login.example/token",
    "clientID": "the-client",
    "clientSecretRef": {"name": "oauth"},
    "scope": "https://mail.example/.default",
    "caBundleRef": {"kind": "Secret", "name": "trust"},
}


def spec(mechanism: str = "XOAUTH2", **changes: Any) -> dict[str, Any]:
    """A spec with one route; None takes a field of `oauth` away."""
    oauth = {name: value for name, value in {**OAUTH, **changes}.items() if value is not None}
    route = {"name": "a", "domains": ["*"], "hosts": [{"host": "smtp.example.net", "port": 587}]}
    return {"routes": [{**route, "authType": mechanism, "authSecretRef": {"name": "user"}, "oauth": oauth}]}


KEYS: dict[str, Any] = {"client-secret": "THE-SECRET", "refresh-token": "THE-REFRESH-TOKEN", "lines": "THE\nLINES"}
BOTH: dict[str, SourceObject | None] = {
    "user": secret(username="relay@example.com"),
    "trust": secret(allowed=False, ca__crt=b"words\n" + CERTIFICATE + b"password=THE-PASSWORD\n"),
}


def sources(*, allowed: bool = True) -> Sources:
    """The Secrets that it refers to; the one with the bundle need allow nothing."""
    return secrets(**BOTH, oauth=replace(secret(**KEYS), allowed=allowed))


def loaded(path: Path, resource: dict[str, Any]) -> Route:
    """What the relay's loader makes of a resource."""
    directory = Directory(path)
    for name, content in {"me": b"relay.example.com\n", **files(rendered(resource, sources()))}.items():
        directory.write(name, content)
    (route,) = directory.settings().outbound.routes
    assert directory.warnings() == []
    return route


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
def test_the_relay_reads_what_the_resource_says(tmp_path: Path, mechanism: str) -> None:
    route = loaded(tmp_path, spec(mechanism))

    assert (route.user, route.auth_pass, route.auth_type) == ("relay@example.com", "", mechanism)
    assert route.grant == OAuthGrant(
        "https://login.example/token",
        "the-client",
        "THE-SECRET",
        "",
        "https://mail.example/.default",
        CERTIFICATE.decode(),
    )


def test_a_refresh_token_of_a_client_without_a_secret(tmp_path: Path) -> None:
    resource = spec(clientSecretRef=None, refreshTokenRef={"name": "oauth"}, scope=None, caBundleRef=None)

    grant = OAuthGrant("https://login.example/token", "the-client", "", "THE-REFRESH-TOKEN")
    assert loaded(tmp_path, resource).grant == grant


def test_secrets_are_in_the_credentials_and_nowhere_else_and_a_bundle_is_read_as_pem_only() -> None:
    resource = spec(refreshTokenRef={"name": "oauth"})
    for child in rendered(resource, sources()).children:
        content = b"".join(child.data.values())
        assert (b"THE-SECRET" in content) == (b"THE-REFRESH-TOKEN" in content) == (child.key.kind == "Secret")
        assert b"THE-PASSWORD" not in content
        assert "THE-" not in repr(child)


@pytest.mark.parametrize("field", ["clientSecretRef", "refreshTokenRef"])
def test_a_secret_is_used_only_if_its_owner_allows_it(field: str) -> None:
    changes: dict[str, Any] = {"clientSecretRef": None, field: {"name": "oauth"}}
    resource = spec(**changes)

    found, (fault,) = resolve(parsed(resource), sources(allowed=False))

    assert found is None
    assert fault.reason is RefReason.SECRET_NOT_ALLOWED
    assert fault.message.endswith(f"mailboat.dev/allow=outboundconfig (spec.routes[0].oauth.{field})")


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        (
            {"clientSecretRef": {"name": "gone"}},
            RefReason.SECRET_NOT_FOUND,
            "Secret gone does not exist (spec.routes[0].oauth.clientSecretRef)",
        ),
        (
            {"refreshTokenRef": {"name": "oauth", "key": "other"}},
            RefReason.KEY_NOT_FOUND,
            "Secret oauth has no key other (spec.routes[0].oauth.refreshTokenRef)",
        ),
        (
            {"clientSecretRef": {"name": "oauth", "key": "lines"}},
            RefReason.INVALID_CREDENTIALS,
            "Secret oauth: lines has more than one line, or a control character (spec.routes[0].oauth.clientSecretRef)",
        ),
        (
            {"caBundleRef": {"kind": "Secret", "name": "oauth", "key": "client-secret"}},
            RefReason.INVALID_CA_BUNDLE,
            "Secret oauth: client-secret holds no PEM certificate (spec.routes[0].oauth.caBundleRef)",
        ),
    ],
)
def test_what_is_wrong_with_a_reference_is_told(changes: dict[str, Any], reason: RefReason, message: str) -> None:
    _, (fault,) = resolve(parsed(spec(**changes)), sources())

    assert (fault.reason, fault.message) == (reason, message)


@pytest.mark.parametrize("key", ["client-secret", "refresh-token"])
def test_the_hash_covers_the_secrets(key: str) -> None:
    resource = spec(refreshTokenRef={"name": "oauth"})

    one, another = (rendered(resource, secrets(**BOTH, oauth=secret(**KEYS | {key: text}))) for text in ("a", "b"))
    assert one.hash != another.hash


@pytest.mark.parametrize(
    ("resource", "fault"),
    [
        (spec("LOGIN"), "spec.routes[0].authType: is XOAUTH2 or OAUTHBEARER with oauth, and with nothing else"),
        (spec(clientSecretRef=None), "spec.routes[0].oauth.clientSecretRef: is missing"),
        (spec(tokenURL=None), "spec.routes[0].oauth.tokenURL: is missing"),
        (spec(clientID=None), "spec.routes[0].oauth.clientID: is missing"),
        (spec(tokenURL="http://login.example/"), "spec.routes[0].oauth.tokenURL: is http, which reveals the secret"),
        (spec(clientID="a\nb=c"), "spec.routes[0].oauth.clientID: has characters that are not printable ASCII"),
    ],
)
def test_what_does_not_fit_together_is_told_with_its_path(resource: dict[str, Any], fault: str) -> None:
    assert any(told.startswith(fault) for told in faults_of(resource)), faults_of(resource)


def test_a_token_needs_a_user_and_a_password_no_oauth() -> None:
    resource = spec()
    del resource["routes"][0]["authSecretRef"]
    assert "spec.routes[0].oauth: needs authSecretRef: a token is for a user" in faults_of(resource)
    resource = spec()
    del resource["routes"][0]["oauth"]
    assert faults_of(resource) == (
        "spec.routes[0].authType: is XOAUTH2 or OAUTHBEARER with oauth, and with nothing else",
    )
