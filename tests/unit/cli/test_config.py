"""`mailboat config check`: whatever would keep a relay from starting is found, plugins included."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock

from mailboat.cli.config import check
from mailboat.routing.system import SystemFiles


def test_a_directory_without_faults_passes_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "me").write_text("relay.example.com\n")
    (tmp_path / "plugins").write_text("relay\n")
    (tmp_path / "relay.ini").write_text("[relay]\ndest_domains=true\n")
    (tmp_path / "relay_dest_domains.ini").write_text('[domains]\nexample.com={"action":"accept"}\n')
    assert check(tmp_path) == 0
    assert capsys.readouterr() == ("", "")


def test_a_plugin_that_does_not_load_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plugins").write_text("mine\n")
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "mine.py").write_text("\nraise ValueError('broken')\n")
    assert check(tmp_path) == 78
    assert capsys.readouterr().out == "plugins.d/mine.py:2: ValueError: broken\n"


def test_a_slip_in_the_file_of_a_plugin_is_a_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plugins").write_text("relay\n")
    (tmp_path / "relay.ini").write_text("[relay]\nall=true\n")
    assert check(tmp_path) == 78
    assert capsys.readouterr().out.startswith("relay.ini:2: [relay] all: ")


def test_faults_of_files_come_before_any_plugin_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outbound.ini").write_text("concurrency_max=none\n")
    (tmp_path / "plugins").write_text("mine\n")
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "mine.py").write_text("print('ran')\n")
    assert check(tmp_path) == 78
    out = capsys.readouterr().out
    assert out.startswith("outbound.ini:1: [main] concurrency_max: ")
    assert "ran" not in out


@pytest.mark.parametrize(
    ("hosts", "search", "warned"),
    [
        ("mailpit:1025", "", "mailpit"),
        ("mailpit:1025", "search mail.svc.cluster.test\n", ""),
        ("relay", "", ""),
        ("hub.example, 192.0.2.1, [2001:db8::1]:25, localhost, /run/lmtp", "", ""),
    ],
)
def test_a_short_host_of_a_route_that_this_machine_cannot_find_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], hosts: str, search: str, warned: str
) -> None:
    (tmp_path / "me").write_text("relay.example.com\n")
    (tmp_path / "outbound.ini").write_text(f"[route:hub]\ndomains=*\nhosts={hosts}\n")
    (tmp_path / "etc").mkdir()
    resolv_conf, known = tmp_path / "etc" / "resolv.conf", tmp_path / "etc" / "hosts"
    resolv_conf.write_text(search)
    known.write_text("192.0.2.25 relay\n")
    assert check(tmp_path, SystemFiles(FixedClock(), resolv_conf=resolv_conf, hosts=known)) == 0
    told = capsys.readouterr().err
    assert told.startswith(f"warning: outbound.ini: [route:hub] hosts: {warned} has no dot" if warned else "")
    assert bool(told) == bool(warned)


@pytest.mark.parametrize(("host", "warned"), [("keycloak", True), ("keycloak.auth", False), ("[2001:db8::1]", False)])
def test_a_short_host_of_a_token_server_that_this_machine_cannot_find_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, warned: bool
) -> None:
    (tmp_path / "me").write_text("relay.example.com\n")
    (tmp_path / "secret").write_text("secret\n")
    lines = ["[route:hub]", "domains=*", "hosts=hub.example", "auth_type=xoauth2", "auth_user=u", "oauth_client_id=c"]
    lines += ["oauth_client_secret_file=secret", f"oauth_token_url=https://{host}:8443/token"]
    (tmp_path / "outbound.ini").write_text("\n".join(lines))
    assert check(tmp_path, SystemFiles(FixedClock(), resolv_conf=tmp_path / "none", hosts=tmp_path / "none")) == 0
    told = capsys.readouterr().err
    assert told.startswith("warning: outbound.ini: [route:hub] oauth_token_url: keycloak has no dot" if warned else "")
    assert bool(told) == warned
