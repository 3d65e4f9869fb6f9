"""The commit that upgrades are tested from, out of this clone's history: its charts, and images under its tag."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tools.cluster import images
from tools.cluster.cache import entry
from tools.cluster.kubectl import Failed, run
from tools.cluster.programs import Unable

COMMIT = "25c377a720ea177f94a3d5f3c615f0adb9d406fd"
"""The last one before defaults of the charts changed."""
TAG = COMMIT[:7]


@cache
def tree() -> Path:
    """The files of the commit. Raises Unable where this clone lacks it."""
    return entry("tree", COMMIT, _extract)


def archives() -> dict[str, Path]:
    """The archives of its images by their names; what is missing is built. Raises Unable with what went wrong."""
    return images.of_tree(tree(), TAG)


def _extract(into: Path) -> None:
    archive = into / "archive.tar"
    try:
        run("git", "-C", images.ROOT, "archive", f"--output={archive}", COMMIT)
    except Failed as error:
        raise Unable(
            f"upgrades are tested from commit {TAG}, which this clone lacks: git fetch --unshallow\n{error}"
        ) from None
    run("tar", "--extract", "--no-same-owner", f"--directory={into}", f"--file={archive}")
    archive.unlink()
