"""Everything that is queued is signed: through the whole relay, judged by dkimpy at the sink."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.dkim import add_key, path_of, signatures_of, verified
from tests.support.plugin_relay import PluginConfig
from tests.support.programs import run
from tests.support.relay_process import COMMAND, Relay, launch, running
from tests.support.scripted_mx import ScriptedMx

from mailboat.dkim.keys import Algorithm

PLAIN = b"From: Joe <joe@example.com>\r\nSubject: hi\r\n\r\nGood  day. \r\n"
LARGE = b"From: joe@example.com\r\nSubject: large\r\n\r\n" + b"..a  line \r\n" * 100_000 + b"\r\n" * 9


async def delivered(relay: Relay, mx: ScriptedMx, body: bytes, count: int = 1) -> bytes:
    """What the sink has of it."""
    await relay.submit(body=body)
    await relay.event("delivered", count)
    return mx.mails[-1].body


@pytest.mark.parametrize("body", [PLAIN, LARGE], ids=["in memory", "in a file"])
async def test_a_mail_has_a_signature_of_each_algorithm_and_that_of_rsa_on_top(
    config: PluginConfig, mx: ScriptedMx, body: bytes
) -> None:
    keys = [add_key(config, algorithm) for algorithm in Algorithm]
    async with running(config) as relay:
        mail = await delivered(relay, mx, body)
        (received,) = await relay.event("received")
        metrics = await relay.metrics()
    assert verified(mail, *keys) == [True, True]
    signatures = signatures_of(mail)
    assert [tags["a"] for tags in signatures] == ["rsa-sha256", "ed25519-sha256"]
    assert not any("l" in tags for tags in signatures)
    assert received["dkim"] == [{"d": "example.com", "s": tags["s"], "a": tags["a"]} for tags in signatures]
    assert received["size"] == len(mail)
    assert metrics["mailboat_dkim_signatures_total{algorithm=rsa}{result=signed}"] == 1


@pytest.mark.parametrize("nodes", [0, 2])
async def test_the_age_of_the_oldest_key_in_use_is_told(config: PluginConfig, mx: ScriptedMx, nodes: int) -> None:
    """Of one that signs no more it is not: the one with the later selector does."""
    config.nodes = nodes
    config.write()
    for selector in ("mb20260301r", "mb20260101r"):
        add_key(config, Algorithm.RSA, selector=selector)
    add_key(config, Algorithm.ED25519, selector="mb20260201e")
    async with running(config) as relay:
        metrics = await relay.metrics()
    day = datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert metrics["mailboat_dkim_oldest_key_timestamp_seconds"] == day


async def test_without_keys_no_age_of_a_key_is_told(config: PluginConfig, mx: ScriptedMx) -> None:
    async with running(config) as relay:
        assert "mailboat_dkim_oldest_key_timestamp_seconds" not in await relay.metrics()


async def test_a_change_on_the_way_breaks_the_signature(config: PluginConfig, mx: ScriptedMx) -> None:
    key = add_key(config, Algorithm.ED25519)
    async with running(config) as relay:
        mail = await delivered(relay, mx, PLAIN)
    assert verified(mail, key) == [True]
    assert verified(b"From: eve@evil.example\r\n" + mail, key) == [False]


@pytest.mark.parametrize(
    ("author", "subdomains", "is_signed"),
    [
        ("a@news.example.com", "true", True),
        ("a@news.example.com", "false", False),
        ("a@badexample.com", "true", False),
        ("a@other.example", "true", False),
        ('"a@example.com" <x@other.example>', "true", False),
        ("x@other.example (a@example.com)", "true", False),
        ("x@[192.0.2.1]", "true", False),
        ("x@com", "true", False),
    ],
)
async def test_the_authors_domain_and_those_above_it_sign(
    config: PluginConfig, mx: ScriptedMx, author: str, subdomains: str, is_signed: bool
) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.put("dkim.ini", f"[domain:example.com]\nsubdomains={subdomains}\n")
    async with running(config) as relay:
        mail = await delivered(relay, mx, f"From: {author}\r\n\r\nhi\r\n".encode())
        metrics = await relay.metrics()
    assert verified(mail, key) == [True] * is_signed
    assert metrics["mailboat_dkim_signatures_total{algorithm=none}{result=unsigned}"] == (not is_signed)


async def test_an_international_domain_is_written_as_a_labels(config: PluginConfig, mx: ScriptedMx) -> None:
    key = add_key(config, Algorithm.ED25519, "xn--bcher-kva.example")
    async with running(config) as relay:
        mail = await delivered(relay, mx, "From: ü@bücher.example\r\n\r\nhi\r\n".encode())
    assert verified(mail, key) == [True]
    assert signatures_of(mail)[0]["d"] == "xn--bcher-kva.example"


@pytest.mark.parametrize("body", [PLAIN, LARGE], ids=["in memory", "in a file"])
async def test_what_a_plugin_made_of_the_header_is_signed(config: PluginConfig, mx: ScriptedMx, body: bytes) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.plug(
        "p",
        """
        def hook_data_post(connection):
            header = connection.transaction.header
            header.remove("Subject")
            header.add("Subject", "another")
        """,
    )
    async with running(config) as relay:
        mail = await delivered(relay, mx, body)
    assert b"Subject: another\r\n" in mail
    assert verified(mail, key) == [True]


async def test_a_mail_of_a_plugin_without_a_last_line_end_is_signed(config: PluginConfig, mx: ScriptedMx) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.plug(
        "p",
        """
        from mailboat import outbound

        async def hook_queue_ok(connection, text):
            if not connection.transaction.notes.get("told"):
                await outbound.send_email("a@example.com", "bob@there.test", "From: a@example.com\\n\\nno end")
        """,
    )
    async with running(config) as relay:
        await relay.submit(body=b"From: x@other.example\r\n\r\nhi\r\n")
        await relay.event("delivered", 2)
    (mail,) = (mail.body for mail in mx.mails if b"no end" in mail.body)
    assert verified(mail, key) == [True]


@pytest.mark.parametrize("body", [PLAIN, LARGE], ids=["in memory", "in a file"])
async def test_a_bounce_is_signed_and_returns_a_signed_mail_whole(
    config: PluginConfig, mx: ScriptedMx, body: bytes
) -> None:
    own = add_key(config, Algorithm.ED25519, "relay.test")
    add_key(config, Algorithm.ED25519)
    mx.on_rcpt("bob@there.test", "550 5.1.1 no such user")
    async with running(config) as relay:
        await relay.submit(body=body)
        await relay.event("delivered")
    (bounce,) = (mail.body for mail in mx.mails)
    assert verified(bounce, own) == [True]
    assert b"\r\nDKIM-Signature: " in bounce.partition(b"message/rfc822")[2]
    assert body.partition(b"\r\n\r\n")[2].rstrip() in bounce


async def test_arc_sets_of_others_are_passed_on_as_they_are_and_not_signed(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    key = add_key(config, Algorithm.ED25519)
    body = b"".join(map(arc_set, (3, 2, 1))) + PLAIN
    async with running(config) as relay:
        mail = await delivered(relay, mx, body)
    assert mail.endswith(body.partition(b"\r\n\r\n")[2])
    assert b"".join(map(arc_set, (3, 2, 1))) in mail
    (signature,) = signatures_of(mail)
    assert "arc" not in signature["h"].lower()
    assert verified(mail, key) == [True]


def arc_set(number: int) -> bytes:
    """The fields that one intermediary added (RFC 8617 4.1), with odd blanks and folds."""
    seal = b"ARC-Seal: i=%d; a=rsa-sha256; t=12345; cv=%b;\r\n\td=one.test; s=arc; b=QUJD\r\n  REVG\r\n"
    signature = b"ARC-Message-Signature:  i=%d; a=rsa-sha256; d=one.test; s=arc;\r\n h=from; bh=QQ==; b=QQ==\r\n"
    results = b"ARC-Authentication-Results: i=%d; one.test;\r\n\tspf=pass\r\n"
    return seal % (number, b"pass" if number > 1 else b"none") + signature % number + results % number


async def test_a_large_signed_mail_outlives_a_restart_and_a_move_to_another_queue(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.outbound_is("disabled=true")
    async with running(config) as relay:
        await relay.submit(body=LARGE)
        assert await relay.stop() == 0
    archive = tmp_path / "queue.tar"
    done = await run(COMMAND, "queue", "export", archive, "--remove", "--config", config.directory)
    assert done.status == 0, done.output
    other = PluginConfig(tmp_path / "other", mx.port)
    done = await run(COMMAND, "queue", "import", archive, "--config", other.directory)
    assert done.status == 0, done.output
    async with running(other) as relay:
        await relay.event("delivered")
    (mail,) = mx.mails
    assert verified(mail.body, key) == [True]


async def test_a_large_signed_mail_is_delivered_after_a_kill(config: PluginConfig, mx: ScriptedMx) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.outbound_is("disabled=true")
    async with running(config) as relay:
        await relay.submit(body=LARGE)
        await relay.kill_all()
    config.outbound_is()
    async with running(config) as relay:
        await relay.event("delivered")
    (mail,) = mx.mails
    assert verified(mail.body, key) == [True]


async def test_thirty_mebibytes_are_signed_in_the_memory_of_one(config: PluginConfig, mx: ScriptedMx) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.smtp, config.outbound = ["databytes=41943040"], ["disabled=true"]
    config.write()
    async with running(config) as relay:

        def most() -> int:
            status = Path(f"/proc/{relay.process.pid}/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0])

        await relay.submit(body=LARGE)
        before = most()
        await relay.submit(body=LARGE + b"a  line \t of text\r\n" * 1_650_000)
        assert most() - before < 16 * 1024
        config.outbound_is()
        await relay.event("delivered", 2)
    assert [verified(mail.body, key) for mail in mx.mails] == [[True]] * 2


async def test_a_bad_key_leaves_those_in_force_and_is_named(config: PluginConfig, mx: ScriptedMx) -> None:
    key = add_key(config, Algorithm.ED25519)
    async with running(config) as relay:
        path_of(config, key).write_text("hello")
        await relay.logged(f"dkim/{key.dns_name}.pem: neither a PEM block")
        assert verified(await delivered(relay, mx, PLAIN), key) == [True]
        path_of(config, key).unlink()
        await relay.logged("all keys in dkim/ vanished")
        assert verified(await delivered(relay, mx, PLAIN, 2), key) == [True]
    path_of(config, key).write_text("hello")
    refused = await launch(config)
    assert await refused.exit_code() == 78


async def test_a_key_that_comes_later_signs_without_a_restart(config: PluginConfig, mx: ScriptedMx) -> None:
    old = add_key(config, Algorithm.ED25519, selector="s1")
    async with running(config) as relay:
        assert verified(await delivered(relay, mx, PLAIN), old) == [True]
        reloads = len([event for event in relay.events if event["event"] == "config"])
        new = add_key(config, Algorithm.ED25519, selector="s2")
        await relay.event("config", reloads + 1)
        mail = await delivered(relay, mx, PLAIN, 2)
    assert [tags["s"] for tags in signatures_of(mail)] == ["s2"]
    assert verified(mail, new) == [True]


@pytest.mark.parametrize("strict", ["true", "false"])
async def test_with_last_good_strict_decides_on_mail_of_a_key_that_cannot_be_used(
    config: PluginConfig, mx: ScriptedMx, strict: str
) -> None:
    key = add_key(config, Algorithm.ED25519)
    config.put("dkim.ini", f"[main]\nstrict={strict}\n")
    async with running(config, options=["--last-good"]) as relay:
        await relay.stop()
    path_of(config, key).write_text("hello")
    async with running(config, options=["--last-good"]) as relay:
        await delivered(relay, mx, b"From: x@other.example\r\n\r\nhi\r\n")
        if strict == "true":
            with pytest.raises(Exception, match=r"4\.3\.0"):
                await relay.submit(body=PLAIN)
            await relay.logged("is refused for now: example.com: neither a PEM block")
        else:
            assert signatures_of(await delivered(relay, mx, PLAIN, 2)) == []
        metrics = await relay.metrics()
    assert metrics["mailboat_dkim_signatures_total{algorithm=none}{result=error}"] == 1
