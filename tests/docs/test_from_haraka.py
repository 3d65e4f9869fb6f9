"""The page for users of Haraka leaves nothing out: each of its keys, every hook, every shipped plugin stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mailboat.config.legacy import LEGACY_FILES
from mailboat.config.settings import (
    HttpSettings,
    OutboundSettings,
    Route,
    SmtpSettings,
    TlsSettings,
    keys_of,
)
from mailboat.haraka.outgoing import TEMPLATES
from mailboat.hooks import Point

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "from-haraka.md").read_text()
SAID = set(re.findall(r"`([^`\n]+)`", PAGE))
PLUGINS = sorted(path.stem for path in (ROOT / "relay" / "mailboat" / "plugins").glob("[a-z]*.py"))
COMMANDS = ["--qlist", "--qstat", "--qunstick", "--qempty", "--graceful", "-i", "-c", "-l", "-o", "-p"]
IMPORT = "".join(path.read_text() for path in sorted((ROOT / "relay" / "mailboat" / "haraka").glob("*.py")))
KEYS = {key.ini for kind in (OutboundSettings, SmtpSettings, TlsSettings, HttpSettings, Route) for key in keys_of(kind)}
CARRIED = sorted(key for key in KEYS if f'"{key}"' in IMPORT)
"""What `mailboat config import` knows by name; a key that Haraka never had needs no row."""


@pytest.mark.parametrize("key", CARRIED)
def test_each_key_that_an_import_carries_over_is_there(key: str) -> None:
    assert key in SAID


def test_the_keys_of_hosts_delivery_and_tls_are_carried_over() -> None:
    assert {"hosts", "temp_fail_intervals", "concurrency_max", "force_tls_hosts", "listen", "databytes"} <= set(CARRIED)


@pytest.mark.parametrize("point", Point)
def test_each_hook_is_there(point: Point) -> None:
    assert point.value in SAID


@pytest.mark.parametrize("name", PLUGINS)
def test_each_shipped_plugin_is_there(name: str) -> None:
    assert re.search(rf"\b{name}\b", PAGE)


@pytest.mark.parametrize("option", ["dot_stuffed", "notes", "remove_msgid", "remove_date", "origin"])
def test_each_option_of_send_email_is_there(option: str) -> None:
    assert option in SAID


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_haraka_is_there(command: str) -> None:
    assert re.search(rf"`(?:haraka )?{command}\b", PAGE)


@pytest.mark.parametrize("name", ["pid", "date", "me", "from", "msgid", "to", "reason"])
def test_each_placeholder_is_there(name: str) -> None:
    assert f"{{{name}}}" in SAID


def test_each_old_file_and_template_is_there() -> None:
    assert "the other flat files" in PAGE
    for name in (*LEGACY_FILES, TEMPLATES[0]):
        if not name.startswith("outbound.") or name == TEMPLATES[0]:
            assert name.removesuffix(".ini") in PAGE, name


def test_every_row_says_whether_it_is_the_same_better_or_different() -> None:
    """But for the tables of delivery, where each row is better, and of reasons."""
    for row in PAGE.partition("## Delivery")[0].splitlines():
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        if row.startswith("| ") and cells[-1] != "why" and "---" not in row and cells[0] not in ("Haraka", "subject"):
            assert {"same", "better", "different"} & set(cells) or cells[0] in ("key", "file", "hook"), row
