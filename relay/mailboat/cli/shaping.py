"""`mailboat shaping`: checks `shaping.ini`, shows what holds for a domain, and which rule a reply would fire."""

from __future__ import annotations

import asyncio
import json as json_format
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from mailboat.cli.config import EX_CONFIG
from mailboat.cli.queue import http_settings
from mailboat.cli.queue_source import Api, QueueCommandError
from mailboat.config.hosts import domain_name
from mailboat.config.settings import Settings
from mailboat.loading.load import load
from mailboat.model.clock import SystemClock
from mailboat.model.observer import Observer
from mailboat.queue.store import Selection
from mailboat.routing.answers import Site, Unroutable
from mailboat.routing.local import LocalAddresses
from mailboat.routing.resolver import Resolver
from mailboat.routing.router import Router
from mailboat.routing.shaped import shaped
from mailboat.shaping.effective import Effective, effective, scopes
from mailboat.shaping.limits import NOT_OBEYED
from mailboat.shaping.rules import RuleStage, first_match, one_line
from mailboat.shaping.scopes import DEFAULT_SOURCE

app = App(name="shaping", help="Check limits by destination, show what holds for a domain, try a reply.")

_HERE = Path()
_LOOKED_AT = 100
"""Entries of the queue that are looked at for what holds them."""
_Config = Annotated[Path, Parameter(help="The configuration directory.")]
_Json = Annotated[bool, Parameter(help="Print JSON.")]


class _StopError(Exception):
    """Nothing can be shown; the message says why."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class _Found:
    """A domain's site, and what holds for its mail."""

    settings: Settings
    domain: str
    site: Site
    holds: Effective


@app.command
def check(directory: Path = _HERE, /) -> int:
    """Check shaping.ini, with the samples of its providers and rules; print every fault and warning.

    Exit status: 0, or 78 if the directory has a fault.

    Parameters
    ----------
    directory
        The configuration directory.
    """
    try:
        table = _load(directory, warn=True).shaping
    except _StopError as stop:
        return stop.status
    print(f"{len(table.sections)} sections, {len(table.providers)} providers, {len(table.rules)} rules")
    return os.EX_OK


@app.command
def explain(domain: str, /, *, source: str = DEFAULT_SOURCE, config: _Config = _HERE, json: _Json = False) -> int:
    """Show what holds for mail to a domain, where each value is from, and what holds its mail in a running relay.

    Exit status: 0, or 75 if the DNS does not tell its hosts.

    Parameters
    ----------
    domain
        The domain of recipients. Its MX hosts are looked up.
    source
        The source that the mail is sent from.
    """
    try:
        found = _find(domain, source, config)
    except _StopError as stop:
        return _complain("explain", stop)
    held_by, until = _held(found.domain, config)
    shown = _as_data(found, source) | {"held_by": held_by, "until": until}
    print(json_format.dumps(shown, indent=2) if json else "\n".join(_as_text(shown)))
    return os.EX_OK


@app.command(name="test")
def try_reply(
    reply: str, /, *, domain: str, stage: RuleStage | None = None, config: _Config = _HERE, json: _Json = False
) -> int:
    r"""Say which rule a reply of a domain's host would fire.

    Exit status: 0; 1 if it fires none; 75 if the DNS does not tell the hosts of the domain.

    Parameters
    ----------
    reply
        The reply; `\n` separates its lines.
    domain
        The domain of recipients. Its MX hosts are looked up.
    stage
        The stage at which the reply arrives; the default is any.
    """
    try:
        found = _find(domain, DEFAULT_SOURCE, config)
    except _StopError as stop:
        return _complain("test", stop)
    line = one_line(reply.replace("\\n", "\n"))
    sections = reversed(list(scopes(found.site.facts, found.holds.provider)))
    fired = first_match(found.settings.shaping.rules, sections, stage, line)
    if fired is None:
        print(f"no rule: {line}", file=sys.stderr)
        return 1
    rule, where = fired
    shown = {
        "rule": rule.name,
        "on": None if where is None else str(where),
        "trigger": str(rule.trigger),
        "actions": [str(action) for action in rule.actions],
        "for": list(rule.spans),
    }
    if json:
        print(json_format.dumps(shown))
        return os.EX_OK
    spans = ", ".join(f"{span:g} s" for span in rule.spans)
    print(f"rule {rule.name} of {where or 'all mail'}, at {rule.trigger} matches")
    print(*(f"  {action}" for action in rule.actions), *([f"  for {spans}"] if spans else []), sep="\n")
    return os.EX_OK


