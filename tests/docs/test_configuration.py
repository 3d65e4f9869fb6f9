"""docs/configuration.md is what the settings say, and its examples are configurations."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from scripts.pages.configuration import render
from tests.support.config_directory import Directory
from tests.support.pem import self_signed

from mailboat.config.hash import config_hash
from mailboat.config.settings import (
    HttpSettings,
    OutboundSettings,
    Route,
    SmtpSettings,
    Tenant,
    TlsSettings,
    keys_of,
)
from mailboat.model.placeholders import PLACEHOLDERS

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLE = re.compile(r"^```(?:ini|text) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RECIPE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("kind", [SmtpSettings, HttpSettings, OutboundSettings, TlsSettings, Route, Tenant])
def test_every_key_has_a_row(kind: type) -> None:
    for key in keys_of(kind):
        name = f"{key.ini}[]" if key.is_list else key.ini
        assert f"\n| `{name}` | " in render()


def test_every_example_is_read_without_fault_or_warning(tmp_path: Path) -> None:
    directory = Directory(tmp_path / "config")
    examples = EXAMPLE.findall(render())
    assert {name for name, _ in examples} >= {"me", "smtp.ini", "http.ini", "outbound.ini", "tls.ini", "plugins"}
    for name, content in examples:
        directory.write(name, content)
    key, cert = self_signed("relay.example.com")
    for name, content in (("tls.key", key), ("tls.crt", cert), ("partners.pem", cert)):
        directory.write(f"secrets/{name}", content)
    directory.write("secrets/admin-token", "token")
    directory.write("secrets/provider", "password")
    settings = directory.settings()
    assert settings.outbound.routes[1].auth_pass == "password"
    assert settings.tls_outbound.force_tls_hosts == ("partner.example.com", "192.0.2.0/24")


def test_the_shell_recipe_gives_the_hash(tmp_path: Path) -> None:
    outbound, tls, tenants = b"disabled=true\n", "; für uns\n[outbound]\n".encode(), b"[tenant:shop]\nusers=shop\n"
    (tmp_path / "outbound.ini").write_bytes(outbound)
    (tmp_path / "tls.ini").write_bytes(tls)
    (tmp_path / "tenants.ini").write_bytes(tenants)
    dkim = b"[main]\nstrict=false\n"
    (tmp_path / "dkim.ini").write_bytes(dkim)
    tlsrpt = b"[main]\norganization=Example\n"
    (tmp_path / "tlsrpt.ini").write_bytes(tlsrpt)
    shaping = b"[main]\ntable=none\n"
    (tmp_path / "shaping.ini").write_bytes(shaping)
    (recipe,) = RECIPE.findall(render())
    done = subprocess.run(["sh", "-c", recipe], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    found = config_hash(outbound, tls, tenants, dkim=dkim, tlsrpt=tlsrpt, shaping=shaping)
    assert f"sha256:{done.stdout.split()[0]}" == found


def test_the_page_names_every_placeholder_of_a_bounce_and_no_other() -> None:
    table = PAGE.read_text().partition("| placeholder | value |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`\{(\w+)\}`", table)) == sorted(PLACEHOLDERS)
