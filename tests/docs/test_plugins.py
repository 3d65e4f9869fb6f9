"""The pages about plugins: each shipped one has a page, the index names it, and what the page shows is taken."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from tests.support.plugged import Plugged

import mailboat.plugins

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    path.stem for path in Path(str(mailboat.plugins.__file__)).parent.glob("*.py") if not path.stem.startswith("_")
)
_BLOCK = re.compile(r"^```ini (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(name: str) -> str:
    return (ROOT / "docs" / "plugins" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", SHIPPED)
def test_what_the_page_shows_is_taken(name: str, tmp_path: Path) -> None:
    """Each block is a whole file of the configuration directory, and no fault."""
    files = dict(_BLOCK.findall(page(name)))
    assert set(files) <= {f"{name}.ini", "relay_dest_domains.ini"}
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    plugged = Plugged.of(importlib.import_module(f"mailboat.plugins.{name}"), tmp_path)
    assert plugged.plugin.hooks


def test_the_index_names_each_of_them_in_order() -> None:
    index = (ROOT / "docs" / "plugins.md").read_text()
    assert re.findall(r"^\| \[(\w+)\]\(plugins/\1\.md\)", index, re.MULTILINE) == SHIPPED
