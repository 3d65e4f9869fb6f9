"""The slow disk of the bench is slow, and is not believed when it is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bench import slowsync
from bench.fault import BenchError

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="the shim needs a C compiler")
SYNC_THRICE = "import os, sys; f = open(sys.argv[1], 'wb')\nfor sync in (os.fsync, os.fdatasync, os.fsync): sync(f)"


def test_each_sync_of_a_preloaded_process_is_counted_and_held_back(tmp_path: Path) -> None:
    shim = slowsync.build(tmp_path, delay=0.005)
    before = shim.read()
    environment = {**os.environ, **shim.environment()}
    subprocess.run([sys.executable, "-c", SYNC_THRICE, tmp_path / "file"], env=environment, check=True)
    seen = shim.since(before)
    assert seen.count == 3
    assert seen.waited >= 3 * 0.005


def test_a_process_without_the_shim_is_a_fault(tmp_path: Path) -> None:
    shim = slowsync.build(tmp_path, delay=0.005)
    subprocess.run([sys.executable, "-c", SYNC_THRICE, tmp_path / "file"], check=True)
    with pytest.raises(BenchError, match="not in effect"):
        shim.since(slowsync.Syncs(0, 0.0))
