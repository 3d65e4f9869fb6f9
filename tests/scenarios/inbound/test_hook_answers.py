"""Each answer of a plugin at each point of receiving, as its client sees it."""

from __future__ import annotations

import pytest
from tests.support.ingress import Rig, serving
from tests.support.plugins import answering, chain
from tests.support.smtp_client import TEXT, Client

from mailboat.hooks import CONT, DENY, DENYDISCONNECT, DENYSOFT, DENYSOFTDISCONNECT, OK, Code, Connection, Point
from mailboat.model.observer import RejectReason

STEPS = {
    Point.EHLO: "EHLO client.test",
    Point.MAIL: "MAIL FROM:<alice@sender.test>",
    Point.RCPT: "RCPT TO:<bob@there.test>",
}
GOOD = {Point.EHLO: "250-relay.test", Point.MAIL: "250 2.1.0", Point.RCPT: "250 2.1.5"}
WHOLE = (Point.DATA_POST, Point.QUEUE_OUTBOUND)
GATES = (*STEPS, *WHOLE)
REFUSALS = {
    DENY: ("550 5.7.1 ", False),
    DENYSOFT: ("450 4.7.1 ", False),
    DENYDISCONNECT: ("550 5.7.1 ", True),
    DENYSOFTDISCONNECT: ("450 4.7.1 ", True),
}


async def until_point(rig: Rig, point: Point) -> tuple[Client, str]:
    """A client that does everything up to what is asked at the point; the reply to that."""
    client = await rig.client()
    if point in WHOLE:
        await client.ehlo()
        return client, await client.mail()
    reply = ""
    for step, command in STEPS.items():
        reply = await ask(client, command)
        if step is point:
            break
    return client, reply


async def ask(client: Client, command: str) -> str:
    """A reply with or without an enhanced code: a refused EHLO has one."""
    client.send(command.encode() + b"\r\n")
    return await client.reply(enhanced=False)


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("point", GATES)
@pytest.mark.parametrize("code", REFUSALS, ids=lambda code: code.value)
@pytest.mark.parametrize("text", [None, "5.7.27 go away", "Bad day", "one\r\ntwo\n\nthree"])
async def test_a_refusal_is_said_and_counted_and_leaves_no_mail(
    point: Point, code: Code, text: str | None, sync: bool
) -> None:
    answer = code if text is None else (code, text)
    async with serving(hooks=chain({point: answering(answer, sync=sync)})) as rig:
        client, reply = await until_point(rig, point)
        expected, closes = REFUSALS[code]
        if text == "Bad day":
            assert reply == f"{expected}Bad day"
        elif text == "5.7.27 go away" and expected.startswith("5"):
            assert reply == "550 5.7.27 go away"
        elif text is not None and "two" in text:
            prefix = expected[:3], expected[4:]
            assert reply == "{0}-{1}one\n{0}-{1}two\n{0} {1}three".format(*prefix)
        assert reply.startswith((expected, expected.replace(" ", "-", 1), "550 5.7.27"))
        if closes:
            assert await client.rest() == b""
        else:
            assert (await client.ask("NOOP")).startswith("250 2.0.0 ")
        client.close()
        assert await rig.mails() == []
        assert rig.facts.reasons == [RejectReason.HOOK]
        assert rig.facts.mails == []


@pytest.mark.parametrize(
    ("code", "reply"),
    [
        (DENY, "554 5.7.1 "),
        (DENYSOFT, "421 4.7.1 "),
        (DENYDISCONNECT, "554 5.7.1 "),
        (DENYSOFTDISCONNECT, "421 4.7.1 "),
    ],
    ids=lambda value: getattr(value, "value", ""),
)
@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
async def test_who_is_refused_at_connect_is_told_instead_of_the_greeting(code: Code, reply: str, sync: bool) -> None:
    async with serving(hooks=chain({Point.CONNECT: answering((code, "not you"), sync=sync)})) as rig:
        client = await rig.stranger()
        assert await client.reply() == f"{reply}not you"
        assert await client.rest() == b""
        client.close()
        assert rig.facts.reasons == [RejectReason.HOOK]


@pytest.mark.parametrize("sync", [False, True], ids=["async", "sync"])
@pytest.mark.parametrize("answer", [None, CONT, OK, (CONT, "text"), (OK, "text")], ids=str)
@pytest.mark.parametrize("point", [Point.CONNECT, *GATES, Point.PRE_SEND_TRANS_EMAIL, Point.QUEUE_OK])
async def test_whoever_agrees_or_has_nothing_to_say_lets_mail_pass(point: Point, answer: object, sync: bool) -> None:
    async with serving(hooks=chain({point: answering(answer, sync=sync)})) as rig:
        client = await rig.greeted()
        reply = await client.mail()
        agreed = answer is OK or (isinstance(answer, tuple) and answer[0] is OK)
        await client.quit()
        if point is Point.QUEUE_OUTBOUND and agreed:
            text = "text" if isinstance(answer, tuple) else "Message Queued"
            assert reply.startswith(f"250 2.0.0 {text} (")
            assert await rig.mails() == []
            assert rig.facts.mails == []
        else:
            assert reply.startswith("250 2.0.0 Message Queued (")
            assert len(await rig.mails()) == 1
            assert len(rig.facts.mails) == 1
        assert rig.facts.failures == []


