"""`mailboat plugin`: the list, the order, and a new plugin whose test passes and whose types hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mailboat.cli.plugin import list_plugins, new, order

ROOT = Path(__file__).parents[3]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "plugins.d").mkdir()
    (tmp_path / "plugins.d" / "mine.py").write_text(
        "from mailboat.hooks import *\n"
        "def register(plugin):\n    plugin.register_hook('rcpt', first, priority=-1)\n"
        "async def first(connection, address, params): ...\n"
        "def hook_rcpt(connection, address, params): ...\n"
        "def hook_delivered(hmail, params): ...\n"
    )
    (tmp_path / "plugins.d" / "idle.py").write_text("")
    (tmp_path / "plugins").write_text("headers\nmine\n")
    (tmp_path / "headers.ini").write_text("[add]\nX-By=us\n")
    return tmp_path


def test_the_list_has_what_is_in_use_first_in_its_order(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list_plugins(config=config) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines[:2]] == [["*", "headers"], ["*", "mine"]]
    assert ["idle", "file", str(config / "plugins.d" / "idle.py")] in lines
    assert ["auth_flat_file", "shipped"] in lines


def test_the_list_needs_no_directory(capsys: pytest.CaptureFixture[str]) -> None:
    assert list_plugins() == 0
    assert "auth_flat_file" in capsys.readouterr().out


def test_the_order_names_each_hook_of_each_point(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert order(config=config) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line.startswith("rcpt")] == [
        "rcpt 1. mine (first, async, priority -1)",
        "rcpt 2. mine (hook_rcpt, sync)",
    ]
    assert "delivered 1. mine (hook_delivered, sync)" in lines


def test_a_plugin_that_does_not_load_is_told_with_its_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (config / "plugins.d" / "mine.py").write_text("\n\nraise ValueError('broken')\n")
    assert order(config=config) == 78
    assert capsys.readouterr().err == "plugins.d/mine.py:3: ValueError: broken\n"


def test_a_new_plugin_passes_its_test_and_the_type_checker(tmp_path: Path) -> None:
    assert new("greylist", directory=tmp_path) == 0
    files = [str(tmp_path / "greylist.py"), str(tmp_path / "test_greylist.py")]
    # Away from this project's own settings, as its author would.
    test = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_greylist.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert test.returncode == 0, test.stdout
    assert "2 passed" in test.stdout
    check = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(ROOT / ".mypy_cache"), *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stdout


def test_a_new_plugin_overwrites_nothing_and_has_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("mine")
    assert new("mine", directory=tmp_path) == 73
    assert (tmp_path / "mine.py").read_text() == "mine"
    assert not (tmp_path / "test_mine.py").exists()
    for name in ("../x", "X", "", "1x", "a-b", "a.b"):
        assert new(name, directory=tmp_path) == 64
    assert "is not a name" in capsys.readouterr().err
