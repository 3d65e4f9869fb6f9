"""The resolver's cache and its patience, with a scripted server in place of sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.routing import DnsTally

from mailboat.config.settings import Endpoint
from mailboat.model.observer import DnsResult
from mailboat.routing.dnsquery import BadResponse, InvalidName, Response
from mailboat.routing.records import Answer, LookupFailure, NoData, NxDomain, RecordType
from mailboat.routing.resolver import FAILURE_TTL, MAX_ALIASES, TEXT_TTL, Patience, Resolver
from mailboat.routing.system import REFRESH, SystemFiles

ONE, TWO = Endpoint("192.0.2.1", 53), Endpoint("192.0.2.2", 53)
HERE, HERE_IPV6 = Endpoint("127.0.0.53", 53), Endpoint("::1", 53)
Script = Response | Exception


class Servers:
    """Stands for the servers: gives each its scripted responses in turn, the last one for ever."""

    def __init__(self, **scripts: Script | list[Script]) -> None:
        named = {"one": ONE, "two": TWO, "here": HERE, "here_ipv6": HERE_IPV6}
        self.scripts = {
            named[name]: deque(script if isinstance(script, list) else [script]) for name, script in scripts.items()
        }
        self.asked: list[tuple[Endpoint, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.begun = asyncio.Event()
        self.together = 0
        self.most_together = 0

    async def query(self, server: Endpoint, name: str, rdtype: RecordType) -> Response:
        """What the script says."""
        self.asked.append((server, name))
        self.begun.set()
        self.together += 1
        self.most_together = max(self.together, self.most_together)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
        finally:
            self.together -= 1
        script = self.scripts[server]
        found = script.popleft() if len(script) > 1 else script[0]
        if isinstance(found, Exception):
            raise found
        return found


class ResolverRig:
    """A resolver in front of such servers."""

    def __init__(
        self,
        servers: Servers,
        patience: Patience = Patience(),  # noqa: B008
        resolv_conf: Path = Path("/nonexistent"),
    ) -> None:
        self.clock, self.tally, self.servers = FixedClock(), DnsTally(), servers
        self.resolver = Resolver(
            observer=self.tally,
            clock=self.clock,
            patience=patience,
            system=SystemFiles(self.clock, resolv_conf=resolv_conf),
            query=servers.query,
        )
        self.resolver.configure(tuple(servers.scripts))

    async def ask(self, name: str = "a.test") -> object:
        """Look up an IPv4 address."""
        _, found = await self.resolver.families(name, (4,))
        return found


def answer(ttl: int = 300, *texts: str) -> Response:
    return Response(texts or ("192.0.2.99",), ttl)


@pytest.mark.parametrize(
    ("response", "lives"),
    [
        (answer(300), 300),
        (answer(0), 5),
        (answer(2**31 - 1), 86_400),
        (Response(ttl=60), 60),
        (Response(ttl=1), 5),
        (Response(ttl=86_400, exists=False), 3600),
        (Response(failure="SERVFAIL"), FAILURE_TTL),
    ],
)
async def test_what_is_known_is_not_asked_again_before_it_expires(response: Response, lives: float) -> None:
    desk = ResolverRig(Servers(one=response))
    await desk.ask()
    desk.clock.advance(lives - 0.5)
    await desk.ask()
    assert len(desk.servers.asked) == 1
    assert desk.tally.results[-1] is DnsResult.CACHED
    desk.clock.advance(0.5)
    await desk.ask()
    assert len(desk.servers.asked) == 2


async def test_a_text_is_asked_for_again_after_five_minutes_whatever_its_ttl() -> None:
    desk = ResolverRig(Servers(one=answer(86_400, "v=STSv1; id=1")))
    for age, asked in ((0, 1), (TEXT_TTL[1] - 1, 1), (1, 2)):
        desk.clock.advance(age)
        await desk.resolver.texts("_mta-sts.one.test")
        assert len(desk.servers.asked) == asked


async def test_many_who_ask_at_once_share_one_query() -> None:
    desk = ResolverRig(Servers(one=answer()))
    found = await asyncio.gather(*(desk.ask() for _ in range(100)))
    assert len(desk.servers.asked) == 1
    assert all(each is found[0] for each in found)


async def test_one_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    servers = Servers(one=answer())
    servers.gate.clear()
    desk = ResolverRig(servers)
    first, second = asyncio.create_task(desk.ask()), asyncio.create_task(desk.ask())
    await servers.begun.wait()
    first.cancel()
    servers.gate.set()
    assert isinstance(await second, Answer)
    assert first.cancelled()
    assert len(servers.asked) == 1


async def test_a_silent_server_is_followed_by_the_next_and_then_asked_last() -> None:
    desk = ResolverRig(Servers(one=TimeoutError(), two=answer()))
    assert isinstance(await desk.ask("a.test"), Answer)
    assert isinstance(await desk.ask("b.test"), Answer)
    assert [server for server, _ in desk.servers.asked] == [ONE, TWO, TWO]
    desk.clock.advance(31)
    await desk.ask("c.test")
    assert [server for server, _ in desk.servers.asked[3:]] == [ONE, TWO]


async def test_silence_everywhere_is_waited_for_twice_a_server_and_fails() -> None:
    desk = ResolverRig(Servers(one=TimeoutError(), two=OSError("unreachable")))
    found = await desk.ask()
    assert isinstance(found, LookupFailure)
    assert "192.0.2.1:53" in found.reason
    assert "unreachable" in found.reason
    assert [server for server, _ in desk.servers.asked] == [ONE, TWO, ONE, TWO]
    assert desk.tally.results == [DnsResult.TIMEOUT] * 4


async def test_a_server_that_says_it_cannot_is_not_asked_twice() -> None:
    desk = ResolverRig(Servers(one=Response(failure="SERVFAIL"), two=BadResponse("nonsense")))
    assert isinstance(await desk.ask(), LookupFailure)
    assert len(desk.servers.asked) == 2
    assert desk.tally.results == [DnsResult.SERVFAIL, DnsResult.INVALID]


async def test_a_server_that_cannot_is_followed_by_one_that_can() -> None:
    desk = ResolverRig(Servers(one=Response(failure="REFUSED"), two=Response(ttl=60)))
    assert isinstance(await desk.ask(), NoData)


async def test_a_lost_packet_costs_a_second_try_and_no_more() -> None:
    desk = ResolverRig(Servers(one=[TimeoutError(), answer()]))
    assert isinstance(await desk.ask(), Answer)


async def test_an_alias_is_followed_and_lasts_as_long_as_its_shortest_part() -> None:
    desk = ResolverRig(Servers(one=[Response(alias="b.test", ttl=10), answer(300)]))
    found = await desk.ask()
    assert isinstance(found, Answer)
    assert found.expires == desk.clock.monotonic() + 10
    assert [name for _, name in desk.servers.asked] == ["a.test", "b.test"]


async def test_aliases_without_end_fail() -> None:
    desk = ResolverRig(Servers(one=Response(alias="a.test", ttl=10)))
    assert isinstance(await desk.ask(), LookupFailure)
    assert len(desk.servers.asked) == MAX_ALIASES


SECURE = [Response(("192.0.2.99",), secure=True), Response(secure=True), Response(exists=False, secure=True)]


@pytest.mark.parametrize("response", SECURE, ids=["records", "no such record", "no such name"])
@pytest.mark.parametrize("server", ["here", "here_ipv6"])
async def test_what_a_server_of_this_machine_authenticated_is_secure(server: str, response: Response) -> None:
    desk = ResolverRig(Servers(**{server: response}))
    for found in (await desk.ask(), await desk.ask()):
        assert isinstance(found, Answer | NoData | NxDomain)
        assert found.secure
    assert len(desk.servers.asked) == 1


@pytest.mark.parametrize("response", SECURE, ids=["records", "no such record", "no such name"])
async def test_what_another_machine_calls_authenticated_is_not_secure(response: Response) -> None:
    """RFC 4035 4.9.3: anybody on the way to it can set the bit."""
    found = await ResolverRig(Servers(one=response)).ask()
    assert isinstance(found, Answer | NoData | NxDomain)
    assert not found.secure


@pytest.mark.parametrize(
    ("trust_ad", "secure"),
    [(("192.0.2.1",), True), (("loopback", "192.0.2.1"), True), (("192.0.2.2",), False), (("none",), False)],
)
async def test_another_machine_is_believed_where_dns_trust_ad_names_it(trust_ad: tuple[str, ...], secure: bool) -> None:
    desk = ResolverRig(Servers(one=SECURE[0]))
    desk.resolver.configure((ONE,), trust_ad)
    found = await desk.ask()
    assert isinstance(found, Answer)
    assert found.secure == secure


async def test_not_even_loopback_is_believed_where_dns_trust_ad_says_none() -> None:
    desk = ResolverRig(Servers(here=SECURE[0]))
    desk.resolver.configure((HERE,), ("none",))
    found = await desk.ask()
    assert isinstance(found, Answer)
    assert not found.secure


async def test_what_was_believed_is_forgotten_when_dns_trust_ad_changes() -> None:
    desk = ResolverRig(Servers(here=SECURE[0]))
    found = await desk.ask()
    assert isinstance(found, Answer)
    assert found.secure
    desk.resolver.configure((HERE,), ("none",))
    found = await desk.ask()
    assert isinstance(found, Answer)
    assert not found.secure


ROOT = Response(("a.root-servers.net",), secure=True)


@pytest.mark.parametrize(
    ("servers", "why"),
    [
        (Servers(here=ROOT), ""),
        (Servers(here=replace(ROOT, secure=False)), "do not validate"),
        (Servers(here=Response(failure="SERVFAIL")), "NS look-up of . failed: SERVFAIL"),
        (Servers(one=ROOT), "no DNS server is trusted to validate: 192.0.2.1 not in dns_trust_ad"),
    ],
    ids=("validates", "does not", "fails", "not trusted"),
)
async def test_answers_are_validated_where_a_trusted_server_authenticates_the_root(servers: Servers, why: str) -> None:
    found = await ResolverRig(servers).resolver.not_validated()
    assert why in found
    assert bool(found) == bool(why)
    assert servers.asked == [] or servers.asked == [(HERE, ".")]


async def test_whether_answers_are_validated_is_asked_past_the_cache() -> None:
    desk = ResolverRig(Servers(here=[ROOT, replace(ROOT, secure=False)]))
    assert await desk.resolver.not_validated() == ""
    assert await desk.resolver.not_validated() != ""


@pytest.mark.parametrize(("first", "then"), [(True, True), (True, False), (False, True)])
async def test_an_answer_is_as_secure_as_each_alias_on_the_way(first: bool, then: bool) -> None:
    alias = Response(alias="c.test", aliases=("b.test", "c.test"), secure=first)
    desk = ResolverRig(Servers(here=[alias, Response(("192.0.2.99",), aliases=("d.test",), secure=then)]))
    found = await desk.ask()
    assert isinstance(found, Answer)
    assert found.secure == (first and then)
    assert found.aliases == ("b.test", "c.test", "d.test")


async def test_a_name_that_cannot_be_asked_for_does_not_exist() -> None:
    assert isinstance(await ResolverRig(Servers(one=InvalidName())).ask("a..test"), NxDomain)


async def test_a_look_up_is_bounded_in_all() -> None:
    servers = Servers(one=answer())
    servers.gate.clear()
    desk = ResolverRig(servers, Patience(query=10, total=0.01))
    found = await desk.ask()
    assert isinstance(found, LookupFailure)
    assert "0.01 s" in found.reason


async def test_queries_in_flight_are_bounded() -> None:
    servers = Servers(one=answer())
    desk = ResolverRig(servers, Patience(in_flight=3))
    await asyncio.gather(*(desk.ask(f"{n}.test") for n in range(20)))
    assert servers.most_together == 3


async def test_the_cache_is_bounded_and_forgets_what_was_unused_for_longest() -> None:
    desk = ResolverRig(Servers(one=answer()), Patience(cache_size=2))
    for name in ("a", "b", "a", "c", "a", "b"):
        await desk.ask(name)
    assert [name for _, name in desk.servers.asked] == ["a", "b", "c", "b"]


async def test_other_servers_make_it_forget_and_the_same_ones_do_not() -> None:
    desk = ResolverRig(Servers(one=answer(), two=answer()))
    await desk.ask()
    desk.resolver.configure((ONE, TWO))
    await desk.ask()
    assert len(desk.servers.asked) == 1
    desk.resolver.configure((TWO,))
    await desk.ask()
    assert [server for server, _ in desk.servers.asked] == [ONE, TWO]


async def test_an_answer_of_former_servers_reaches_who_waits_and_is_not_kept() -> None:
    servers = Servers(one=answer(300, "192.0.2.11"), two=answer(300, "192.0.2.22"))
    servers.gate.clear()
    desk = ResolverRig(servers)
    desk.resolver.configure((ONE,))
    waiting = asyncio.create_task(desk.ask())
    await servers.begun.wait()
    desk.resolver.configure((TWO,))
    servers.gate.set()
    late, fresh = await waiting, await desk.ask()
    assert isinstance(late, Answer)
    assert isinstance(fresh, Answer)
    assert (late.records, fresh.records) == (("192.0.2.11",), ("192.0.2.22",))


async def test_closing_ends_what_is_in_flight() -> None:
    servers = Servers(one=answer())
    servers.gate.clear()
    desk = ResolverRig(servers)
    waiting = asyncio.create_task(desk.ask())
    await servers.begun.wait()
    await desk.resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_resolv_conf_that_is_written_later_is_followed_without_a_restart(tmp_path: Path) -> None:
    conf, servers = tmp_path / "resolv.conf", Servers(one=Response(ttl=60, exists=False), two=answer())
    conf.write_text("nameserver 192.0.2.1\n")
    desk = ResolverRig(servers, resolv_conf=conf)
    desk.resolver.configure(())
    assert isinstance(await desk.ask(), NxDomain)
    conf.write_text("nameserver 192.0.2.2\n")
    desk.clock.advance(REFRESH)
    assert isinstance(await desk.ask(), Answer)  # what the other server said is forgotten
    assert servers.asked == [(ONE, "a.test"), (TWO, "a.test")]


async def test_servers_of_the_configuration_win_over_resolv_conf(tmp_path: Path) -> None:
    conf, servers = tmp_path / "resolv.conf", Servers(one=answer(), two=answer())
    desk = ResolverRig(servers, resolv_conf=conf)
    desk.resolver.configure((ONE,))
    conf.write_text("nameserver 192.0.2.2\n")
    desk.clock.advance(REFRESH)
    await desk.ask()
    assert servers.asked == [(ONE, "a.test")]
