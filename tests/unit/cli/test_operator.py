"""The command of the operator where its packages are missing, as in the relay's image."""

from __future__ import annotations

import sys

import pytest

from mailboat.cli.operator import EX_UNAVAILABLE, DnsOptions, run


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("mailboat_operator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "kopf", None)

    status = run(("mail",), "127.0.0.1:0", 600, DnsOptions(), all_namespaces=False, log_format="text")

    assert status == EX_UNAVAILABLE

    assert "install mailboat[operator]" in capsys.readouterr().err
