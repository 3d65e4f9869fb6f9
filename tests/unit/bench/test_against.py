"""A benchmark with `--against` measures the relay of another commit."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from bench import against, process
from bench.fault import BenchError
from bench.interpreter import Interpreter

from mailboat.model.envelope import State
from mailboat.queue.offline import OfflineQueue

HERE = Interpreter(Path(sys.executable).parent / "mailboat", "this environment's", Path(sys.executable))


def test_the_command_of_a_commit_runs_the_code_of_that_commit(tmp_path: Path) -> None:
    subject, earlier = against.relays(argparse.Namespace(against="HEAD"), HERE, tmp_path)
    assert (subject.name, earlier.name.startswith("Mailboat ")) == ("Mailboat", True)
    home = tmp_path / earlier.name.partition(" ")[2]
    (home / "relay" / "mailboat" / "__init__.py").write_text('__version__ = "9.9.9"\n')
    assert process.run([home / "mailboat", "--version"]).strip() == "mailboat 9.9.9"


def test_a_queue_is_filled_by_the_code_of_that_commit(tmp_path: Path) -> None:
    subject, earlier = against.relays(argparse.Namespace(against="HEAD"), HERE, tmp_path)
    filler = tmp_path / earlier.name.partition(" ")[2] / "bench" / "long_queue.py"
    filler.write_text("async def fill(queue, messages, due): return 77\n")
    assert earlier.fill(tmp_path, 20, due=10) == 77
    subject.fill(tmp_path, 20, due=10)
    assert OfflineQueue(str(tmp_path)).stats()[State.DEFERRED].messages == 20


def test_without_the_option_this_checkout_is_measured_alone(tmp_path: Path) -> None:
    assert [relay.name for relay in against.relays(argparse.Namespace(against=None), HERE, tmp_path)] == ["Mailboat"]


def test_what_is_no_commit_is_said(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="nonsense"):
        against.relays(argparse.Namespace(against="nonsense"), HERE, tmp_path)
