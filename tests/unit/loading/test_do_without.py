"""The last good set with a file that is read where it is, and has become bad: what the relay does without."""

from __future__ import annotations

import pytest
from tests.support.config_directory import Directory
from tests.support.pem import self_signed

from mailboat.loading.load import Loaded, load

ROUTE = "[route:smart]\ndomains=smart.test\nhosts=smtp.example.net\n"
OAUTH = "auth_type=xoauth2\noauth_token_url=https://login.example.net/token\noauth_client_id=me\nauth_user=ann\n"
OTHER = "[route:other]\ndomains=*\nhosts=smtp.example.org\n"
LISTEN = "listen=192.0.2.1:9025\n"


@pytest.fixture
def copies(directory: Directory) -> Directory:
    """The last good set."""
    copies = Directory(directory.path.with_name("copies"))
    copies.write("me", "relay.example.com\n")
    return copies


def loaded(directory: Directory, copies: Directory) -> Loaded:
    return load(directory.path, {}, copies.path)


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        ("auth_pass_file", "auth_user=ann\nauth_pass_file=gone\n"),
        ("auth_user_file", "auth_user_file=gone\nauth_pass_file=there\n"),
        ("ca", "ca=gone\n"),
        ("oauth_client_secret_file", f"{OAUTH}oauth_client_secret_file=gone\n"),
        ("oauth_refresh_token_file", f"{OAUTH}oauth_refresh_token_file=gone\n"),
        ("oauth_ca", f"{OAUTH}oauth_client_secret_file=there\noauth_ca=gone\n"),
    ],
)
def test_a_route_waits_for_its_file_and_no_other_does(
    directory: Directory, copies: Directory, key: str, keys: str
) -> None:
    directory.write("there", "secret\n")
    copies.write("outbound.ini", ROUTE + keys + OTHER)
    found = loaded(directory, copies)
    assert found.settings is not None
    assert [route.waits for route in found.settings.outbound.routes] == [f"{key}: the file does not exist", ""]
    (warning,) = [warning for warning in found.warnings if warning.key == key]
    assert str(warning).endswith("the file does not exist: mail of this route is deferred")


def test_a_certificate_is_done_without_for_clients_and_where_deliveries_inherit_it(
    directory: Directory, copies: Directory
) -> None:
    key, cert = self_signed("relay.test")
    directory.write("a.key", b"nonsense")
    directory.write("a.pem", cert)
    copies.write("tls.ini", "key=a.key\ncert=a.pem\nciphers=HIGH\n")
    found = loaded(directory, copies)
    assert found.settings is not None
    for side in (found.settings.tls, found.settings.tls_outbound):
        assert (side.key, side.cert, side.ciphers) == ("", "", "HIGH")
    directory.write("a.key", key)
    good = loaded(directory, copies).settings
    assert good is not None
    assert good.tls.key == good.tls_outbound.key == str(directory.path / "a.key")


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"tls.ini": "key=a.key\ncert=gone\n", "smtp.ini": "smtps_listen=127.0.0.1:0\n"}, "tls.ini:2: [main] cert"),
        ({"tls.ini": "key=a.key\ncert=gone\nrequestCert=true\nrejectUnauthorized=true\n"}, "tls.ini:2: [main] cert"),
        ({"tls.ini": "[outbound]\nkey=a.key\ncert=gone\n"}, "tls.ini:3: [outbound] cert"),
        ({"tls.ini": "ca=gone\n"}, "tls.ini:1: [main] ca"),
        ({"outbound.ini": "mx_port=0\n"}, "outbound.ini:1: [main] mx_port"),
    ],
)
def test_what_is_promised_to_others_or_is_no_such_file_is_not_done_without(
    directory: Directory, copies: Directory, files: dict[str, str], fault: str
) -> None:
    directory.write("a.key", self_signed("relay.test")[0])
    for name, text in files.items():
        copies.write(name, text)
    found = loaded(directory, copies)
    assert found.settings is None
    assert str(found.faults[0]).startswith(fault)


def test_without_its_token_the_admin_listener_has_none(directory: Directory, copies: Directory) -> None:
    copies.write("http.ini", f"{LISTEN}token_file=gone\n")
    found = loaded(directory, copies)
    assert found.settings is not None
    assert found.settings.http.token_file == ""
    assert "http.ini:2: [main] token_file: the file does not exist: there is no token" in map(str, found.warnings)


def test_a_directory_itself_is_never_done_without_a_file(directory: Directory) -> None:
    directory.write("outbound.ini", f"{ROUTE}auth_user=ann\nauth_pass_file=gone\n")
    assert directory.faults() == ["outbound.ini:5: [route:smart] auth_pass_file: the file does not exist"]
