"""Each point of delivery, each answer, through real sockets: what a plugin says is what happens to the mail."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.plugin_relay import NOTING, PluginConfig, noted
from tests.support.relay_process import Relay, running
from tests.support.scripted_mx import Held, ScriptedMx

from mailboat.queue.backoff import JITTER


def has(state: str, attempts: int, entries: list[dict[str, Any]]) -> bool:
    found = [(entry["state"], entry["attempts"]) for entry in entries]
    return found == [(state, attempts)]


async def waits(relay: Relay, attempts: int) -> dict[str, Any]:
    """The one entry, once it is deferred after so many attempts."""
    (entry,) = await relay.poll(relay.queue, partial(has, "deferred", attempts))
    return dict(entry)


# send_email.


async def test_delay_of_send_email_puts_mail_off_without_an_attempt_and_survives_a_kill(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    config.plug(
        "p",
        """
        async def hook_send_email(hmail):
            if not hmail.notes.get("asked"):
                hmail.notes["asked"] = True
                return DELAY, 3600
        """,
    )
    async with running(config) as relay:
        await relay.submit()
        entry = await waits(relay, 0)
        assert "delays it by 3600 s" in entry["last_reply"]
        metrics = await relay.metrics()
        await relay.kill_all()
    assert metrics["mailboat_deliveries_total{outcome=deferred}"] == 0
    assert mx.connections == []
    async with running(config) as relay:
        assert (await waits(relay, 0))["next_attempt_at"] == entry["next_attempt_at"]
        await relay.http("/v1/queue/flush", "POST", {"domain": "there.test"})
        (delivered,) = await relay.event("delivered")
        await relay.settled()
    assert delivered["attempt"] == 1


async def test_other_answers_of_send_email_let_mail_go(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug(
        "p",
        """
        ANSWERS = {"a.test": None, "b.test": CONT, "c.test": OK}
        async def hook_send_email(hmail): return ANSWERS[hmail.todo.domain]
        """,
    )
    async with running(config) as relay:
        await relay.submit("x@a.test", "x@b.test", "x@c.test")
        await relay.event("delivered", 3)


# get_mx.


async def test_each_form_of_a_next_hop_is_where_mail_goes(config: PluginConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as chosen:
        config.plug(
            "p",
            f"""
            PORT = {chosen.port}
            ANSWERS = {{
                "object.test": Mx(exchange="127.0.0.1", port=PORT),
                "list.test": [Mx(exchange="127.0.0.1", port=PORT)],
                "string.test": f"127.0.0.1:{{PORT}}",
                "url.test": f"smtp://127.0.0.1:{{PORT}}",
                "dict.test": {{"exchange": "127.0.0.1", "port": PORT}},
            }}
            async def hook_get_mx(hmail, domain): return OK, ANSWERS[domain]
            """,
        )
        async with running(config) as relay:
            await relay.submit(*(f"x@{form}.test" for form in ("object", "list", "string", "url", "dict")))
            delivered = await relay.event("delivered", 5)
        assert {event["port"] for event in delivered} == {chosen.port}
        assert (len(chosen.mails), mx.connections) == (5, [])


async def test_hops_are_tried_in_the_order_given_whatever_their_priority(config: PluginConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start() as first, ScriptedMx.start() as second:
        first.on("CONNECT", "554 5.3.2 not here")
        config.plug(
            "p",
            f"""
            async def hook_get_mx(hmail, domain):
                return OK, [
                    Mx(exchange="127.0.0.1", port={first.port}, priority=90),
                    Mx(exchange="127.0.0.1", port={second.port}, priority=1),
                ]
            """,
        )
        async with running(config) as relay:
            await relay.submit()
            await relay.event("delivered")
        assert (len(first.connections), len(second.mails), mx.connections) == (1, 1, [])


async def test_each_hop_has_its_own_source_name_and_protocol(config: PluginConfig, mx: ScriptedMx) -> None:
    async with ScriptedMx.start(lmtp=True) as chosen:
        config.plug(
            "p",
            f"""
            async def hook_get_mx(hmail, domain):
                return OK, Mx(exchange="127.0.0.1", port={chosen.port}, using_lmtp=True, bind="127.0.0.5",
                              bind_ehlo="out.test")
            """,
        )
        async with running(config) as relay:
            await relay.submit()
            (delivered,) = await relay.event("delivered")
        assert delivered["source"] == "127.0.0.5"
        assert chosen.connections[0].names == ["out.test"]


async def test_deny_of_get_mx_bounces(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug(
        "p",
        """
        async def hook_get_mx(hmail, domain):
            if domain == "there.test":
                return DENY, "nobody is there"
        """,
    )
    async with running(config) as relay:
        await relay.submit()
        (bounced,) = await relay.event("bounced")
        await mx.wait_for(lambda mx: mx.mails)
    assert (bounced["enhanced"], bounced["stage"], bounced["reply"]) == ("5.1.2", "hook", "nobody is there")
    assert b"Status: 5.1.2" in mx.mails[0].body
    assert b"nobody is there" in mx.mails[0].body


async def test_denysoft_of_get_mx_defers(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug("p", "async def hook_get_mx(hmail, domain): return DENYSOFT\n")
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
        await waits(relay, 1)
    assert (deferred["enhanced"], deferred["reply"]) == ("4.1.2", "Temporary MX lookup error for there.test")
    assert mx.connections == []


async def test_a_failure_of_get_mx_defers_without_an_attempt_and_goes_no_other_way(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    config.plug("p", "def hook_get_mx(hmail, domain): return OK, 'ftp://there.test'\n")
    async with running(config) as relay:
        await relay.submit()
        await waits(relay, 0)
        metrics = await relay.metrics()
    assert metrics["mailboat_hook_failures_total{point=get_mx}{reason=nonsense}"] == 1
    assert mx.connections == []


# deferred.


async def test_the_delay_of_the_deferred_hook_replaces_the_planned_one(config: PluginConfig, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", "450 4.2.0 later")
    config.plug("p", "async def hook_deferred(hmail, info): return DENYSOFT, 30 + hmail.num_failures\n")
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
        await waits(relay, 1)
    assert deferred["retry_in"] == 30


async def test_a_delay_that_is_none_leaves_the_planned_one(config: PluginConfig, mx: ScriptedMx) -> None:
    mx.on("RCPT", "450 4.2.0 later")
    config.plug(
        "p",
        """
        ANSWERS = [None, DENY, DENYSOFT, (DENYSOFT, "soon"), (DENYSOFT, float("nan")), (DENYSOFT, -5), (DENYSOFT, 1e99)]
        async def hook_deferred(hmail, info): return ANSWERS[int(hmail.todo.domain[0])]
        """,
    )
    async with running(config) as relay:
        await relay.submit(*(f"x@{number}.test" for number in range(7)))
        deferred = await relay.event("deferred", 7)
    assert [event["retry_in"] for event in deferred] == [pytest.approx(64, rel=JITTER)] * 7


async def test_ok_of_the_deferred_hook_drops_and_is_counted(config: PluginConfig, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", "450 4.2.0 later")
    config.plug("p", "async def hook_deferred(hmail, info): return OK\n")
    async with running(config) as relay:
        await relay.submit()
        await relay.event("dropped")
        await relay.settled()
        metrics = await relay.metrics()
    assert metrics["mailboat_deliveries_total{outcome=dropped}"] == 1
    assert mx.mails == []


# bounce.


async def test_ok_of_the_bounce_hook_suppresses_the_report(config: PluginConfig, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", "550 5.1.1 no such user")
    config.plug("p", "async def hook_bounce(hmail, error): return OK\n")
    async with running(config) as relay:
        await relay.submit()
        await relay.event("dropped")
        await relay.event("bounce_message", result="suppressed")
        await relay.settled()
        metrics = await relay.metrics()
    assert metrics["mailboat_bounce_messages_total{result=suppressed}"] == 1
    assert mx.mails == []


async def test_other_answers_of_the_bounce_hook_let_the_report_go(config: PluginConfig, mx: ScriptedMx) -> None:
    for number in range(3):
        mx.on_rcpt(f"x@{number}.test", "550 5.1.1 no such user")
    config.plug(
        "p",
        """
        async def hook_bounce(hmail, error): return [None, DENY, DENYSOFT][int(hmail.todo.domain[0])]
        """,
    )
    async with running(config) as relay:
        await relay.submit(*(f"x@{number}.test" for number in range(3)))
        await mx.wait_for(lambda mx: len(mx.mails) == 3)
        await relay.settled()
    assert [mail.sender for mail in mx.mails] == ["", "", ""]


async def test_reports_are_shown_to_pre_send_trans_email(config: PluginConfig, mx: ScriptedMx) -> None:
    mx.on_rcpt("bob@there.test", "550 5.1.1 no such user")
    config.plug(
        "p",
        """
        async def hook_pre_send_trans_email(connection):
            if connection.transaction.mail_from.is_null:
                connection.transaction.header.add("X-Signed", "yes")
                connection.transaction.notes["signed"] = True
        """,
    )
    async with running(config) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: mx.mails)
    assert b"\r\nX-Signed: yes\r\n" in mx.mails[0].body.partition(b"\r\n\r\n")[0] + b"\r\n"


# All of them together.


async def test_grey_bad_and_good_recipients_are_told_each_to_its_own_hook_in_order(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    mx.on_rcpt("grey@there.test", "450 4.7.1 grey")
    mx.on_rcpt("bad@there.test", "550 5.1.1 no such user")
    path = tmp_path / "noted"
    config.plug(
        "p",
        NOTING.format(path=str(path))
        + """
