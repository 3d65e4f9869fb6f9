"""What `mailboat config check` and `show` print: all of it, readable again, and no secret."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mailboat.cli.config import check, show
from mailboat.config import ini
from mailboat.config.settings import (
    HttpSettings,
    OutboundSettings,
    Route,
    Settings,
    SmtpSettings,
    TlsSettings,
    keys_of,
)
from mailboat.config.show import as_data, as_text, text_of

if TYPE_CHECKING:
    from tests.support.config_directory import Directory

FULL = """
temp_fail_intervals=1m, 5m*2, 5.5s
dns_servers=127.0.0.1:5353, [::1]:53
inet_prefer=v6
[bind]
default=192.0.2.1, 2001:db8::1 mail.example.com
pod-0=198.51.100.0/24
[route:provider]
domains=*, .example.com
hosts=a.example:587/5, [2001:db8::2]:25, /run/lmtp.sock
auth_user=me
auth_pass_file=password
"""


def sections_of(text: str) -> dict[str, str]:
    """The parts of a shown configuration by file name."""
    parts = [part.partition("\n") for part in text.split("\n# ")]
    return {name: body for name, _, body in parts if name.endswith(".ini")}


@pytest.fixture
def full(directory: Directory) -> Settings:
    directory.write("password", "hunter2\n")
    directory.write("smtp.ini", "nodes=cpus\nlisten=25\n")
    directory.write("tls.ini", "force_tls_hosts[]=a.example\nforce_tls_hosts[]=192.0.2.0/24\n")
    directory.write("outbound.ini", FULL)
    return directory.settings()


@pytest.mark.parametrize("kind", [SmtpSettings, HttpSettings, OutboundSettings, TlsSettings, Route])
def test_every_default_reads_back_from_its_own_text(kind: type) -> None:
    for key in keys_of(kind):
        if not key.is_list:
            assert key.key.parse(text_of(key, key.default)) == key.default, key.ini


def test_the_text_is_a_configuration_that_says_the_same(full: Settings, directory: Directory) -> None:
    for name, body in sections_of(as_text(full)).items():
        assert ini.parse(body, name).faults == ()
        directory.write(name, body)
    again = directory.load().settings
    assert again is not None
    # What is shown is said explicitly, so that the built-in table of shaping.ini has less to say.
    assert replace(again, hash=full.hash, shaping=full.shaping) == full


def test_secrets_are_shown_in_no_form(full: Settings) -> None:
    assert full.outbound.routes[0].auth_pass == "hunter2"
    assert "hunter2" not in as_text(full)
    assert "hunter2" not in json.dumps(as_data(full))


def test_json_has_numbers_booleans_and_lists(full: Settings) -> None:
    data = json.loads(json.dumps(as_data(full)))
    main = data["outbound.ini"]["main"]
    assert (main["disabled"], main["concurrency_max"], main["dot_timeout"]) == (False, 100, 600.0)
    assert main["temp_fail_intervals"] == [60.0, 300.0, 300.0, 5.5]
    assert main["dns_servers"] == ["127.0.0.1:5353", "[::1]:53"]
    assert main["inet_prefer"] == "v6"
    assert data["outbound.ini"]["bind"]["default"] == "192.0.2.1, 2001:db8::1 mail.example.com"
    assert data["outbound.ini"]["route:provider"]["domains"] == ["*", ".example.com"]
    assert data["tls.ini"]["outbound"]["force_tls_hosts"] == ["a.example", "192.0.2.0/24"]
    assert data["smtp.ini"]["main"]["nodes"] == "cpus"
    assert data["relay_acl_allow"] == ["127.0.0.0/8", "::1/128"]


def test_check_says_nothing_of_a_good_directory(directory: Directory, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(directory.path) == 0
    assert capsys.readouterr() == ("", "")


def test_check_prints_one_line_a_fault(directory: Directory, capsys: pytest.CaptureFixture[str]) -> None:
    directory.write("outbound.ini", "disabled=maybe\nmx_port=0\nconcurency_max=1\n")
    assert check(directory.path) == 78
    out, err = capsys.readouterr()
    assert [line.split(" ")[0] for line in out.splitlines()] == ["outbound.ini:1:", "outbound.ini:2:"]
    assert err == "warning: outbound.ini:3: [main] concurency_max: unknown key; did you mean concurrency_max?\n"


def test_show_prints_text_or_json(directory: Directory, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(directory.path, json=False) == 0
    assert "[main]\nlisten=127.0.0.1:2525, [::1]:2525\n" in capsys.readouterr().out
    assert show(directory.path, json=True) == 0
    assert json.loads(capsys.readouterr().out)["me"] == "relay.example.com"


def test_show_of_a_bad_directory_shows_its_faults_instead(
    directory: Directory, capsys: pytest.CaptureFixture[str]
) -> None:
    directory.write("me", "not a name")
    assert show(directory.path, json=False) == 78
    assert capsys.readouterr() == ("", "me:1: is not a domain name\n")
