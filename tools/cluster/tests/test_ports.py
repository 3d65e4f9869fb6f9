"""Ports for tests: given to one of them, whichever process of pytest-xdist it runs in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tools import ports


@pytest.fixture(autouse=True)
def own_ports_anew() -> Iterator[None]:
    """What a process may give is worked out in each test, and anew behind them."""
    ports._own_ports.cache_clear()
    yield
    ports._own_ports.cache_clear()


def test_a_port_is_not_given_again_soon() -> None:
    assert len(set(ports.free_ports(100) + ports.free_ports(100))) == 200


def test_processes_of_pytest_xdist_have_no_port_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    remainders = []
    for worker in ("gw0", "gw1", "gw2"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        ports._own_ports.cache_clear()
        remainders.append({port % 3 for port in ports.free_ports(20)})
    assert sorted(remainders, key=min) == [{0}, {1}, {2}]
