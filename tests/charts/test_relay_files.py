"""What the relay's chart writes is a configuration that the relay takes, and means what the values said."""

from __future__ import annotations

import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import chart_config
from tests.support.helm import EXAMPLES, Helm
from tests.support.pem import self_signed
from tests.support.relay_process import COMMAND

from mailboat.config.settings import Endpoint, Settings
from mailboat.dkim.keys import Algorithm, make_key, to_pem
from mailboat.loading.load import load

pytestmark = pytest.mark.helm

CONTENTS = {
    "relay-users": {"auth_flat_file.ini": "[users]\napp@example.com=secret\n"},
    "relay-admin": {"token": "secret"},
}


def settings_of(helm: Helm, directory: Path, values: Any, others: Any = None) -> Settings:
    loaded = load(chart_config.write(helm.template("mailboat-relay", values=values), directory, others), {})
    assert [str(fault) for fault in loaded.faults] == []
    assert loaded.settings is not None
    return loaded.settings


def test_the_defaults_let_nobody_but_the_pod_relay(helm: Helm, tmp_path: Path) -> None:
    settings = settings_of(helm, tmp_path, {})
    assert settings.relay_acl == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.smtp.listen == tuple(Endpoint(host, 2525) for host in ("0.0.0.0", "::"))
    assert settings.smtp.submission_listen == tuple(Endpoint(host, 2587) for host in ("0.0.0.0", "::"))
    assert settings.smtp.smtps_listen == ()
    assert settings.http.listen == tuple(
        Endpoint(host, port) for host, port in (("127.0.0.1", 9024), ("0.0.0.0", 9025), ("::", 9025))
    )
    assert settings.plugins.names == ()


def test_each_key_of_smtp_ini_arrives_as_it_was_given(helm: Helm, tmp_path: Path) -> None:
    """Large numbers above all: Helm reads them as floats."""
    given = {
        "nodes": "cpus",
        "inactivity_timeout": 120,
        "max_connections": 250000,
        "max_connections_per_client": 1000000,
        "max_recipients": 123456,
        "max_errors": 7,
        "databytes": 104857600,
        "data_line_length": 1048576,
        "max_received": 50,
        "bare_newline": "normalize",
    }
    smtp = settings_of(helm, tmp_path, {"config": {"smtp": given}}).smtp
    assert smtp.nodes == -1
    assert (smtp.inactivity_timeout, smtp.max_connections, smtp.max_connections_per_client) == (120, 250000, 1000000)
    assert (smtp.max_recipients, smtp.max_errors, smtp.databytes) == (123456, 7, 104857600)
    assert (smtp.data_line_length, smtp.max_received, smtp.bare_newline.value) == (1048576, 50, "normalize")


def test_who_may_relay_and_send_as_whom_arrives(helm: Helm, tmp_path: Path) -> None:
    assert settings_of(helm, tmp_path / "before", {}).senders_allow is None
    values = {
        "config": {"relayLoopback": False, "relayAllow": ["10.0.0.0/8"], "sendersAllow": [".example.com", "a@b.test"]},
    }
    settings = settings_of(helm, tmp_path / "after", values)
    assert settings.relay_acl == (ip_network("10.0.0.0/8"),)
    assert settings.senders_allow == frozenset({".example.com", "a@b.test"})


def test_names_networks_and_plugins_arrive(helm: Helm, tmp_path: Path) -> None:
    settings = settings_of(
        helm,
        tmp_path,
        {
            "config": {
                "me": "relay.example.com",
                "relayAllow": ["10.244.0.0/16", "2001:db8::/32", "192.0.2.7"],
                "plugins": ["mine", "process_title"],
                "files": {"plugins.d/mine.py": "def hook_connect(connection):\n    return None\n", "mine.ini": "a=1\n"},
            }
        },
    )
    assert settings.me == "relay.example.com"
    assert [str(network) for network in settings.relay_acl[2:]] == ["10.244.0.0/16", "2001:db8::/32", "192.0.2.7/32"]
    assert settings.plugins.names == ("mine", "process_title")
    assert (tmp_path / "plugins.d" / "mine.py").read_text().startswith("def hook_connect")
    assert (tmp_path / "mine.ini").read_text() == "a=1\n"


def test_a_certificate_serves_both_tls_ports(helm: Helm, tmp_path: Path) -> None:
    key, chain = (pem.decode() for pem in self_signed("relay.example.com"))
    settings = settings_of(
        helm,
        tmp_path,
        {"tls": {"secretName": "relay-tls"}, "smtps": {"enabled": True}},
        {"relay-tls": {"tls.key": key, "tls.crt": chain}},
    )
    assert settings.smtp.smtps_listen == (Endpoint("0.0.0.0", 2465), Endpoint("::", 2465))
    assert settings.tls.cert.endswith("tls_cert.pem")


def test_dkim_keys_of_the_values_and_of_the_operator_sign(helm: Helm, tmp_path: Path) -> None:
    names = ("own._domainkey.example.com.pem", "mb._domainkey.example.org.pem")
    keys = [to_pem(make_key(Algorithm.ED25519)).decode() for _ in names]
    values = {"config": {"existingSecrets": [{"name": "own", "items": [{"key": "k", "path": f"dkim/{names[0]}"}]}]}}
    others = {"own": {"k": keys[0]}, "mailboat-relay-dkim-7": {names[1]: keys[1]}}
    signer = settings_of(helm, tmp_path, values, others).signer
    assert signer is not None
    assert sorted(signer.domains) == ["example.com", "example.org"]


def test_what_the_operator_writes_is_seen_instead_of_the_values(helm: Helm, tmp_path: Path) -> None:
    values = {"config": {"files": {"outbound.ini": "concurrency_max=1\n", "tls.ini": "minVersion=TLSv1.3\n"}}}
    assert settings_of(helm, tmp_path / "alone", values).outbound.concurrency_max == 1
    operator = {
        "mailboat-relay-outbound": {"outbound.ini": "concurrency_max=2\n"},
        "mailboat-relay-tls": {"tls.ini": ""},
    }
    settings = settings_of(helm, tmp_path / "with", values, operator)
    assert settings.outbound.concurrency_max == 2
    assert settings.tls.min_version == "TLSv1.2"


def test_an_admin_token_is_found(helm: Helm, tmp_path: Path) -> None:
    settings = settings_of(helm, tmp_path, {"admin": {"tokenSecret": "relay-admin"}}, CONTENTS)
    assert Path(settings.http.token_file).read_text() == "secret"
    assert not settings.http.read_without_token


def test_the_queue_can_be_left_open_to_readers(helm: Helm, tmp_path: Path) -> None:
    assert settings_of(helm, tmp_path, {"admin": {"readWithoutToken": True}}, CONTENTS).http.read_without_token


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("relay-*.yaml")), ids=lambda path: path.stem)
def test_each_example_is_a_configuration_that_the_relay_takes(helm: Helm, tmp_path: Path, example: Path) -> None:
    key, chain = (pem.decode() for pem in self_signed("relay.example.com"))
    others = {**CONTENTS, "relay-tls": {"tls.key": key, "tls.crt": chain}}
    chart_config.write(helm.template("mailboat-relay", values=yaml.safe_load(example.read_text())), tmp_path, others)
    checked = subprocess.run([COMMAND, "config", "check", tmp_path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
