"""Other people's programs, run by tests: found or missed with a clear word, and never left to run for ever."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

PATIENCE = 60.0
"""Seconds after which a program that has not ended has failed."""
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Done:
    """What a program said, and how it ended."""

    status: int
    output: str
    """Both outputs in the order they were written."""


def find(name: str) -> str:
    """The path of a program. Fails the test, rather than skipping it, when it is missing."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.fail(f"`{name}` is missing: run tests/interop/setup, as root where packages are to be installed")
    return found


async def run(*command: str | Path, stdin: bytes = b"") -> Done:
    """Run a program to its end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PATH": _PATH},
    )
    try:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate(stdin)
    except TimeoutError:
        process.kill()
        await process.wait()
        pytest.fail(f"{command[0]} has not ended after {PATIENCE:.0f} s")
    assert process.returncode is not None
    return Done(process.returncode, output.decode(errors="replace"))


async def stop(process: asyncio.subprocess.Process, seconds: float = 20.0) -> int:
    """End a program with SIGTERM, after `seconds` with SIGKILL; its status."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        process.kill()
        return await process.wait()
