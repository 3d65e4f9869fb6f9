"""The bench runs Mailboat on the Python that it was told to use, and says which."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bench import interpreter
from bench.fault import BenchError


def test_the_python_asked_for_is_used_where_mailboat_is_installed_beside_it() -> None:
    chosen = interpreter.choose(Path(sys.executable))
    assert chosen.command == Path(sys.executable).parent / "mailboat"
    assert f"Python {sys.version.split()[0]}" in chosen.described


def test_a_python_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="there is no"):
        interpreter.choose(tmp_path / "python3")


def test_a_python_that_is_too_old_is_an_error(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho '[[3, 10, 2], \"3.40.1\"]'\n")
    old.chmod(0o755)
    with pytest.raises(BenchError, match=r"3\.10\.2: Mailboat needs 3\.11"):
        interpreter.choose(old)
