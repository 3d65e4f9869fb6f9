"""Asks the DNS for the records of SendingDomains, apart from reconciling them, which never waits for a server.

A queue of its own bounds the crowd, and `sending_reconcile` says when each domain's turn comes. What was found is kept
until it is asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mailboat.config.nouns import IPAddress
from mailboat_operator.authority import Authority, DnsSilence, ServerTexts
from mailboat_operator.observed import ObjectKey
from mailboat_operator.sending.dmarc import is_policy, policy_names
from mailboat_operator.spf.check_host import SpfHost, SpfResult, SpfTempError, check_host
from mailboat_operator.spf.record import SpfWord

WORKERS = 16
"""Domains that are asked for at once."""
_SPF_TIMEOUT = 20.0
"""Seconds for SPF with one address (RFC 7208 4.6.4)."""


@dataclass(frozen=True, slots=True)
class RecordReport:
    """What the DNS says of one domain; a text in place of an answer is why there is none."""

    at: float
    """When, by the clock that `RecordChecks` has."""
    answers: Mapping[str, ServerTexts | str] = field(default_factory=dict)
    """By name of a key's record."""
    spf: tuple[str, ...] | str = ""
    """TXT records of the domain."""
    addresses: tuple[IPAddress, ...] = ()
    """The addresses that SPF was evaluated with, until the DNS did not answer."""
    spf_results: Mapping[IPAddress, SpfResult] = field(default_factory=dict)
    hosts: Mapping[SpfHost, SpfResult] = field(default_factory=dict)
    """What SPF makes of mail without a sender, by the EHLO name (RFC 7208 2.4)."""
    dmarc: tuple[str, ...] | str = ""
    """TXT records that tell its DMARC policy: its own, else those of the nearest domain above it that has any."""
    request: str = ""
    """What a user has asked for with an annotation before the DNS was asked, as `RecordChecks.follow` was told."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    uid: str
    domain: str
    names: tuple[str, ...]
    addresses: tuple[IPAddress, ...]
    hosts: tuple[SpfHost, ...]
    request: str


class RecordChecks:
    """The work of the queue, by the keys of SendingDomains. `clock` is monotonic."""

    def __init__(self, authority: Authority, clock: Callable[[], float]) -> None:
        self._authority = authority
        self._clock = clock
        self._uids: dict[ObjectKey, str] = {}
        self._wanted: dict[ObjectKey, _Wanted] = {}
        self._reports: dict[ObjectKey, RecordReport] = {}
        self.changed: Callable[[ObjectKey], None] = lambda _: None
        """Called with each SendingDomain that was asked for."""
        self.later: Callable[[ObjectKey, float], None] = lambda _, __: None
        """Called to have a SendingDomain asked for in so many seconds."""

    def meet(self, key: ObjectKey, uid: str) -> None:
        """A SendingDomain as it is now. What was found for another one of its name says nothing about it."""
        if self._uids.get(key) != uid:
            self.forget(key)
            self._uids[key] = uid

    def follow(
        self,
        key: ObjectKey,
        domain: str,
        names: tuple[str, ...],
        addresses: tuple[IPAddress, ...] = (),
        hosts: tuple[SpfHost, ...] = (),
        request: str = "",
    ) -> bool:
        """Ask for these names, and whether mail may come from these addresses and hosts, when its turn comes.

        `request` comes back in the report. Returns whether some of them have not been asked for yet.
        """
        self._wanted[key] = _Wanted(self._uids.get(key, ""), domain, names, addresses, hosts, request)
        report = self._reports.get(key)
        return report is None or not (
            report.answers.keys() >= set(names)
            and set(report.addresses) >= set(addresses)
            and report.hosts.keys() >= set(hosts)
        )

    def forget(self, key: ObjectKey) -> None:
        """A SendingDomain is gone."""
        self._uids.pop(key, None)
        self._wanted.pop(key, None)
        self._reports.pop(key, None)

    def report(self, key: ObjectKey) -> RecordReport | None:
        """What was found last."""
        return self._reports.get(key)

    def age(self, key: ObjectKey) -> float:
        """Seconds since it was found; infinite before the first time."""
        report = self._reports.get(key)
        return self._clock() - report.at if report else float("inf")

    async def __call__(self, key: ObjectKey) -> float | None:
        """Ask for the records of a SendingDomain."""
        wanted = self._wanted.get(key)
        if wanted is None:
            return None
        found = await asyncio.gather(*map(self._texts, wanted.names))
        spf = await self._lookup(wanted.domain)
        results = await self._spf(wanted.domain, wanted.addresses)
        hosts = await self._spf_hosts(wanted.hosts)
        dmarc = await self._dmarc(wanted.domain)
        answers = dict(zip(wanted.names, found, strict=True))
        if key in self._wanted and self._uids.get(key, "") == wanted.uid:
            self._reports[key] = RecordReport(
                self._clock(), answers, spf, wanted.addresses, results, hosts, dmarc, wanted.request
            )
            self.changed(key)
        return None

    async def _texts(self, name: str) -> ServerTexts | str:
        try:
            return await self._authority.texts(name)
        except DnsSilence as silence:
            return str(silence)

    async def _lookup(self, name: str) -> tuple[str, ...] | str:
        try:
            return await self._authority.lookup(name)
        except DnsSilence as silence:
            return str(silence)

    async def _spf(self, domain: str, addresses: Iterable[IPAddress]) -> dict[IPAddress, SpfResult]:
        """What SPF makes of each address; none behind the first that the DNS does not answer for."""
        results: dict[IPAddress, SpfResult] = {}
        for address in addresses:
            results[address] = await self._spf_of(address, domain)
            if results[address].word is SpfWord.TEMPERROR:
                break
        return results

    async def _spf_hosts(self, hosts: Iterable[SpfHost]) -> dict[SpfHost, SpfResult]:
        """The same of each EHLO name; where the DNS does not answer for one, nobody else is asked for."""
        results: dict[SpfHost, SpfResult] = {}
        silent: SpfResult | None = None
        for host in hosts:
            results[host] = result = silent or await self._spf_of(host.address, host.name)
            silent = result if result.word is SpfWord.TEMPERROR else None
        return results

    async def _spf_of(self, address: IPAddress, domain: str) -> SpfResult:
        try:
            async with asyncio.timeout(_SPF_TIMEOUT):
                return await check_host(address, domain, self._spf_lookup)
        except TimeoutError:
            why = f"the look-ups for the SPF record of {domain} take more than {_SPF_TIMEOUT:.0f} s"
            return SpfResult(SpfWord.TEMPERROR, why)

    async def _spf_lookup(self, name: str, rdtype: str) -> tuple[str, ...]:
        try:
            return await self._authority.lookup(name, rdtype)
        except DnsSilence as silence:
            raise SpfTempError(str(silence)) from silence

    async def _dmarc(self, domain: str) -> tuple[str, ...] | str:
        found: tuple[str, ...] | str = ()
        for name in policy_names(domain):
            found = await self._lookup(name)
            if isinstance(found, str) or any(map(is_policy, found)):
                break
        return found
