"""What goes wrong in the life of a key: an API server that refuses, a crash between two writes, a domain of others.

Whatever it is, there is one key, it is never written over, and nothing signs before the world can verify it.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import Any

import pytest
from tests.support.memory_api import Rule
from tests.support.sending_rig import ENDPOINT, KEY, PATH, SECRET, SendingRig

from mailboat.dkim.keys import Algorithm, make_key, to_pem
from mailboat_operator import names
from mailboat_operator.workqueue import RetryAfter

BY_ENDPOINT = {"mode": "DNSEndpoint"}
STEPS = {"secret": "/secrets", "endpoint": "/dnsendpoints", "status": "/status"}
ROUNDS = 12
PEM = to_pem(make_key(Algorithm.ED25519))


class Died(BaseException):
    """The operator was killed."""


def first(number: int, status: int, path: str) -> Rule:
    """Refuse the first writes at a path."""
    left = iter([status] * number)
    return lambda method, called: next(left, None) if method != "GET" and path in called else None


def one_key_signs(rig: SendingRig) -> None:
    """The end of every story here, and what the DNSEndpoint publishes is that key."""
    assert rig.condition("Ready") == ("True", "Ready")
    assert list(rig.states.values()) == ["Active"]
    (selector,) = rig.states
    assert set(rig.keys) == {f"{selector}._domainkey.example.com.pem"}
    assert rig.signing == [selector]
    (published,) = rig.api.objects[ENDPOINT]["spec"]["endpoints"]
    (record,) = rig.status["records"]
    assert published["targets"] == [f'"{record["value"]}"']


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
@pytest.mark.parametrize("step", STEPS)
async def test_a_write_that_fails_is_made_later_and_no_second_key_is(
    sending_rig: SendingRig, step: str, status: int
) -> None:
    """0 is no answer, as at a timeout."""
    sending_rig.create(publish=BY_ENDPOINT)
    sending_rig.api.rule = first(3, status, STEPS[step])

    for _ in range(ROUNDS):
        await sending_rig.step()

    one_key_signs(sending_rig)
    assert sending_rig.retries == 3


@pytest.mark.parametrize("step", STEPS)
async def test_a_write_whose_answer_is_lost_counts(sending_rig: SendingRig, step: str) -> None:
    sending_rig.create(publish=BY_ENDPOINT)
    sending_rig.api.lost = first(1, 0, STEPS[step])
    seen: dict[str, str] = {}

    for _ in range(ROUNDS):
        await sending_rig.step()
        assert seen.items() <= sending_rig.keys.items(), "a key was written over"
        seen |= sending_rig.keys

    one_key_signs(sending_rig)
    assert sending_rig.retries >= 1


@pytest.mark.parametrize("took_effect", [True, False])
@pytest.mark.parametrize("number", range(7))
async def test_an_operator_that_dies_at_any_of_its_writes_is_followed_by_one_that_goes_on(
    sending_rig: SendingRig, number: int, *, took_effect: bool
) -> None:
    """State follows from the Secret, the status, the DNS and the pods, not from memory."""
    writes = 0

    def killed(method: str, _: str) -> None:
        nonlocal writes
        writes += method != "GET"
        if writes == number + 1:
            writes += 1
            raise Died

    if took_effect:
        sending_rig.api.lost = killed
    else:
        sending_rig.api.rule = killed
    sending_rig.create(publish=BY_ENDPOINT)
    seen: dict[str, str] = {}
    deaths = 0
    for _ in range(2 * ROUNDS):
        try:
            await sending_rig.step()
        except Died:
            deaths += 1
            sending_rig.start()
        assert seen.items() <= sending_rig.keys.items(), "a key was written over"
        seen |= sending_rig.keys

    one_key_signs(sending_rig)
    assert deaths == (number < writes - 1)


async def test_a_secret_that_may_not_be_written_is_a_condition_and_nothing_signs(sending_rig: SendingRig) -> None:
    sending_rig.create(publish=BY_ENDPOINT)
    sending_rig.api.rule = lambda method, path: 403 if method != "GET" and "/secrets" in path else None

    again = [await sending_rig.run() for _ in range(3)]

    assert sending_rig.condition("KeysReady") == ("False", "WriteRefused")
    assert "injected 403" in sending_rig.message("KeysReady")
    assert again == [pytest.approx(66.0)] * 3
    assert (sending_rig.keys, sending_rig.signing) == ({}, [])
    sending_rig.api.rule = lambda *_: None
    for _ in range(ROUNDS):
        await sending_rig.step()
    one_key_signs(sending_rig)


async def test_while_the_next_key_cannot_be_written_the_present_one_signs_on(sending_rig: SendingRig) -> None:
    sending_rig.create()
    await sending_rig.until_ready()
    before = sending_rig.signing, sending_rig.keys
    sending_rig.api.rule = lambda method, path: 403 if method != "GET" and "/secrets" in path else None
    sending_rig.annotate("rotate-requested-at", "1")
    sending_rig.watch()

    for _ in range(ROUNDS):
        await sending_rig.step()

    assert sending_rig.condition("KeysReady") == ("False", "WriteRefused")
    assert (sending_rig.signing, sending_rig.keys) == before
    assert "lastHandledRotateAt" not in sending_rig.status
    sending_rig.api.rule = lambda *_: None
    for _ in range(ROUNDS):
        await sending_rig.step()
    assert sorted(sending_rig.states.values()) == ["Active", "Retiring"]
    assert sending_rig.status["lastHandledRotateAt"] == "1"


async def test_a_secret_of_somebody_else_that_comes_at_the_same_time_is_left_alone(sending_rig: SendingRig) -> None:
    sending_rig.create()
    theirs: dict[str, Any] = {
        "metadata": {"name": f"{KEY.name}-dkim", "namespace": KEY.namespace},
        "data": {"x": "eA=="},
    }
    theirs = sending_rig.api.put(SECRET, theirs)
    with pytest.raises(RetryAfter):
        await sending_rig.run()

    await sending_rig.run()

    assert sending_rig.condition("KeysReady") == ("False", "ChildNotOwned")
    assert sending_rig.api.objects[SECRET] == theirs


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("foreign", [False, True])
async def test_a_secret_that_a_watch_tells_of_in_the_middle_of_a_run_gets_no_key_of_that_run(
    sending_rig: SendingRig, steps: int, *, foreign: bool
) -> None:
    """Somebody makes the Secret and the SendingDomain together, and the watch of Secrets is behind by some steps.

    What the run has decided without the Secret must not be written into it, whoever it belongs to.
    """
    sending_rig.create()
    labels = {names.MANAGED_BY: names.FIELD_MANAGER, names.SENDING_OWNER: KEY.name}
    theirs: dict[str, Any] = {
        "metadata": {"name": f"{KEY.name}-dkim", "namespace": KEY.namespace, "labels": {} if foreign else labels},
        "data": {"mb20261128e._domainkey.example.com.pem": base64.b64encode(PEM).decode()},
    }
    theirs = sending_rig.api.put(SECRET, theirs)
    run = asyncio.create_task(sending_rig.run())
    for _ in range(steps):
        await asyncio.sleep(0)

    sending_rig.cache.watched("Secret", theirs, "ADDED")
    with suppress(RetryAfter):
        await run
    for _ in range(ROUNDS):
        await sending_rig.step()

    assert sending_rig.keys == theirs["data"]
    assert sending_rig.condition("Ready") == (("False", "ChildNotOwned") if foreign else ("True", "Ready"))


async def test_a_key_that_somebody_puts_in_the_place_of_one_to_be_dropped_stays(sending_rig: SendingRig) -> None:
    """The key has leaked; between the status that says so and the change of the Secret, somebody has made another."""
    sending_rig.create()
    await sending_rig.until_ready()
    (selector,) = sending_rig.states
    name = f"{selector}._domainkey.example.com.pem"
    theirs = base64.b64encode(PEM).decode()

    def replaced(method: str, path: str) -> None:
        if method == "PATCH" and path.endswith("/status"):
            secret = sending_rig.api.objects[SECRET]
            changed = sending_rig.api.put(SECRET, {**secret, "data": secret["data"] | {name: theirs}})
            sending_rig.cache.watched("Secret", changed, "MODIFIED")

    sending_rig.api.rule = replaced
    sending_rig.annotate("compromised", selector)
    sending_rig.watch()

    await sending_rig.run()

    assert sending_rig.states[selector] == "Revoked"
    assert sending_rig.keys[name] == theirs


async def test_a_secret_that_somebody_changes_at_the_same_time_keeps_what_they_wrote(sending_rig: SendingRig) -> None:
    """The next key is added under the version that was read, or not at all."""
    sending_rig.create()
    await sending_rig.until_ready()
    secret = sending_rig.api.objects[SECRET]
    sending_rig.api.put(SECRET, {**secret, "data": secret["data"] | {"note": "eA=="}})
    sending_rig.annotate("rotate-requested-at", "1")
    sending_rig.watch()
    with pytest.raises(RetryAfter):
        await sending_rig.run()

    await sending_rig.run()

    assert len(sending_rig.keys) == 3
    assert sending_rig.keys.items() >= secret["data"].items()
    assert sending_rig.keys["note"] == "eA=="


async def test_a_sending_domain_that_is_gone_before_its_status_is_written_is_no_failure(
    sending_rig: SendingRig,
) -> None:
    sending_rig.create()
    gone = sending_rig.api.objects.pop(PATH)

    await sending_rig.run()
    sending_rig.cache.watched(names.SENDING_KIND, gone, "DELETED")

    assert await sending_rig.run() is None


@pytest.mark.parametrize("shown", [(), ("v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",)])
async def test_a_domain_that_is_not_ours_has_one_key_that_never_signs(
    sending_rig: SendingRig, shown: tuple[str, ...]
) -> None:
    """For its owners publish nothing of us; a rotation that is due, or asked for, makes no further key."""
    sending_rig.create()
    sending_rig.pods_load()
    await sending_rig.run()
    await sending_rig.run()
    (selector,) = sending_rig.states
    sending_rig.dns.texts_of = {f"{selector}._domainkey.example.com": shown}
    for round_ in range(100):
        sending_rig.annotate("rotate-requested-at", str(round_ // 25))
        sending_rig.watch()
        sending_rig.pods_load()
        sending_rig.seconds += 4 * 86_400
        await sending_rig.run()
        await sending_rig.ask()

    assert sending_rig.states == {selector: "Generated"}
    assert sending_rig.condition("RecordsPublished") == ("False", "KeyMismatch" if shown else "RecordMissing")
    assert sending_rig.condition("Ready")[0] == "False"
    assert (len(sending_rig.keys), sending_rig.signing) == (1, [])
