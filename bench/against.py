"""The relay of another commit, to be measured beside this checkout in the same run (`--against COMMIT`).

Its code is taken out of git and runs on this checkout's interpreter with the packages installed there. Called by the
benchmarks that run Mailboat.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench import process
from bench.fault import BenchError
from bench.interpreter import Interpreter
from bench.relays.mailboat import Mailboat

_CHECKOUT = Path(__file__).resolve().parent.parent
_LAUNCHER = """#!{python}
import os, sys
code = {code!r}
os.environ["PYTHONPATH"] = os.pathsep.join(code)  # for the worker processes
sys.path[:0] = code
from mailboat.cli import main
sys.exit(main())
"""


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--against`."""
    parser.add_argument("--against", metavar="COMMIT", help="measure Mailboat as it is at this commit beside it")


def relays(
    options: argparse.Namespace, interpreter: Interpreter, directory: Path, nodes: str = "cpus"
) -> list[Mailboat]:
    """This checkout's Mailboat, and the one of `--against` where it is given; raises BenchError for no commit."""
    subject = Mailboat(interpreter, nodes)
    if not options.against:
        return [subject]
    commit = process.run(["git", "rev-parse", "--short", "--verify", f"{options.against}^{{commit}}"], cwd=_CHECKOUT)
    commit = commit.strip()
    tree = directory / commit
    earlier = Interpreter(_check_out(commit, interpreter.python, tree), f"the same, at {commit}", interpreter.python)
    return [subject, Mailboat(earlier, nodes, name=f"{Mailboat.name} {commit}", tree=tree)]


def _check_out(commit: str, python: Path, home: Path) -> Path:
    """A command that runs `mailboat` as it is at `commit`."""
    if not python.exists():
        raise BenchError(f"there is no {python} to run commit {commit} with")
    home.mkdir()
    archive = home / "code.tar"
    process.run(["git", "archive", "--output", archive, commit, "relay", "operator", "bench"], cwd=_CHECKOUT)
    process.run(["tar", "-xf", archive, "-C", home])
    launcher = home / "mailboat"
    launcher.write_text(_LAUNCHER.format(python=python, code=[str(home / "relay"), str(home / "operator")]))
    launcher.chmod(0o755)
    return launcher
