"""What the documentation points at is there, and what it must list is listed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"`((?:tests|relay|docs|bench|examples|scripts|charts|observability)/[\w./*-]+)`")
_TEST = re.compile(r"`(tests/[\w./-]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_within_the_tree_leads_to_a_file(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        if "://" not in link and not link.startswith("#"):
            assert (page.parent / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_path_that_is_named_is_there(page: Path) -> None:
    for path in _PATH.findall(page.read_text()):
        if not path.startswith("bench/results"):  # made by a run
            assert list(ROOT.glob(path)), path


def test_each_row_of_the_security_page_names_tests_that_are_there() -> None:
    tables = re.findall(
        r"^\|.* held by \|\n\|-.*\n((?:\|.*\n)+)", (ROOT / "docs" / "security.md").read_text(), re.MULTILINE
    )
    assert len(tables) > 2
    for row in "".join(tables).splitlines():
        tests = _TEST.findall(row)
        assert tests, row
        for path, name in tests:
            assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{name}"


def test_the_readme_leads_to_every_page() -> None:
    linked = set(_LINK.findall((ROOT / "README.md").read_text()))
    assert {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")} <= linked


def test_the_page_of_dependencies_lists_each_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"]]
    for group in (*project["project"]["optional-dependencies"].values(), *project["dependency-groups"].values()):
        wanted += [entry for entry in group if isinstance(entry, str)]
    names = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in wanted}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    listed = {name.strip() for row in re.findall(r"^\| ([^|`]+) \|", page, re.MULTILINE) for name in row.split(",")}
    assert names <= listed
    assert listed - names == {"lock", "package"}


def test_the_readme_shows_the_commands_that_a_run_prints() -> None:
    readme = (ROOT / "README.md").read_text()
    printed = (ROOT / "scripts" / "run-local").read_text()
    command = "mailboat send --server 127.0.0.1:2525 --from you@example.com --to friend@example.net -"
    assert command in readme
    assert command.replace("127.0.0.1:2525", "$smtp").replace("mailboat", "$mailboat", 1) in printed


def test_the_docs_build_images_on_a_base_that_its_digest_names() -> None:
    """A tag may be another image tomorrow."""
    page, dockerfile = ((ROOT / name).read_text() for name in ("docs/kubernetes.md", "Dockerfile"))
    builds = re.findall(r"docker build .*", page + dockerfile)
    assert len(builds) == 6
    assert all(re.search(r"--build-arg BASE=(\$BASE|python@sha256:)", build) for build in builds)
    assert "BASE=$(docker image inspect --format '{{index .RepoDigests 0}}'" in page
