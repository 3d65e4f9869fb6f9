"""The import contracts between relay and operator forget no package of the relay."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RELAY = ROOT / "relay" / "mailboat"
ROOMS = {f"mailboat.{path.parent.name}" for path in RELAY.glob("*/__init__.py")}


def listed(contract: str, key: str) -> set[str]:
    """The modules of one list of a contract."""
    contracts = configparser.ConfigParser(comment_prefixes=(";",))
    contracts.read(ROOT / ".importlinter")
    return set(contracts[f"importlinter:contract:{contract}"][key].split())


@pytest.mark.parametrize(
    ("contract", "key", "allowed"),
    [
        ("operator", "forbidden_modules", {"mailboat.config", "mailboat.dkim", "mailboat.shaping", "mailboat.tlsrpt"}),
        ("relay-without-operator", "source_modules", {"mailboat.cli"}),
    ],
)
def test_a_contract_names_each_package_of_the_relay_but_the_one_that_it_lets_through(
    contract: str, key: str, allowed: set[str]
) -> None:
    assert len(ROOMS) > 10
    assert ROOMS - listed(contract, key) == allowed
