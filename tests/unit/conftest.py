"""Fixtures of the configuration's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.config_directory import Directory


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    """A configuration directory that only says this host's name."""
    directory = Directory(tmp_path / "config")
    directory.write("me", "relay.example.com\n")
    return directory
