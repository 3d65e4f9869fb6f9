"""`[route:NAME]` with access tokens: what is read, what must be there, and what is never quoted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.pem import self_signed

from mailboat.config.settings import OAuthGrant
from mailboat.config.show import as_text
from mailboat.config.values import auth_type

if TYPE_CHECKING:
    from tests.support.config_directory import Directory

ROUTE = "[route:r]\ndomains=*\nhosts=smart.example:587\n"
TOKEN = f"{ROUTE}auth_type=xoauth2\nauth_user=relay@example.com\n"
CLIENT = "oauth_token_url=https://tokens.example/t\noauth_client_id=client\n"


@pytest.fixture(autouse=True)
def secrets(directory: Directory) -> None:
    directory.write("secret", "THE-SECRET\n")
    directory.write("refresh", "THE-REFRESH-TOKEN\n")


def test_a_grant_is_read_with_what_its_files_hold(directory: Directory) -> None:
    pem = self_signed("tokens.example")[1].decode()
    directory.write("ca.pem", pem)
    more = "oauth_client_secret_file=secret\noauth_refresh_token_file=refresh\noauth_scope=a b\noauth_ca=ca.pem\n"
    directory.write("outbound.ini", TOKEN + CLIENT + more)
    settings = directory.settings()
    (route,) = settings.outbound.routes
    url = "https://tokens.example/t"
    assert route.auth_type == "XOAUTH2"
    assert route.grant == OAuthGrant(url, "client", "THE-SECRET", "THE-REFRESH-TOKEN", "a b", pem)
    assert route.oauth_client_secret_file == str(directory.path / "secret")
    assert directory.warnings() == []
    assert "THE-" not in repr(settings) + as_text(settings) + repr(route.grant)


def test_a_route_with_a_password_has_no_grant(directory: Directory) -> None:
    directory.write("outbound.ini", f"{ROUTE}auth_user=u\nauth_pass_file=secret\n")
    assert directory.settings().outbound.routes[0].grant is None


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            TOKEN,
            [
                "oauth_token_url: is missing: auth_type=XOAUTH2 needs it",
                "oauth_client_id: is missing: auth_type=XOAUTH2 needs it",
                "oauth_client_secret_file: is missing: a secret or a refresh token is needed",
            ],
        ),
        (f"{TOKEN}{CLIENT}oauth_refresh_token_file=refresh\n", []),
        (
            f"{TOKEN}{CLIENT}oauth_client_secret_file=secret\nauth_pass_file=secret\n",
            ["auth_pass_file: has no effect with auth_type=XOAUTH2"],
        ),
        (
            f"{ROUTE}auth_type=oauthbearer\n{CLIENT}oauth_client_secret_file=secret\n",
            ["auth_user: is missing: a token is for a user"],
        ),
        (
            f"{ROUTE}auth_user=u\nauth_pass_file=secret\noauth_scope=s\n",
            ["oauth_scope: has an effect only with auth_type=XOAUTH2 or OAUTHBEARER"],
        ),
        (
            f"{TOKEN}{CLIENT}oauth_client_secret_file=gone\n",
            ["oauth_client_secret_file: the file does not exist"],
        ),
        (
            f"{TOKEN}{CLIENT}oauth_client_secret_file=secret\noauth_ca=secret\n",
            ["oauth_ca: holds no certificate that OpenSSL takes"],
        ),
    ],
)
def test_what_must_fit_together(directory: Directory, text: str, faults: list[str]) -> None:
    directory.write("outbound.ini", text)
    told = [fault.partition("] ")[2] for fault in directory.faults()]
    assert [fault.partition(": ")[0] for fault in told] == [fault.partition(": ")[0] for fault in faults]
    if "oauth_ca" not in text:
        assert told == faults
    assert "THE-" not in "".join(told)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://tokens.example/t", "is http, which reveals the secret and is for loopback only: write https"),
        ("http://127.0.0.1.example/t", "is http, which reveals the secret and is for loopback only: write https"),
        ("https://user:PASSWORD@tokens.example/t", "holds a user or password"),
        ("https://tokens.example:PASSWORD/t", "is not a URL such as https://host/path"),
        ("https://tokens.example/t#PASSWORD", "has a fragment"),
        ("ftp://tokens.example/t", "is not a URL such as https://host/path"),
        ("https:///t", "is not a domain name"),
        ("https://[::1/t", "is not a URL such as https://host/path"),
        ("https://tokens.example:0/t", "is not a URL such as https://host/path"),
        ("https://tokens.example/a PASSWORD", "has a space"),
        ("tokens.example", "is not a URL such as https://host/path"),
    ],
)
def test_a_token_url_is_https_or_loopback_and_what_is_refused_is_not_quoted(
    directory: Directory, url: str, reason: str
) -> None:
    client = f"oauth_token_url={url}\noauth_client_id=client\noauth_client_secret_file=secret\n"
    directory.write("outbound.ini", TOKEN + client)
    (fault,) = directory.faults()
    assert f"oauth_token_url: {reason}" in fault
    assert "PASSWORD" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8080/t",
        "http://127.0.0.2/t",
        "http://[::1]:80/t",
        "https://192.0.2.1/t",
        "https://a.example/t?p=x",
    ],
)
def test_token_urls_that_are_good(directory: Directory, url: str) -> None:
    client = f"oauth_token_url={url}\noauth_client_id=client\noauth_client_secret_file=secret\n"
    directory.write("outbound.ini", TOKEN + client)
    assert directory.settings().outbound.routes[0].oauth_token_url == url


def test_a_token_that_may_be_read_on_its_way_is_warned_of(directory: Directory) -> None:
    directory.write("outbound.ini", f"{TOKEN}{CLIENT}oauth_client_secret_file=secret\ntls=disabled\n")
    assert directory.warnings() == ["outbound.ini:9: [route:r] tls: is disabled: the access token is sent in the clear"]


def test_plugins_have_no_tokens() -> None:
    with pytest.raises(ValueError, match=r"PLAIN, LOGIN, CRAM-MD5$"):
        auth_type("xoauth2")
