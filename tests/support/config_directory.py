"""A configuration directory that tests write and load."""

from __future__ import annotations

from pathlib import Path

from mailboat.config.settings import Settings
from mailboat.loading.load import Loaded, load


class Directory:
    """One directory; files are written as text or octets, and loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file, whose directory need not exist yet."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def load(self, **environ: str) -> Loaded:
        """Load it as the relay would."""
        return load(self.path, environ)

    def settings(self, **environ: str) -> Settings:
        """What it says; there must be neither faults nor warnings."""
        loaded = self.load(**environ)
        assert loaded.faults == ()
        assert loaded.warnings == ()
        assert loaded.settings is not None
        return loaded.settings

    def faults(self) -> list[str]:
        """Every fault as its line; with any of them, there are no settings."""
        loaded = self.load()
        assert (loaded.settings is None) == bool(loaded.faults)
        return [str(fault) for fault in loaded.faults]

    def warnings(self) -> list[str]:
        """Every warning as its line; there must be no fault."""
        loaded = self.load()
        assert loaded.faults == ()
        return [str(warning) for warning in loaded.warnings]
