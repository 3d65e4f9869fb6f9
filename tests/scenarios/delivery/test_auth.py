"""AUTH towards a smart host."""

from __future__ import annotations

import base64
import hmac
import logging

import pytest
from tests.support.attempts import delivery_rig, make_entry
from tests.support.scripted_mx import ScriptedMx

from mailboat.model.outcome import Result, Stage
from mailboat.routing.answers import Credentials

USER = Credentials("user", "päss")


def b64(text: str) -> str:
    """Base64 of UTF-8."""
    return base64.b64encode(text.encode()).decode()


async def test_plain_sends_the_credentials_in_one_line() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN LOGIN", "PIPELINING"]
        report = await rig.attempt(make_entry(), mx.target(credentials=USER))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.authenticated
        assert mx.connections[0].lines[1] == "AUTH PLAIN " + b64("\0user\0päss")


async def test_login_sends_name_and_password_each_to_a_challenge() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH LOGIN"]
        mx.on("AUTH", "334 " + b64("Username:"), "334 " + b64("Password:"), "235 2.7.0 ok")

        assert (await rig.outcome(mx.target(credentials=USER))).result is Result.DELIVERED
        assert mx.connections[0].lines[1:4] == ["AUTH LOGIN", b64("user"), b64("päss")]


async def test_a_password_too_long_for_a_command_goes_in_a_line_of_its_own() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN"]
        mx.on("AUTH", "334 ", "235 2.7.0 ok")
        credentials = Credentials("user", "x" * 500)

        assert (await rig.outcome(mx.target(credentials=credentials))).result is Result.DELIVERED
        assert mx.connections[0].lines[1:3] == ["AUTH PLAIN", b64("\0user\0" + "x" * 500)]


async def test_a_challenge_that_is_not_base64_ends_the_exchange() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH CRAM-MD5"]
        mx.on("AUTH", "334 <1.2@mx.test>", "501 5.5.2 cancelled")
        outcome = await rig.outcome(mx.target(credentials=USER))

        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.AUTH)
        assert mx.connections[0].lines[1:3] == ["AUTH CRAM-MD5", "*"]


async def test_a_host_that_asks_on_and_on_is_left() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN"]
        mx.on("AUTH", "334 ")
        outcome = await rig.outcome(mx.target(credentials=USER))

        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.AUTH)


async def test_cram_md5_is_preferred_and_answers_the_challenge() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN CRAM-MD5"]
        mx.on("AUTH", "334 " + b64("<1.2@mx.test>"), "235 2.7.0 ok")

        assert (await rig.outcome(mx.target(credentials=USER))).result is Result.DELIVERED
        digest = hmac.new("päss".encode(), b"<1.2@mx.test>", "md5").hexdigest()
        assert mx.connections[0].lines[1:3] == ["AUTH CRAM-MD5", b64(f"user {digest}")]


async def test_the_mechanism_that_is_configured_is_the_one_used() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH CRAM-MD5 PLAIN"]
        await rig.outcome(mx.target(credentials=Credentials("user", "pass", "plain")))

        assert mx.connections[0].lines[1].startswith("AUTH PLAIN ")


async def test_wrong_credentials_defer_raise_the_alarm_and_are_not_tried_elsewhere() -> None:
    async with ScriptedMx.start() as mx, ScriptedMx.start() as other, delivery_rig() as rig:
        mx.extensions = other.extensions = ["AUTH PLAIN"]
        mx.on("AUTH", "535 5.7.8 no")
        outcome = await rig.outcome(mx.target(credentials=USER), other.target(credentials=USER))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.8", Stage.AUTH)
        assert rig.observer.authentication_failures == [("mx.test", "535 5.7.8 no")]
        assert not other.connections


async def test_trouble_on_their_side_asks_the_next_host() -> None:
    async with ScriptedMx.start() as mx, ScriptedMx.start() as other, delivery_rig() as rig:
        mx.extensions = other.extensions = ["AUTH PLAIN"]
        mx.on("AUTH", "454 4.7.0 later")
        outcome = await rig.outcome(mx.target(credentials=USER), other.target("other.test", credentials=USER))

        assert (outcome.result, outcome.mx) == (Result.DELIVERED, "other.test")
        assert not rig.observer.authentication_failures


@pytest.mark.parametrize("extensions", [[], ["AUTH GSSAPI"], ["AUTH LOGIN"]])
async def test_without_a_usable_mechanism_required_auth_defers(extensions: list[str]) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = extensions
        outcome = await rig.outcome(mx.target(credentials=Credentials("user", "pass", "PLAIN", required=True)))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.0", Stage.AUTH)
        assert "AUTH PLAIN" in outcome.reason
        assert not mx.mails


async def test_without_a_usable_mechanism_mail_goes_without_and_a_warning_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        with caplog.at_level(logging.WARNING):
            report = await rig.attempt(make_entry(), mx.target(credentials=USER))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert not report.peer.authenticated
        assert "AUTH" in caplog.text
        assert "päss" not in caplog.text