def hook_delivered(hmail, params):
    if hmail.todo.domain == "there.test":
        note("delivered", params.ok_recips, *list(params)[:3], params.port, params.mode, params.secured)
def hook_deferred(hmail, info):
    note("deferred", info.fail_recips, info.delay, info.err, info.mx)
def hook_bounce(hmail, error):
    note("bounce", error.bounced_rcpt, error.deferred_rcpt, str(error), error.mx)
""",
    )
    async with running(config) as relay:
        await relay.submit("grey@there.test", "bad@there.test", "ok1@there.test", "ok2@there.test")
        await mx.wait_for(lambda mx: len(mx.mails) == 2)
        await waits(relay, 1)
    delivered, deferred, bounce = noted(path)
    assert delivered[:2] == ["delivered", ["ok1@there.test", "ok2@there.test"]]
    assert delivered[2:] == ["127.0.0.1", "127.0.0.1", "queued as 1", mx.port, "SMTP", False]
    assert deferred[:4] == ["deferred", ["grey@there.test"], pytest.approx(64, rel=JITTER), "450 4.7.1 grey"]
    assert bounce[:4] == ["bounce", ["bad@there.test"], [], "550 5.1.1 no such user"]
    assert {deferred[4], bounce[4]} == {f"smtp://127.0.0.1:{mx.port}"}
    report = next(mail for mail in mx.mails if mail.sender == "")
    assert b"bad@there.test" in report.body
    assert b"grey@there.test" not in report.body.split(b"message/delivery-status")[1].split(b"\r\n--")[0]


# Notes.


async def test_notes_of_any_hook_and_force_tls_are_there_after_a_kill(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    mx.on_rcpt("bob@there.test", "450 4.2.0 later")
    path = tmp_path / "noted"
    config.plug(
        "p",
        NOTING.format(path=str(path))
        + """