async def test_an_ok_of_rcpt_takes_this_recipient_and_no_other() -> None:
    async def local(connection: object, address: object, params: object) -> object:
        return OK if str(address) == "bob@there.test" else None

    async with serving(acl=(), hooks=chain({Point.RCPT: local})) as rig:
        client = await rig.greeted()
        assert (await client.ask("MAIL FROM:<alice@sender.test>")).startswith("250 ")
        assert (await client.ask("RCPT TO:<bob@there.test>")).startswith("250 2.1.5 ")
        assert (await client.ask("RCPT TO:<eve@elsewhere.test>")).startswith("550 5.7.1 Relaying denied")
        client.close()
        assert rig.facts.reasons == [RejectReason.RELAY_DENIED]


@pytest.mark.parametrize("point", [Point.CONNECT, Point.EHLO, Point.MAIL, Point.RCPT])
async def test_relaying_lasts_as_long_as_what_it_was_set_for(point: Point) -> None:
    """Set for a recipient it counts for that one, for a sender for that message, for a client for the connection."""
    times = 0

    async def allow(connection: object, *_: object) -> None:
        nonlocal times
        times += 1
        if times == 1:
            connection.relaying = True  # type: ignore[attr-defined]

    async with serving(acl=(), hooks=chain({point: allow})) as rig:
        client = await rig.greeted()
        said = []
        for _ in range(2):
            await client.ask("MAIL FROM:<alice@sender.test>")
            said += [(await client.ask(f"RCPT TO:<{name}@there.test>"))[:3] for name in ("bob", "carol")]
            await client.ask("RSET")
        client.close()
        lasting = {Point.RCPT: 1, Point.MAIL: 2}.get(point, 4)
        assert said == ["250"] * lasting + ["550"] * (4 - lasting)


async def test_plugins_are_asked_in_their_order_and_the_first_answer_counts() -> None:
    asked = []

    def named(name: str, answer: object) -> object:
        async def hook(*_: object) -> object:
            asked.append(name)
            return answer

        return hook

    some = [named("a", None), named("b", (DENY, "b says no")), named("c", OK)]
    async with serving(hooks=chain({Point.MAIL: some})) as rig:  # type: ignore[dict-item]
        client = await rig.greeted()
        assert await client.ask("MAIL FROM:<>") == "550 5.7.1 b says no"
        client.close()
        assert asked == ["a", "b"]


async def test_points_are_asked_in_the_order_of_the_dialogue_with_what_they_are_promised() -> None:
    seen: list[tuple[str, tuple[object, ...]]] = []

    def watching(point: Point) -> object:
        async def hook(connection: object, *args: object) -> None:
            seen.append((point.value, args))

        return hook

    points = [point for point in Point if point in (Point.CONNECT, *GATES, Point.PRE_SEND_TRANS_EMAIL, Point.QUEUE_OK)]
    async with serving(hooks=chain({point: watching(point) for point in points})) as rig:  # type: ignore[misc]
        client = await rig.greeted()
        await client.begin(sender="alice@sender.test", parameters=" SIZE=100 BODY=8BITMIME")
        client.send(TEXT + b".\r\n")
        reply = await client.reply()
        client.close()
    assert [name for name, _ in seen] == [point.value for point in points]
    by_name = dict(seen)
    assert by_name["ehlo"] == ("client.test",)
    sender, parameters = by_name["mail"]
    assert (str(sender), parameters) == ("alice@sender.test", {"SIZE": "100", "BODY": "8BITMIME"})
    recipient, parameters = by_name["rcpt"]
    assert (str(recipient), parameters) == ("bob@there.test", {})
    (text,) = by_name["queue_ok"]
    assert reply == f"250 2.0.0 {text}"


async def test_plugins_know_the_client() -> None:
    seen: list[Connection] = []

    async def look(connection: Connection, *_: object) -> None:
        seen.append(connection)
        facts = (connection.remote_ip, connection.local_port, connection.tls, connection.auth_user)
        assert facts == ("127.0.0.1", rig.listener.ports[0], False, None)
        assert connection.remote_port > 0
        assert len(connection.uuid) == 36

    async with serving(hooks=chain(dict.fromkeys((Point.CONNECT, *GATES), look))) as rig:
        client = await rig.greeted()
        await client.mail()
        await client.quit()
        assert rig.facts.failures == []
    assert len(seen) == 6
    assert all(connection is seen[0] for connection in seen)
    assert seen[0].hello_name == "client.test"
    assert seen[0].transaction is None
