"""`python -m bench`: one command for all benchmarks, with three doors that are short for theirs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.__main__ import BENCHMARKS, main

BENCH = Path(__file__).parents[3] / "bench"
DOORS = ("run", "backlog", "destinations")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_benchmark_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_without_a_name_the_command_lists_them_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["nonsense"]):
        assert main(words) == 2
        shown = capsys.readouterr().err
        assert all(f"\n  {name} " in shown for name in BENCHMARKS)


@pytest.mark.parametrize("name", DOORS)
def test_a_door_hands_its_options_to_the_command(name: str) -> None:
    done = subprocess.run(
        [BENCH / name, "--help"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: bench/{name} ")
