"""A real disk that is really full: a small file system in a mount namespace of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

MOUNT = 'mount -t tmpfs -o size=32m none "$1"'


def in_a_namespace(directory: Path, script: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script as root of a namespace; `$1` is the directory."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", script, "sh", str(directory), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_a_full_disk_refuses_mail_records_outcomes_and_resumes(tmp_path: Path) -> None:
    try:
        possible = in_a_namespace(tmp_path, MOUNT).returncode == 0
    except FileNotFoundError:
        possible = False
    if not possible:
        pytest.skip("this machine lets nobody mount a file system of his own")
    ran = in_a_namespace(tmp_path, f'{MOUNT}; exec "$2" -m tests.support.full_disk "$1"', sys.executable)
    assert ran.returncode == 0, ran.stderr
    facts = json.loads(ran.stdout)
    assert facts["accepted"] > 500
    assert facts["refused"] > 100
    assert facts["refusals"]
    assert all("octets free" in refusal for refusal in facts["refusals"])
    assert facts["deferred"] == facts["accepted"] // 2
    assert facts["fault_then"] == ""
    assert facts["accepted_then"] == 1
    assert facts["intact"]
