"""What a pod answers at `/configz` becomes its state, whatever it is. Over real sockets, without an API server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.fake_relay import FakeRelay

from mailboat_operator.observed import PodState
from mailboat_operator.relays import Pod, Relays

MISSING = "this machine does not have the source address 192.0.2.7"


@pytest.fixture
def relay() -> Iterator[FakeRelay]:
    """One admin listener."""
    relay = FakeRelay()
    yield relay
    relay.close()


async def asked(relay: FakeRelay, *, ready: bool = True) -> PodState:
    """What becomes of the pod that a relay answers for."""
    relays = Relays()
    try:
        return await relays.ask(Pod("relay-0", "127.0.0.1", relay.port, ready, "relay@sha256:1"))
    finally:
        await relays.close()


@pytest.mark.parametrize(
    ("said", "warnings", "unbound"),
    [
        ({"warnings": ["a worker does not answer", MISSING], "unbound": [MISSING]}, 2, (MISSING,)),
        ({"warnings": ["a worker does not answer"], "unbound": []}, 1, ()),
        ({"warnings": [MISSING]}, 1, (MISSING,)),
        ({"warnings": "nonsense", "unbound": {"a": 1}}, 0, ()),
        ({}, 0, ()),
    ],
    ids=["both", "another warning", "a relay that does not tell them apart", "nonsense", "neither"],
)
async def test_missing_source_addresses_are_told_from_other_warnings(
    relay: FakeRelay, said: dict[str, Any], warnings: int, unbound: tuple[str, ...]
) -> None:
    relay.configz = {"hash": "sha256:1", **said}

    found = await asked(relay)

    assert (found.hash, len(found.warnings), found.unbound) == ("sha256:1", warnings, unbound)
    assert (found.address, found.image_id) == ("127.0.0.1", "relay@sha256:1")


@pytest.mark.parametrize(("said", "dane"), [({"dane": "unavailable"}, "unavailable"), ({"dane": None}, ""), ({}, "")])
async def test_a_pod_says_whether_its_dns_servers_validate(relay: FakeRelay, said: dict[str, Any], dane: str) -> None:
    relay.configz |= {"hash": "sha256:1", **said}

    assert (await asked(relay)).dane == dane


async def test_a_pod_that_is_not_ready_is_shown_and_not_asked(relay: FakeRelay) -> None:
    relay.configz["error"] = "not to be read"

    assert await asked(relay, ready=False) == PodState(
        "relay-0", ready=False, address="127.0.0.1", image_id="relay@sha256:1"
    )


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"\xff", b"1" * 70_000])
async def test_an_answer_that_is_none_is_silence(relay: FakeRelay, answer: bytes) -> None:
    relay.raw = answer

    found = await asked(relay)

    assert found.silence
    assert (found.hash, found.error, found.warnings) == ("", "", ())
