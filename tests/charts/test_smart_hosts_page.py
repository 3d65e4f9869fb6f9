"""The examples of docs/smart-hosts.md: Helm renders them, and the relay reads what the operator makes of that.

The Secrets are those that the page's own commands make.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.config_directory import Directory
from tests.support.helm import Helm
from tests.support.network_policy import NetworkPeer, reached
from tests.support.outbound_config import files, rendered, secret, secrets

from mailboat.config.settings import OAuthGrant, Route, TlsLevel
from mailboat_operator.observed import SourceObject

pytestmark = pytest.mark.helm

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "smart-hosts.md").read_text()
VALUES: dict[str, dict[str, Any]] = {
    name: yaml.safe_load(text) for name, text in re.findall(r"```yaml\n# values: (\S+)\n(.*?)```", PAGE, re.DOTALL)
}
COMMANDS = [shlex.split(line) for line in re.findall(r"^kubectl .*$", PAGE, re.MULTILINE)]


def secrets_of_the_commands() -> dict[str, SourceObject | None]:
    """The Secrets that the page has people make, each value told by its key."""
    allowed = {words[3] for words in COMMANDS if words[1:3] == ["label", "secret"]}
    found: dict[str, SourceObject | None] = {}
    for words in COMMANDS:
        if words[1:4] == ["create", "secret", "generic"]:
            literals = [word.removeprefix("--from-literal=").partition("=") for word in words[5:] if "literal" in word]
            data: dict[str, Any] = {key: f"the {key}" if value == "…" else value for key, _, value in literals}
            found[words[4]] = secret(allowed=words[4] in allowed, **data)
    return found


@dataclass(frozen=True)
class Example:
    """What an example comes to."""

    host: str
    user: str
    password: str
    grant: OAuthGrant | None


USER = "relay@example.com"
EXPECTED = {
    "microsoft365": Example(
        "smtp.office365.com:587",
        USER,
        "",
        OAuthGrant(
            "https://login.microsoftonline.com/TENANT_ID/oauth2/v2.0/token",
            "CLIENT_ID",
            "the client-secret",
            "",
            "https://outlook.office365.com/.default",
        ),
    ),
    "google": Example(
        "smtp.gmail.com:587",
        USER,
        "",
        OAuthGrant(
            "https://oauth2.googleapis.com/token",
            "CLIENT_ID.apps.googleusercontent.com",
            "the client-secret",
            "the refresh-token",
        ),
    ),
    "ses": Example("email-smtp.eu-central-1.amazonaws.com:587", "the username", "the password", None),
}


def test_the_page_has_these_examples() -> None:
    assert VALUES.keys() == EXPECTED.keys() == secrets_of_the_commands().keys()


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_is_rendered_and_the_relay_reads_it(helm: Helm, tmp_path: Path, name: str) -> None:
    spec = helm.template("mailboat-relay", values=VALUES[name]).one("OutboundConfig")["spec"]
    directory = Directory(tmp_path)
    for file, content in {
        "me": b"relay.example.com\n",
        **files(rendered(spec, secrets(**secrets_of_the_commands()))),
    }.items():
        directory.write(file, content)
    (route,) = directory.settings().outbound.routes
    expected = EXPECTED[name]
    assert (str(route.hosts[0]), route.user, route.auth_pass) == (expected.host, expected.user, expected.password)
    assert (route.grant, route.tls, route.domains) == (expected.grant, TlsLevel.REQUIRED, ("*",))
    assert never_goes_without_auth(route)


def never_goes_without_auth(route: Route) -> bool:
    """Else the provider would refuse the mail for good where it offers no AUTH that we know."""
    return route.require_auth or route.grant is not None


@pytest.mark.parametrize(("name", "ports"), [("microsoft365", "587 443"), ("google", "587 443"), ("ses", "587")])
def test_restricted_pods_reach_what_an_example_needs(helm: Helm, name: str, ports: str) -> None:
    """Besides 443 for MTA-STS, which would hide what a token server needs."""
    spec = {**VALUES[name]["outboundConfig"]["spec"], "tls": {"outbound": {"mtaSTS": False}}}
    values = {"outboundConfig": {"spec": spec}, "networkPolicy": {"egressEnabled": True, "egressPorts": [587]}}
    (policy,) = helm.template("mailboat-relay", values=values).of("NetworkPolicy")
    relay = NetworkPeer("10.0.0.1", "mail", policy["spec"]["podSelector"]["matchLabels"])
    host = NetworkPeer("192.0.2.1", ports={str(port): port for port in (25, 80, 443, 587)})
    assert reached([policy], relay, host) == set(ports.split())


def test_the_relay_reads_the_example_for_one_machine(tmp_path: Path) -> None:
    (text,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    directory = Directory(tmp_path)
    directory.write("me", b"relay.example.com\n")
    directory.write("client-secret", b"the client-secret\n")
    directory.write("outbound.ini", text.replace("/etc/mailboat/secrets/", ""))
    (route,) = directory.settings().outbound.routes
    assert (route.user, route.grant) == (USER, EXPECTED["microsoft365"].grant)
