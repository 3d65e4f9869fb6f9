"""A plugin's own file: typed reads, lists, and faults that name the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailboat.hooks import ConfigError, PluginConfig
from mailboat.hooks.plugin_config import PluginFiles
from mailboat.loading.fingerprint import changed, file_mark

TEXT = """\
name=mailboat
on=true
count=-5
wait=2m
list[]=a
list[]=b
[other]
name=else
on=perhaps
"""


@pytest.fixture
def config(tmp_path: Path) -> PluginConfig[None]:
    (tmp_path / "x.ini").write_text(TEXT)
    return PluginFiles(tmp_path).config("x.ini", None)


def test_values_are_read_by_kind(config: PluginConfig[None]) -> None:
    assert config.get("name") == "mailboat"
    assert config.get("name", section="other") == "else"
    assert config.boolean("on") is True
    assert config.integer("count") == -5
    assert config.seconds("wait") == 120
    assert config.items("list") == ["a", "b"]
    assert config.items("name") == ["mailboat"]
    assert config.sections == ("main", "other")
    assert config.section("other") == {"name": "else", "on": "perhaps"}
    assert config.read("name", str.upper, "") == "MAILBOAT"


def test_what_is_missing_is_the_default(config: PluginConfig[None]) -> None:
    assert config.get("no", "x") == "x"
    assert config.boolean("no", default=True) is True
    assert config.integer("no", 7) == 7
    assert config.items("no") == []
    assert config.section("no") == {}


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda c: c.get("list"), "x.ini:5: [main] list: takes one value"),
        (lambda c: c.boolean("on", section="other"), "x.ini:9: [other] on: is neither true"),
        (lambda c: c.integer("name"), "x.ini:1: [main] name: is not a whole number"),
        (lambda c: c.seconds("name"), "x.ini:1: [main] name: "),
    ],
)
def test_a_value_of_another_kind_is_told_with_its_line(config: PluginConfig[None], read: object, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(config)  # type: ignore[operator]
    assert str(caught.value).startswith(fault)


def test_a_file_that_is_not_there_is_empty(tmp_path: Path) -> None:
    config = PluginFiles(tmp_path).config("no.ini", None)
    assert (config.sections, config.lines, config.get("x")) == ((), (), "")


def test_a_list_file_has_lines(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("# comment\n a.test \n\n; another\nb.test\n")
    assert PluginFiles(tmp_path).config("domains", None).lines == ("a.test", "b.test")


def test_lines_of_an_ini_file_that_is_read_as_one_are_no_faults(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("not an ini line\n")
    assert PluginFiles(tmp_path).config("domains", None).lines == ("not an ini line",)


@pytest.mark.parametrize("name", ["", "../x.ini", "/etc/passwd", "a/../../x", "a\0b"])
def test_only_files_of_the_directory_are_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a file of the configuration directory"):
        PluginFiles(tmp_path).config(name, None)


def test_a_huge_or_odd_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "huge.ini").write_bytes(b"#" * (2**20 + 1))
    (tmp_path / "odd.ini").write_bytes(b"a=\xff\n")
    (tmp_path / "dir.ini").mkdir()
    for name in ("huge.ini", "odd.ini", "dir.ini"):
        with pytest.raises(ConfigError, match=name):
            PluginFiles(tmp_path).config(name, None)


def test_a_file_that_is_read_twice_is_marked_as_it_was_first(tmp_path: Path) -> None:
    """Whoever read it first does not know what it says since."""
    path = tmp_path / "x.ini"
    path.write_text("a=1\n")
    files = PluginFiles(tmp_path)
    files.config("x.ini", None)
    first = file_mark(path)
    path.write_text("a=22\n")
    files.config("x.ini", None)
    assert files.marks[path] == first
    assert changed(files.marks)
    files.stage()
    assert not changed(files.marks)
