"""docs/hooks.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mailboat.hooks
from mailboat.hooks import POINTS
from mailboat.hooks import objects as objects_module
from mailboat.hooks.mx import Mx
from mailboat.hooks.plugin import Plugin

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hooks.md"


def test_every_point_and_answer_is_in_its_tables() -> None:
    page = PAGE.read_text()
    for point, facts in POINTS.items():
        assert f"| `{point}` | {facts.when} | `{', '.join(facts.parameters)}` |" in page
        for code in facts.answers:
            assert re.search(rf"\| `{point}` \| `{code.value}(, \w+)?` \|", page), (point, code)


@pytest.mark.parametrize(
    "kind",
    [
        *(objects_module.Connection, objects_module.Transaction, objects_module.Header, objects_module.Body),
        *(objects_module.HMail, objects_module.Todo, objects_module.DeferredInfo, objects_module.Delivered, Mx, Plugin),
    ],
)
def test_every_public_name_of_an_object_is_mentioned(kind: type) -> None:
    page = PAGE.read_text()
    names = {*vars(kind), *getattr(kind, "__annotations__", {}), *getattr(kind, "__slots__", ())}
    internal = {"is_over", "port_given", "hooks", "auth_offers", "starters", "closers"}
    missing = {name for name in names if not name.startswith("_") and f"{name}" not in page} - internal
    assert not missing


def test_what_is_exported_is_there() -> None:
    assert all(hasattr(mailboat.hooks, name) for name in mailboat.hooks.__all__)
