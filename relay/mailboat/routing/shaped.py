"""What shaping.ini says of the targets of some mail. Pure; `finder` asks it once for each result.

Beside a `[route]` of outbound.ini, only its own section in shaping.ini is more specific.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mailboat.config.settings import InetPrefer, Route, TlsLevel
from mailboat.config.settings.shaping import TIMEOUTS, WINDOW
from mailboat.shaping.effective import Effective, Facts, effective
from mailboat.shaping.limits import WindowRange
from mailboat.shaping.scopes import DEFAULT_SOURCE, ScopeKind
from mailboat.shaping.table import LimitTable, Said


@dataclass(frozen=True, slots=True)
class Shaped:
    """The properties of targets."""

    inet: InetPrefer = InetPrefer.BOTH
    """Address families, the first to try first."""
    max_messages: int | None = None
    """Messages of a connection; None: as in `[main]` of outbound.ini."""
    max_recipients: int | None = None
    """Recipients of a transaction; None: as many as the host takes."""
    idle_timeout: float | None = None
    """Seconds that an idle connection is kept; None: as in `[main]` of outbound.ini."""
    timeouts: tuple[tuple[str, float], ...] = ()
    """Keys of `[main]` of outbound.ini that have another value, in seconds."""
    window: WindowRange | None = None
    """Concurrent attempts of the destination; None: as the relay learns."""
    tls: TlsLevel = TlsLevel.OPPORTUNISTIC
    """The least that a target must have."""
    tls_reason: str = ""
    """The section that says it."""


NOTHING_SAID = Shaped()


def shaped(table: LimitTable, facts: Facts, route: Route | None, prefer: InetPrefer) -> Shaped:
    """The properties for mail of which this is known; `prefer` is that of `[main]`."""
    found = effective(table, facts, DEFAULT_SOURCE)
    tls = found.properties.get("tls")
    if tls and route and route.tls is TlsLevel.DISABLED and not _of_route(tls):
        tls = None
    return Shaped(
        _value(found, "inet", route.inet_prefer if route else None) or prefer,
        _value(found, "messages_per_connection", route.connection_max_messages if route else None),
        found.value("recipients_per_message"),
        found.value("connection_idle_timeout"),
        tuple((name, said.value) for name in TIMEOUTS if (said := found.properties.get(name)) is not None),
        _window(table, facts) if table.says(WINDOW) else None,
        tls.value if tls else TlsLevel.OPPORTUNISTIC,
        f"{tls.said_at.file} [{tls.said_at.section}]" if tls else "",
    )


def _window(table: LimitTable, facts: Facts) -> WindowRange | None:
    """That of the destination, which domains share: it does not depend on which of them is asked about."""
    found: WindowRange | None = effective(table, replace(facts, domain=""), DEFAULT_SOURCE).value(WINDOW)
    return found


def _value(found: Effective, key: str, of_route: Any) -> Any:
    said = found.properties.get(key)
    if said is None or (of_route is not None and not _of_route(said)):
        return of_route
    return said.value


def _of_route(said: Said) -> bool:
    return said.said_at.section.startswith(ScopeKind.ROUTE)
