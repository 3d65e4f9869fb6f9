"""A volume of a pod as the kubelet keeps it: a folder for each version, and a symlink that leads to the present one."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


class MountedVolume:
    """Publishes versions as the kubelet's atomic writer does: files of one volume change together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._versions = 0
        path.mkdir(parents=True, exist_ok=True)

    def publish(self, files: Mapping[str, str | bytes]) -> None:
        """Have the volume hold these files and no others."""
        self._versions += 1
        fresh, link = self.path / f"..version_{self._versions}", self.path / "..data"
        fresh.mkdir()
        for name, content in files.items():
            (fresh / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        before = link.resolve() if link.is_symlink() else None
        (self.path / "..data_tmp").symlink_to(fresh.name)
        (self.path / "..data_tmp").rename(link)
        there = {path.name for path in self.path.iterdir() if not path.name.startswith("..")}
        for name in files.keys() - there:
            (self.path / name).symlink_to(f"..data/{name}")
        for name in there - files.keys():
            (self.path / name).unlink()
        if before:
            shutil.rmtree(before)