def _load(directory: Path, *, warn: bool = False) -> Settings:
    """The settings of a directory; its faults are printed."""
    loaded = load(directory, os.environ)
    for warning in loaded.warnings if warn else ():
        print(f"warning: {warning}", file=sys.stderr)
    if loaded.settings is None:
        for fault in loaded.faults:
            print(fault, file=sys.stderr if not warn else sys.stdout)
        raise _StopError(EX_CONFIG)
    return loaded.settings


def _find(domain: str, source: str, directory: Path) -> _Found:
    settings = _load(directory)
    if source != DEFAULT_SOURCE:
        raise _StopError(os.EX_USAGE, f"there is no source {source}: `{DEFAULT_SOURCE}` is the one that there is")
    try:
        name = domain_name(domain)
    except ValueError as error:
        raise _StopError(os.EX_USAGE, f"{domain!r} {error}") from None
    where = asyncio.run(_locate(name, settings))
    if isinstance(where, Unroutable):
        raise _StopError(os.EX_TEMPFAIL, where.reason)
    return _Found(settings, name, where, effective(settings.shaping, where.facts, source))


async def _locate(domain: str, settings: Settings) -> Site | Unroutable:
    observer, clock = Observer(), SystemClock()
    resolver = Resolver(observer=observer, clock=clock)
    router = Router(resolver=resolver, observer=observer, clock=clock)
    router.configure(settings, LocalAddresses(clock))
    try:
        return (await router.locate(domain)).where
    finally:
        await resolver.close()


def _held(domain: str, directory: Path) -> tuple[str | None, str | None]:
    """What holds the oldest mail to a domain that something holds, and until when; None: nothing, or no relay runs."""
    try:
        entries = islice(Api(http_settings(directory)).messages(Selection(domain=domain)), _LOOKED_AT)
        return next(((e["held_by"], e["held_until"]) for e in entries if e["held_by"]), (None, None))
    except QueueCommandError:
        return None, None


def _as_data(found: _Found, source: str) -> dict[str, Any]:
    facts, holds = found.site.facts, found.holds
    return {
        "domain": found.domain,
        "site": facts.site,
        "mx": sorted(facts.hosts),
        "provider": holds.provider or None,
        "source": source,
        "limits": [
            {
                "key": counted.key.value,
                "value": str(counted.said.value),
                "counted": counted.counted,
                "from": str(counted.said.said_at),
                "used": None,
                "next": None,
            }
            for counted in holds.limits
        ],
        "properties": dict(_properties(found)),
    }


def _properties(found: _Found) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What delivery obeys, from shaping.ini or from outbound.ini."""
    settings, facts = found.settings, found.site.facts
    outbound = settings.outbound
    route = next((route for route in outbound.routes if route.name == facts.route), None) if facts.route else None
    what = shaped(settings.shaping, facts, route, outbound.inet_prefer)
    values = {
        "messages_per_connection": what.max_messages or outbound.connection_max_messages,
        "recipients_per_message": what.max_recipients,
        "connection_idle_timeout": outbound.connection_idle_timeout if what.idle_timeout is None else what.idle_timeout,
        "inet": what.inet,
        "tls": what.tls,
    }
    for key, value in values.items():
        said = found.holds.properties.get(key)
        of_shaping = said is not None and said.value == value
        otherwise = None if value is None else "outbound.ini"
        yield key, {"value": value, "from": str(said.said_at) if said and of_shaping else otherwise}


def _as_text(shown: Mapping[str, Any]) -> Iterator[str]:
    hosts = ", ".join(shown["mx"])
    yield f"{shown['domain']}: site {shown['site']}" + (f" ({hosts})" if hosts else "")
    yield f"provider {shown['provider'] or 'none'}, source {shown['source']}"
    for limit in shown["limits"]:
        obeyed = "; not obeyed yet" if any(f" per {per}" in limit["value"] for per in NOT_OBEYED) else ""
        yield f"{limit['key']} {limit['value']}: counted over {limit['counted']}; from {limit['from']}{obeyed}"
    for key, said in shown["properties"].items():
        if said["from"]:
            yield f"{key} {said['value']}: from {said['from']}"
    if shown["held_by"]:
        until = f" until {shown['until']}" if shown["until"] else ""
        yield f"mail of it is held by {shown['held_by']}{until}"


def _complain(command: str, stop: _StopError) -> int:
    if str(stop):
        print(f"mailboat shaping {command}: {stop}", file=sys.stderr)
    return stop.status
