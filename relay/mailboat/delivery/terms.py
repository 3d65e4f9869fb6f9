"""Which limits of shaping.ini hold for mail, as `limits` asks the owner for them. Pure."""

from __future__ import annotations

from mailboat.delivery.limits import Terms
from mailboat.delivery.source import chosen_source
from mailboat.model.envelope import Entry
from mailboat.routing.answers import Site
from mailboat.shaping.effective import Counted, Facts, effective
from mailboat.shaping.ledger import LimitCheck
from mailboat.shaping.limits import NOT_OBEYED, Each, LimitKey
from mailboat.shaping.rate import RateLimit
from mailboat.shaping.scopes import DEFAULT_SOURCE
from mailboat.shaping.table import LimitTable

_ROUTE = "route:"


def terms_of(table: LimitTable, worker: int) -> Terms | None:
    """The limits of a table for a worker; None: it has none."""
    if not any(key in section for section in table.sections.values() for key in LimitKey):
        return None

    def terms(entry: Entry, site: Site) -> tuple[LimitCheck, ...]:
        facts, source = facts_at(entry, site.key)
        found = effective(table, facts, source)
        obeyed = (counted for counted in found.limits if counted.limit.per not in NOT_OBEYED)
        return tuple(_check(counted, found.provider, worker) for counted in obeyed)

    return terms


def facts_at(entry: Entry, key: str) -> tuple[Facts, str]:
    """What is known of an entry for the site with a key, and the source that it is sent from."""
    chosen = chosen_source(entry)
    if chosen is None:
        return facts_of(entry.domain, key), DEFAULT_SOURCE
    return facts_of(entry.domain, key.removesuffix(chosen.qualified(""))), chosen.name


def facts_of(domain: str, key: str) -> Facts:
    """What is known of mail to a domain, by the key of its site."""
    if key.startswith(_ROUTE):
        return Facts(route=key.removeprefix(_ROUTE))
    return Facts(domain, tuple(key.split(",")))


def _check(counted: Counted, provider: str, worker: int) -> LimitCheck:
    each = f"worker {worker}" if counted.limit.each is Each.WORKER else ""
    key = "|".join((*counted.counter(), each))
    cause = f"limit {counted.key} of {counted.section}"
    amount = counted.limit.amount
    if isinstance(amount, RateLimit):
        return LimitCheck(key, counted.key, amount.count, amount.period, amount.burst, cause, provider)
    assert amount is not None
    return LimitCheck(key, counted.key, amount, cause=cause, provider=provider)
