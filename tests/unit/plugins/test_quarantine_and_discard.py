"""The plugins `quarantine` and `discard`: which messages they take, and what becomes of these."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.plugged import Plugged, client

from mailboat.hooks import CONT, DENYSOFT, OK
from mailboat.plugins import discard, quarantine

RULES = "sender_domains=spam.test, Junk.test\nrecipient_domains=hole.test, pit.test\n"


def plugged(module: ModuleType, path: Path, rules: str = RULES) -> Plugged:
    if module is discard:
        return Plugged.of(discard, path, discard_ini=rules)
    return Plugged.of(quarantine, path, quarantine_ini=f"directory={path / 'aside'}\n{rules}")


@pytest.fixture(params=[discard, quarantine], ids=["discard", "quarantine"])
def it(request: pytest.FixtureRequest, tmp_path: Path) -> Plugged:
    return plugged(request.param, tmp_path)


@pytest.mark.parametrize(
    ("sender", "recipients", "taken"),
    [
        ("a@spam.test", ["b@there.test"], True),
        ("a@junk.test", ["b@there.test"], True),
        ("a@b.test", ["b@hole.test", "c@pit.test"], True),
        ("a@b.test", ["b@hole.test", "c@there.test"], False),
        ("a@b.test", ["b@there.test"], False),
        ("", ["b@there.test"], False),
    ],
)
async def test_the_rules_of_the_file(it: Plugged, sender: str, recipients: list[str], taken: bool) -> None:
    answer = await it.ask("queue_outbound", client(*recipients, sender=sender))
    assert (answer is not CONT and answer[0] is OK) == taken
    assert it.count("messages") == taken


async def test_what_another_plugin_marked_is_taken(it: Plugged) -> None:
    connection = client()
    connection.notes[it.plugin.name] = True
    assert (await it.ask("queue_outbound", connection))[0] is OK
    marked = client()
    assert marked.transaction is not None
    marked.transaction.notes[it.plugin.name] = "looks odd"
    assert (await it.ask("queue_outbound", marked))[0] is OK


@pytest.mark.parametrize("module", [discard, quarantine])
async def test_everything_is_taken_where_the_file_says_so_and_nothing_without_rules(
    tmp_path: Path, module: ModuleType
) -> None:
    everything, nothing = plugged(module, tmp_path / "1", "all=true\n"), plugged(module, tmp_path / "2", "")
    assert (await everything.ask("queue_outbound", client()))[0] is OK
    assert await nothing.ask("queue_outbound", client()) is CONT


async def test_a_message_put_aside_is_there_whole_with_its_envelope_for_its_owner_alone(tmp_path: Path) -> None:
    it = plugged(quarantine, tmp_path)
    body = b"Subject: x\r\n\r\n.dot\r\n\xff\xfe\r\n"
    await it.ask("queue_outbound", client("b@hole.test", "c@pit.test", sender="", body=body))
    aside = tmp_path / "aside"
    assert sorted(path.name for path in aside.iterdir()) == ["ABCDEF-1.eml", "ABCDEF-1.json"]
    assert (aside / "ABCDEF-1.eml").read_bytes() == body
    envelope = json.loads((aside / "ABCDEF-1.json").read_text())
    assert (envelope["sender"], envelope["recipients"]) == ("", ["b@hole.test", "c@pit.test"])
    assert envelope["reason"] == "by its recipients"
    assert [path.stat().st_mode & 0o777 for path in aside.iterdir()] == [0o600, 0o600]
    assert aside.stat().st_mode & 0o777 == 0o700


async def test_what_cannot_be_put_aside_is_refused_for_now_and_leaves_nothing(tmp_path: Path) -> None:
    it = plugged(quarantine, tmp_path)
    (tmp_path / "aside").write_text("a file where the directory should be")
    code, text = await it.ask("queue_outbound", client(sender="a@spam.test"))
    assert (code, text[:5]) == (DENYSOFT, "4.3.0")
    assert it.count("messages") == 0


@pytest.mark.parametrize("module", [discard, quarantine])
def test_a_slip_in_a_key_is_a_fault(tmp_path: Path, module: ModuleType) -> None:
    with pytest.raises(ValueError, match="sender_domain is not known"):
        plugged(module, tmp_path, "sender_domain=spam.test\n")


def test_a_directory_that_is_not_absolute_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="absolute"):
        Plugged.of(quarantine, tmp_path, quarantine_ini="directory=aside\n")
