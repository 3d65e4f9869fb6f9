"""A benchmark with `--against` measures the relay of another commit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from bench import against, process
from bench.fault import BenchError
from bench.interpreter import Interpreter

HERE = Interpreter(Path(sys.executable).parent / "mailboat", "this environment's")


def test_the_command_of_a_commit_runs_the_code_of_that_commit(tmp_path: Path) -> None:
    subject, earlier = against.relays(argparse.Namespace(against="HEAD"), HERE, tmp_path)
    assert (subject.name, earlier.name.startswith("Mailboat ")) == ("Mailboat", True)
    home = tmp_path / earlier.name.partition(" ")[2]
    (home / "relay" / "mailboat" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    assert process.run([home / "mailboat", "--version"]).strip() == "mailboat 9.9.9"


def test_without_the_option_this_checkout_is_measured_alone(tmp_path: Path) -> None:
    assert [relay.name for relay in against.relays(argparse.Namespace(against=None), HERE, tmp_path)] == ["Mailboat"]


def test_what_is_no_commit_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nonsense"):
        against.relays(argparse.Namespace(against="nonsense"), HERE, tmp_path)
