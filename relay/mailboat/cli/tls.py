"""`mailboat tls explain`: what TLS mail to a domain must have, and who demands it, as deliveries would find it now."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import orjson
from cyclopts import App, Parameter

from mailboat.config.settings import Settings, TlsLevel
from mailboat.delivery import tls_verdict
from mailboat.loading.load import load
from mailboat.model.address import Address
from mailboat.model.clock import SystemClock
from mailboat.model.observer import Observer
from mailboat.model.tls import TlsDemand
from mailboat.queue.offline import OfflineQueue
from mailboat.queue.store import StorageError
from mailboat.queue.sts_copy import StsCopy
from mailboat.routing.answers import TlsRequirement
from mailboat.routing.explain import Explanation, HostFinding, explain
from mailboat.routing.resolver import Resolver
from mailboat.routing.sts_cache import StsPolicies
from mailboat.smtp.grammar import GrammarError, normalize_domain, parse_sender

app = App(name="tls", help="Explain what TLS mail to a domain must have.")

_HERE = Path()


@app.command(name="explain")
def explain_domain(
    domain: str,
    /,
    *,
    config: Annotated[Path, Parameter(help="The configuration directory of the relay.")] = _HERE,
    sender: Annotated[str, Parameter(help="Of mail from this address, which may choose the route.")] = "",
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> int:
    """Show the MX hosts of a domain, what it publishes about their TLS, and what would be demanded of each and why.

    For mail that asks for nothing itself, with the settings of the directory and the policies that its relay has
    stored; the relay need not run. Connects to no mail host.

    Exit status: 0; 64 if DOMAIN is not one; 75 if an answer that counts could not be had; 78 if the configuration is
    wrong.
    """
    try:
        name, address = normalize_domain(domain), parse_sender(sender)
    except GrammarError:
        print(f"mailboat tls: {domain!r} is not a domain, or {sender!r} no address", file=sys.stderr)
        return os.EX_USAGE
    loaded = load(config, os.environ)
    if loaded.settings is None:
        for fault in loaded.faults:
            print(fault, file=sys.stderr)
        return os.EX_CONFIG
    try:
        found = asyncio.run(_explain(loaded.settings, name, address))
    except StorageError as error:
        print(f"mailboat tls: the stored MTA-STS policies cannot be read: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL
    if json:
        print(orjson.dumps(as_json(found)).decode())
    else:
        print("\n".join(as_text(found)))
    temporary = found.unroutable is not None and not found.unroutable.permanent
    return os.EX_TEMPFAIL if found.failed or temporary else os.EX_OK


async def _explain(settings: Settings, domain: str, sender: Address) -> Explanation:
    clock = SystemClock()
    resolver = Resolver(observer=Observer(), clock=clock)
    policies = StsPolicies(_stored(settings.outbound.queue_dir), resolver, Observer(), clock)
    await policies.load()
    try:
        return await explain(settings, domain, sender, resolver, policies, clock)
    finally:
        await policies.close()
        await resolver.close()


def _stored(queue_dir: str) -> StsCopy:
    """The policies that the relay has; none, with a word on standard error, if they cannot be read."""
    if not Path(queue_dir).is_dir():
        return StsCopy(None)
    try:
        return StsCopy(OfflineQueue(queue_dir))
    except StorageError as error:
        print(f"mailboat tls: MTA-STS policies are fetched, since stored ones cannot be read: {error}", file=sys.stderr)
        return StsCopy(None)


def as_json(found: Explanation) -> dict[str, Any]:
    """What `--json` prints."""
    policy = found.sts.policy if found.sts is not None else None
    return {
        "domain": found.domain,
        "route": found.route or None,
        "secure": found.secure,
        "sts": None
        if policy is None or found.sts is None
        else {"mode": policy.mode, "id": found.sts.id, "max_age": policy.max_age, "mx": list(policy.mx)},
        "mx": [_host_json(host) for host in found.hosts],
        "error": None if found.unroutable is None else f"{found.unroutable.status} {found.unroutable.reason}",
        "notes": list(found.notes),
    }


def _host_json(host: HostFinding) -> dict[str, Any]:
    tls = host.tls
    return {
        "host": host.host,
        "preference": host.preference,
        "addresses": list(host.addresses),
        "secure": host.secure,
        "tlsa": list(host.tlsa),
        "policy": tls.policy,
        "level": tls.demand,
        "verify": bool(tls.tlsa) or tls.verifies,
        "reason": host.unused or tls.refusal or tls.reason or "nobody demands TLS",
        "used": not (host.unused or tls.refusal),
    }


def as_text(found: Explanation) -> Iterator[str]:
    """What is printed for people, line by line."""
    if found.route:
        yield f"{found.domain}: by route {found.route}"
    else:
        yield f"{found.domain}: by MX, {'authenticated' if found.secure else 'not authenticated'} (DNSSEC)"
    if found.sts is not None:
        policy = found.sts.policy
        hosts = "" if policy is None else f", id {found.sts.id}, max_age {policy.max_age}, mx {' '.join(policy.mx)}"
        yield "MTA-STS: none" if policy is None else f"MTA-STS: {policy.mode}{hosts}"
    for host in found.hosts:
        addresses = f" [{', '.join(host.addresses)}]" if host.addresses else ""
        yield f"{host.preference} {host.host}{addresses}: {_demand(host)}"
        yield from (f"  TLSA {record}" for record in host.tlsa)
    if (why := found.unroutable) is not None:
        yield f"mail {'bounces' if why.permanent else 'waits'}: {why.status} {why.reason}"
    yield from (f"note: {note}" for note in found.notes)


def _demand(host: HostFinding) -> str:
    tls = host.tls
    if why := host.unused or tls.refusal:
        return f"not connected to: {why}"
    return _words(tls) if tls.demand is TlsDemand.CLEAR else tls_verdict.demanded(tls)


def _words(tls: TlsRequirement) -> str:
    """What is done about TLS where none is demanded."""
    if tls.level is TlsLevel.DISABLED:
        return f"TLS is not used: {tls.reason}"
    certificate = "a valid certificate" if tls.verifies else "any certificate"
    return f"TLS with {certificate} if it is offered: {tls.reason or 'nobody demands TLS'}"