async def hook_queue_outbound(connection):
    connection.transaction.notes["from_transaction"] = {"n": 1}
async def hook_send_email(hmail):
    note(hmail.num_failures, hmail.todo.notes, hmail.notes, hmail.todo.force_tls)
    hmail.todo.notes["from_send_email"] = hmail.todo.notes.get("from_send_email", 0) + 1
async def hook_deferred(hmail, info):
    hmail.notes["from_deferred"] = info.err
    hmail.todo.force_tls = True
""",
    )
    async with running(config) as relay:
        await relay.submit()
        entry = await waits(relay, 1)
        await relay.kill_all()
    async with running(config) as relay:
        assert (await waits(relay, 1))["next_attempt_at"] == entry["next_attempt_at"]
        await relay.http("/v1/queue/flush", "POST", {"domain": "there.test"})
        (deferred,) = await relay.event("deferred")
        await waits(relay, 2)
    assert noted(path) == [
        [0, {"from_transaction": {"n": 1}}, {}, False],
        [1, {"from_transaction": {"n": 1}, "from_send_email": 1}, {"from_deferred": "450 4.2.0 later"}, True],
    ]
    assert (deferred["enhanced"], deferred["stage"]) == ("4.7.4", "starttls"), "it waits for TLS now"


async def test_the_notes_outbound_ip_and_outbound_helo_choose_the_source(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug(
        "p",
        """
        async def hook_queue_outbound(connection):
            connection.transaction.notes["outbound_ip"] = "127.0.0.8"
            connection.transaction.notes["outbound_helo"] = "noted.test"
        """,
    )
    async with running(config) as relay:
        await relay.submit()
        (delivered,) = await relay.event("delivered")
    assert (delivered["source"], mx.connections[0].names) == ("127.0.0.8", ["noted.test"])


async def test_mail_from_another_source_does_not_wait_for_that_of_the_usual_one(
    config: PluginConfig, mx: ScriptedMx
) -> None:
    """A destination and a source share a queue and its limits, not the destination alone."""
    config.plug(
        "p",
        """
        async def hook_queue_outbound(connection):
            if connection.transaction.mail_from.user == "other":
                connection.transaction.notes["outbound_ip"] = "127.0.0.8"
        """,
    )
    config.outbound_is("destination_concurrency_max=1")
    mx.on(".", Held("250 2.0.0 taken"))
    async with running(config) as relay:
        await relay.submit()
        await mx.wait_for(lambda mx: len(mx.mails) == 1)
        await relay.submit()
        await relay.submit(sender="other@here.test")
        await mx.wait_for(lambda mx: len(mx.mails) == 2)
        assert mx.mails[1].sender == "other@here.test"
        mx.release()
        assert len(await relay.event("delivered", 3)) == 3


async def test_force_tls_set_while_receiving_delivers_over_tls_or_waits(config: PluginConfig, mx: ScriptedMx) -> None:
    config.plug("p", "async def hook_queue_outbound(connection): connection.transaction.force_tls = True\n")
    async with running(config) as relay:
        await relay.submit()
        (deferred,) = await relay.event("deferred")
    assert deferred["enhanced"] == "4.7.4"
    assert mx.mails == []
